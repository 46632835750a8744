"""What the shifter's page shows, all of it in the address: which campaign's eyes, and whether alone on the screen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class ShiftChoice:
    """None: the page decides. `kiosk`: nothing but the matrix, for a screen on the wall."""

    campaign: str | None = None
    version: str | None = None
    kiosk: bool = False

    def link(self, **changes: Any) -> str:
        """The query of the page with some things chosen differently."""
        values = asdict(replace(self, **changes))
        values["kiosk"] = 1 if values["kiosk"] else None
        query = urlencode({key: value for key, value in values.items() if value is not None})
        return f"?{query}" if query else "?"
