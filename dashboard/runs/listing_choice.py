"""What the table of runs shows, all of it in the address: the filter, the order, and where the page begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from dashboard.quality.flags import Flag

COLUMNS = ("run", "detector", "type", "files", "done", "work", "parked", "late", "taken", "flag")
_TEXT_COLUMNS = ("detector", "type")
DEFAULT_SORT = "-run"
STATES = {"open": "files to go", "complete": "complete", "parked": "has parked", "late": "has late"}
FLAGS = {flag.name.lower(): flag for flag in (Flag.BAD, Flag.MEDIUM, Flag.GOOD, Flag.NULL)}
HIGHEST_RUN = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Position:
    """The row before a page: the value it is sorted by, its run and campaign."""

    value: float | str
    run: int
    campaign_id: int

    def __str__(self) -> str:
        return f"{self.value}~{self.run}~{self.campaign_id}"

    @classmethod
    def read(cls, text: str, column: str) -> Position | None:
        """The position in an address; None: it is none of this column's."""
        value, _, rest = text.rpartition("~")[0].rpartition("~")
        run, campaign_id = rest, text.rpartition("~")[2]
        if not (_is_number(run) and _is_number(campaign_id)):
            return None
        if column in _TEXT_COLUMNS:
            return cls(value, int(run), int(campaign_id))
        try:
            return cls(float(value), int(run), int(campaign_id))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class RunsChoice:
    """The state of the page; None: everything. `sort` is a column, with a minus in front for the highest first."""

    campaign: str | None = None
    version: str | None = None
    detector: str | None = None
    from_run: int | None = None
    to_run: int | None = None
    run_type: str | None = None
    state: str | None = None
    flag: str | None = None
    sort: str = DEFAULT_SORT
    after: Position | None = None

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    @property
    def filtered(self) -> bool:
        return replace(self, sort=DEFAULT_SORT, after=None) != RunsChoice()

    def fields(self) -> dict[str, Any]:
        """Names and values as they stand in the address."""
        values = {
            "campaign": self.campaign,
            "version": self.version,
            "detector": self.detector,
            "from": self.from_run,
            "to": self.to_run,
            "type": self.run_type,
            "state": self.state,
            "flag": self.flag,
            "sort": None if self.sort == DEFAULT_SORT else self.sort,
            "after": self.after,
        }
        return {name: value for name, value in values.items() if value is not None}

    def link(self, **changes: Any) -> str:
        """The address with some things chosen differently; it begins with the first page unless `after` is given."""
        query = urlencode(replace(self, **({"after": None} | changes)).fields())
        return "/runs" + (f"?{query}" if query else "")

    def sorted_by(self, column: str) -> str:
        """The address with another order: by numbers the highest first, by names from A; asked again the other way round."""
        first, second = (column, f"-{column}") if column in _TEXT_COLUMNS else (f"-{column}", column)
        return self.link(sort=second if self.sort == first else first)


def choose(
    campaign: str = "",
    version: str = "",
    detector: str = "",
    from_run: str = "",
    to_run: str = "",
    run_type: str = "",
    state: str = "",
    flag: str = "",
    sort: str = "",
    after: str = "",
) -> RunsChoice:
    """The choice in an address, whose values are texts, empty where a form left them so; what cannot be is left out."""
    order = sort if sort.removeprefix("-") in COLUMNS else DEFAULT_SORT
    return RunsChoice(
        campaign=campaign or None,
        version=version or None,
        detector=detector or None,
        from_run=_run(from_run),
        to_run=_run(to_run),
        run_type=run_type or None,
        state=state if state in STATES else None,
        flag=flag if flag in FLAGS else None,
        sort=order,
        after=Position.read(after, order.removeprefix("-")),
    )


def _run(text: str) -> int | None:
    return int(text) if _is_number(text) else None


def _is_number(text: str) -> bool:
    """Whether it is a run number or an id; no longer ones, which no database takes."""
    return text.isascii() and text.isdecimal() and len(text) < 11 and int(text) <= HIGHEST_RUN
