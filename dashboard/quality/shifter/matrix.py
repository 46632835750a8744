"""The matrix of the shifter's page: one tile for each element and group, worst-of the newest files, grey when there is nothing fresh."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard import words
from dashboard.dqm.metrics import BY_KEY, Group, elements_of
from dashboard.dqm.scalars import PLANES
from dashboard.quality.flags import Flag, worst
from dashboard.quality.shifter.recent import RecentRecord

# A tile that has not been judged for so long says nothing about now.
STALE_S = 900.0
# The name verdicts use for what belongs to no element: the file as the readout wrote it.
FILE = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A group of quantities of one element.

    `flag` is the worst of the newest files', NULL when they are stale or were not judged; `last` what it would be if it were not stale.
    `present`: one of the files has data of the element. `at` is when the newest file that was judged in it came; `numbers` says what was
    measured there, `counts` files by flag.
    """

    element: str
    group: Group
    flag: Flag
    last: Flag
    present: bool
    at: float | None
    stale: bool
    numbers: str
    counts: Mapping[Flag, int]

    @property
    def bad(self) -> int:
        return self.counts.get(Flag.BAD, 0)

    @property
    def judged(self) -> int:
        return sum(number for flag, number in self.counts.items() if flag is not Flag.NULL)


@dataclass(frozen=True, slots=True)
class Row:
    """An element and its tiles; `flag` is the worst of them."""

    element: str
    flag: Flag
    tiles: list[Tile]


@dataclass(frozen=True, slots=True)
class Advice:
    """A tile that is not good: the finding that weighs most, in how many of the files it was, what it means and what to do."""

    element: str
    group: Group
    flag: Flag
    check: str
    words: str
    files: int
    of_files: int
    means: str
    do: str
    input_did: str
    plane: str | None
    at: float


def matrix(detector: str, records: Sequence[RecentRecord], now: float) -> list[Row]:
    """A row for each element the detector has, and one for the files themselves; newest files first in `records`."""
    rows = []
    names = elements_of(detector, (name for record in records for name in record.elements))
    if any(FILE in record.tiles for record in records):
        names.append(FILE)
    for element in names:
        tiles = [_tile(element, group, records, now) for group in Group]
        rows.append(Row(element, worst(tile.flag for tile in tiles), tiles))
    return rows


def _tile(element: str, group: Group, records: Sequence[RecentRecord], now: float) -> Tile:
    flags = [(record, Flag(record.tiles.get(element, {}).get(group.value, Flag.NULL))) for record in records]
    judged = [record for record, flag in flags if flag is not Flag.NULL]
    at = max((record.received_at for record in judged), default=None)
    stale = at is not None and now - at > STALE_S
    last = worst(flag for _, flag in flags)
    return Tile(
        element=element,
        group=group,
        flag=Flag.NULL if stale else last,
        last=last,
        present=any(element in record.elements for record in records),
        at=at,
        stale=stale,
        numbers=_numbers(judged[0], element, group) if judged else "",
        counts=Counter(flag for _, flag in flags),
    )


def _numbers(record: RecentRecord, element: str, group: Group) -> str:
    """What the newest judged file measured, in a few characters; of three planes in the order U, V, W."""
    if element == FILE:
        return ""
    scalars = record.scalars_of(element)

    def by_plane(key: str) -> str:
        metric = BY_KEY[key]
        show = words.percent if metric.form == "percent" else words.number
        values = [_finite(scalars[plane, metric.index]) for plane in range(len(PLANES))]
        unit = f" {metric.unit}" if metric.unit and metric.form == "number" else ""
        return " / ".join(show(value) for value in values) + unit

    def summed(key: str) -> str:
        values = [value for plane in range(len(PLANES)) if (value := _finite(scalars[plane, BY_KEY[key].index])) is not None]
        return words.count(sum(values)) if values else words.NOTHING

    if group is Group.CHANNELS:
        return f"{summed('n_dead')} dead, {summed('n_noisy')} noisy"
    return by_plane(_SHOWN[group]) if group in _SHOWN else ""


_SHOWN = {
    Group.NOISE: "rms_nf_adc",
    Group.COHERENT: "coherent_fraction",
    Group.PEDESTAL: "pedestal_adc",
    Group.READOUT: "missing_fraction",
    Group.SIGNAL: "hits",
}


def _finite(value: Any) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number


def advice(rows: Sequence[Row], records: Sequence[RecentRecord], texts: Mapping[str, tuple[str, str]]) -> list[Advice]:
    """What is to be done, the worst and most frequent first: one for each check of each tile that is not good now.

    `texts` gives what a check means and what to do, by its key.
    """
    shown = {(row.element, tile.group.value) for row in rows for tile in row.tiles if tile.flag >= Flag.MEDIUM}
    by_check: dict[tuple[str, str, str], list[tuple[RecentRecord, Mapping[str, Any]]]] = {}
    for record in records:
        seen = set()
        for finding in record.findings:
            key = (finding["element"], finding["group"], finding["check"])
            if key[:2] in shown and key not in seen:
                seen.add(key)
                by_check.setdefault(key, []).append((record, finding))
    found = [_advice(key, hits, len(records), texts) for key, hits in by_check.items()]
    return sorted(found, key=lambda item: (-item.flag, -item.files, item.element, item.group.value))


def _advice(
    key: tuple[str, str, str],
    hits: Sequence[tuple[RecentRecord, Mapping[str, Any]]],
    of_files: int,
    texts: Mapping[str, tuple[str, str]],
) -> Advice:
    element, group, check = key
    record, finding = max(hits, key=lambda hit: (hit[1]["flag"], hit[0].received_at))
    means, do = texts.get(check, ("", ""))
    return Advice(
        element=element,
        group=Group(group),
        flag=Flag(finding["flag"]),
        check=check,
        words=finding["words"],
        files=len(hits),
        of_files=of_files,
        means=means,
        do=do,
        input_did=record.input_did,
        plane=finding.get("plane") or None,
        at=record.received_at,
    )
