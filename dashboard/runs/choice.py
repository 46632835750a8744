"""What a run's page shows, all of it in the address: which campaign, file, element, plane and trend."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Choice:
    """The state of a run's page; None: the page decides."""

    run: int
    campaign: str | None = None
    version: str | None = None
    file: str | None = None
    element: str | None = None
    plane: str | None = None
    trend: str | None = None

    def link(self, **changes: Any) -> str:
        """The address of the page with some things chosen differently."""
        values = asdict(replace(self, **changes))
        run = values.pop("run")
        query = urlencode({key: value for key, value in values.items() if value is not None})
        return f"/runs/{run}" + (f"?{query}" if query else "")
