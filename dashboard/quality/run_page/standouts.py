"""What stands out in a run: the files that were judged worst, and for each element and group how many of its files were how good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.dqm.metrics import Group
from dashboard.dqm.rollup import RolledRun
from dashboard.quality.flags import Flag


@dataclass(frozen=True, slots=True)
class OutlierFile:
    """A file that was not judged good; `findings` are the first few of its verdict. `name`: without its namespace."""

    name: str
    file_index: int | None
    flag: Flag
    findings: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Tile:
    """A group of quantities of an element over the files of a run; `file`: the worst listed file in which it was not good."""

    group: Group
    flag: Flag
    bad: int
    medium: int
    good: int
    null: int
    file: str | None
    plane: str | None

    @property
    def judged(self) -> int:
        return self.bad + self.medium + self.good


@dataclass(frozen=True, slots=True)
class TileRow:
    """An element (empty: the file itself) and its tiles, one for each group."""

    element: str
    tiles: list[Tile]


@dataclass(frozen=True, slots=True)
class Standouts:
    """`outliers`: at most 50, the worst first; `not_good`: how many files were not judged good."""

    outliers: list[OutlierFile]
    not_good: int
    rows: list[TileRow]


def standouts(rolled: RolledRun, elements: Sequence[str]) -> Standouts:
    """What stands out in a run that was rolled up; `elements` in the order to show them."""
    outliers = [
        OutlierFile(item["input_did"].rpartition(":")[2], item["file_index"], Flag(item["flag"]), item["findings"])
        for item in rolled.outliers
    ]
    names = [*elements, *(name for name in rolled.tiles if name not in elements)]
    rows = [TileRow(name, [_tile(rolled, outliers, name, group) for group in Group]) for name in names]
    return Standouts(outliers, rolled.n_bad + rolled.n_medium, rows)


def _tile(rolled: RolledRun, outliers: Sequence[OutlierFile], element: str, group: Group) -> Tile:
    counts = rolled.tiles.get(element, {}).get(group.value, {})
    at = next(
        (
            (outlier.name, finding["plane"])
            for outlier in outliers
            for finding in outlier.findings
            if (finding["element"], finding["group"]) == (element, group.value)
        ),
        (None, None),
    )
    numbers = {name: counts.get(name, 0) for name in ("bad", "medium", "good", "null")}
    return Tile(group, Flag(counts.get("flag", Flag.NULL)), **numbers, file=at[0], plane=at[1] or None)
