"""Work the dashboard does by itself, each kind in a thread of its own: rolling runs up, watching for alarms, taking samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from dune_prompt.errors import TransientError

log = structlog.get_logger(__name__)

STOP_PATIENCE_S = 10.0


class Repeated:
    """Calls `work(now)` every `every_s` seconds, and at once when woken. What goes wrong is logged, and tried again next time."""

    def __init__(self, name: str, every_s: float, work: Callable[[float], object]) -> None:
        self.name, self._every_s, self._work = name, every_s, work
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._repeat, name=self.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def stop(self) -> None:
        """End after the call it is in."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_PATIENCE_S)

    def _repeat(self) -> None:
        while not self._stopped:
            self._wake.clear()
            try:
                self._work(time.time())
            except TransientError as error:
                log.warning("comes later", work=self.name, error=str(error))
            except Exception:
                # A fault in the code must be seen in the log every time, and must not end the work for good.
                log.exception("failed", work=self.name)
            self._wake.wait(self._every_s)
