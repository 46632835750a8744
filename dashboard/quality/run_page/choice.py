"""What the data-quality page of a run shows, all of it in the address."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal
from urllib.parse import urlencode

# Whose channels are drawn: of one plane, of its element, or of all elements.
View = Literal["plane", "element", "all"]
Show = Literal["values", "ratio"]
NOTHING = "none"
PAGE = "/quality"


@dataclass(frozen=True, slots=True)
class QualityChoice:
    """The state of the page; None: the page decides.

    `file` is the name of a raw file, `attempt` one of those at it (None: the one that counts), `record` a trigger record of it, `trend`
    a metric, `compare` a run or `none` (None: the reference run), `show` whether channels are drawn as they are or divided by what they
    are compared with. `channels`, `files` and `zoom` are where plots and event displays are zoomed to; only the browser reads them.
    """

    run: int
    campaign: str | None = None
    version: str | None = None
    file: str | None = None
    attempt: str | None = None
    element: str | None = None
    plane: str | None = None
    record: str | None = None
    trend: str | None = None
    compare: str | None = None
    view: View | None = None
    show: Show | None = None
    channels: str | None = None
    files: str | None = None
    zoom: str | None = None

    def but(self, **changes: Any) -> QualityChoice:
        """With some things chosen differently, and without what then means nothing: another run has other files, another file other
        attempts and trigger records, another plane other channels."""
        changed = {name for name, value in changes.items() if value != getattr(self, name)}
        for name in sorted(changed):
            for other in _MEANS_NOTHING_AFTER.get(name, ()):
                changes.setdefault(other, None)
        return replace(self, **changes)

    def link(self, **changes: Any) -> str:
        """The address of the page with some things chosen differently."""
        values = asdict(self.but(**changes))
        run = values.pop("run")
        query = urlencode({key: value for key, value in values.items() if value is not None})
        return f"/runs/{run}{PAGE}" + (f"?{query}" if query else "")

    def fields(self, *but: str) -> dict[str, Any]:
        """What a form that chooses `but` has to send along."""
        return {key: value for key, value in asdict(self).items() if value is not None and key not in ("run", *but)}


_OF_FILE = ("attempt", "record")
_MEANS_NOTHING_AFTER = {
    "run": ("file", *_OF_FILE, "files"),
    "campaign": ("file", *_OF_FILE, "files"),
    "version": ("file", *_OF_FILE, "files"),
    "file": _OF_FILE,
    "attempt": ("record",),
    "element": ("channels", "zoom"),
    "plane": ("channels", "zoom"),
    "view": ("channels",),
}
