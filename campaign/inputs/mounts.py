"""Whether files are where they are said to be, asked in a thread of its own: a mount that hangs must not hold up anybody."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue

from declare_daemon.storage import exists

PATIENCE_S = 2.0


class Mounts:
    """Looks for files. While it waits for a mount that hangs, it knows nothing of any file."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._questions: SimpleQueue[_Look | None] = SimpleQueue()
        self._pending: _Look | None = None
        threading.Thread(target=self._run, name="mounts", daemon=True).start()

    def there(self, places: Sequence[str]) -> dict[str, bool]:
        """Whether something lies at each of these places; those of which nothing can be said are absent."""
        if not places or (self._pending is not None and not self._pending.done.is_set()):
            return {}
        look = self._pending = _Look(tuple(dict.fromkeys(places)))
        self._questions.put(look)
        look.done.wait(self._patience_s)
        return dict(look.found)

    def close(self) -> None:
        self._questions.put(None)

    def _run(self) -> None:
        while (look := self._questions.get()) is not None:
            for place in look.places:
                try:
                    look.found[place] = exists(place)
                except OSError:
                    continue
            look.done.set()


class _Look:
    def __init__(self, places: tuple[str, ...]) -> None:
        self.places, self.found, self.done = places, dict[str, bool](), threading.Event()
