"""What the trends page shows, all of it in the address."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal
from urllib.parse import urlencode

DEFAULT_METRIC = "rms_nf_adc"
Against = Literal["run", "time"]


@dataclass(frozen=True, slots=True)
class TrendChoice:
    """The state of the page; None: the page decides. Without `plane` all three are drawn."""

    campaign: str | None = None
    version: str | None = None
    metric: str = DEFAULT_METRIC
    plane: str | None = None
    run_type: str | None = None
    from_run: int | None = None
    to_run: int | None = None
    against: Against = "run"

    def link(self, **changes: Any) -> str:
        """The query of the page with some things chosen differently."""
        values = {key: value for key, value in asdict(replace(self, **changes)).items() if value is not None}
        return f"?{urlencode(values)}"
