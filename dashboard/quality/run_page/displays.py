"""The event displays of a plane: raw, after noise filtering, after signal processing, of one trigger record."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dashboard.dqm.record_file import Record
from dashboard.dqm.results import ResultRow

KINDS = (("raw", "raw, pedestal subtracted"), ("nf", "after noise filtering"), ("sp", "after signal processing"))
# Displays are made for every n-th file. How far from the shown file pictures are looked for:
FILES_LOOKED_AT = 200
# A palette stands at the beginning of a PNG: signature and size take 33 bytes.
_HEAD_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Axes:
    """What a picture spans: offline channels from left to right, ticks from bottom to top."""

    first_channel: int
    n_channels: int
    n_ticks: int
    ticks_per_pixel: int
    tick_ns: float


@dataclass(frozen=True, slots=True)
class Scale:
    """What the colours mean, from `low` to `high`; `colours` is the picture's own palette, in the same order."""

    low: float
    high: float
    unit: str
    colours: list[str]


@dataclass(frozen=True, slots=True)
class Display:
    """One of the three views. `name`: the file of the picture; None: the record lists none. Older records tell neither axes nor scale."""

    kind: str
    words: str
    name: str | None = None
    title: str = ""
    uploaded: bool = False
    axes: Axes | None = None
    scale: Scale | None = None


@dataclass(frozen=True, slots=True)
class Displays:
    """The displays of one plane and one trigger record. `records`: those that have displays; `nearest`: the file nearest to the one shown
    that has any, when this one has none."""

    record: str | None
    records: list[str]
    views: list[Display]
    nearest: str | None = None

    @property
    def listed(self) -> int:
        return sum(view.name is not None for view in self.views)

    @property
    def uploaded(self) -> int:
        return sum(view.uploaded for view in self.views)

    def data(self) -> dict[str, Any]:
        """What the viewer needs to know of each picture."""
        return {view.kind: None if view.axes is None else asdict(view.axes) for view in self.views if view.uploaded}


def displays_of(
    record: Record | None, folder: Path | None, missing: Sequence[str], element: str, plane: str, wanted: str | None
) -> Displays:
    """The displays a record lists of one plane: of the trigger record `wanted`, or the first that has any."""
    listed = [item for item in record["pictures"] if (item["element"], item["plane"]) == (element, plane)] if record else []
    records = list(dict.fromkeys(_trigger_record(item) for item in listed))
    chosen = wanted if wanted in records else next(iter(records), None)
    by_kind = {item["kind"]: item for item in listed if _trigger_record(item) == chosen}
    return Displays(chosen, records, [_display(kind, words, by_kind.get(kind), folder, missing) for kind, words in KINDS])


def _trigger_record(picture: Mapping[str, Any]) -> str:
    """Its number, with the sequence number that tells the parts of a split readout apart."""
    return f"{picture['record']}" + (f".{picture['sequence']}" if picture.get("sequence") else "")


def _display(kind: str, words: str, picture: Mapping[str, Any] | None, folder: Path | None, missing: Sequence[str]) -> Display:
    if picture is None or folder is None:
        return Display(kind, words)
    uploaded = picture["name"] not in missing
    scale = _scale(picture, folder / picture["name"]) if uploaded else None
    return Display(kind, words, picture["name"], picture["title"], uploaded, _axes(picture), scale)


def _axes(picture: Mapping[str, Any]) -> Axes | None:
    values = [picture.get(name) for name in Axes.__slots__]
    return None if None in values else Axes(*values)  # type: ignore[arg-type]


def _scale(picture: Mapping[str, Any], path: Path) -> Scale | None:
    low, high, unit = picture.get("low"), picture.get("high"), picture.get("unit")
    colours = palette(path)
    return None if low is None or high is None or not colours else Scale(low, high, unit or "", colours)


def palette(path: Path) -> list[str]:
    """The colours of a palette PNG, `#rrggbb`; empty without a palette, or without the file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return []
    at = 8
    while at + 8 <= len(head):
        length, kind = struct.unpack(">I4s", head[at : at + 8])
        if kind == b"PLTE":
            colours = head[at + 8 : at + 8 + length]
            return [f"#{colours[i : i + 3].hex()}" for i in range(0, len(colours) - 2, 3)]
        at += 12 + length
    return []


def nearest_with_pictures(rows: Sequence[ResultRow], shown: int, workspace: Path) -> int | None:
    """The place among `rows` of the file with pictures nearest to the one shown; None: none so near."""
    return next((at for at in _outwards(shown, len(rows)) if _has_pictures(workspace / rows[at].folder)), None)


def _outwards(start: int, end: int) -> Iterator[int]:
    for distance in range(1, FILES_LOOKED_AT + 1):
        for at in (start - distance, start + distance):
            if 0 <= at < end:
                yield at


def _has_pictures(folder: Path) -> bool:
    try:
        return any(path.suffix == ".png" for path in folder.iterdir())
    except OSError:
        return False
