"""Compares the charge that two payloads, or two versions of one, made of the same raw file: numbers for each plane, and pictures.

Both files are read a block of channels at a time, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages import images
from stages.evaluate import pictures
from stages.frames import FrameFile, FrameHeader, FrameKey
from stages.nf_sp.geometry import ANODES, geometry_of

BLOCK_CHANNELS = 256
# Ticks that share a pixel of a picture.
TICKS_PER_PIXEL = 4

Rows = NDArray[np.float32]


@dataclass
class PlaneComparison:
    """One plane of one kind of frame, over all records that both files have; the first file is what the second is compared with."""

    tag: str
    plane: str
    records: int = 0
    _sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(9), repr=False)

    def add(self, first: Rows, second: Rows) -> None:
        """Take in rows of both."""
        a, b = (rows.ravel().astype(np.float64) for rows in (first, second))
        counts = [np.count_nonzero(chosen) for chosen in (a > 0, b > 0, (a > 0) & (b > 0))]
        self._sums += np.array([a.size, a.sum(), b.sum(), a @ a, b @ b, a @ b, *counts], np.float64)

    @property
    def first_charge_e(self) -> float:
        return float(self._sums[1])

    @property
    def second_charge_e(self) -> float:
        return float(self._sums[2])

    @property
    def ratio(self) -> float | None:
        """The second's charge over the first's."""
        return self.second_charge_e / self.first_charge_e if self.first_charge_e else None

    @property
    def correlation(self) -> float | None:
        """Of all pixels; None where one of the two is the same everywhere."""
        n, a, b, aa, bb, ab = self._sums[:6]
        spread = (n * aa - a * a) * (n * bb - b * b)
        return float((n * ab - a * b) / np.sqrt(spread)) if spread > 0 else None

    @property
    def rms_difference_e(self) -> float:
        """Root of the mean square difference of the pixels, in electrons per tick (ADC for filtered waveforms)."""
        n, _, _, aa, bb, ab = self._sums[:6]
        return float(np.sqrt(max(aa + bb - 2 * ab, 0) / max(n, 1)))

    @property
    def covered(self) -> float | None:
        """The fraction of the first's pixels with charge that have charge in the second too."""
        return float(self._sums[8] / self._sums[6]) if self._sums[6] else None

    @property
    def confirmed(self) -> float | None:
        """The fraction of the second's pixels with charge that have charge in the first too."""
        return float(self._sums[8] / self._sums[7]) if self._sums[7] else None


@dataclass(frozen=True, slots=True)
class FrameComparison:
    """What a comparison found: a line for each kind of frame and plane, what only one file has, and the pictures that were drawn."""

    planes: tuple[PlaneComparison, ...]
    only_first: tuple[FrameKey, ...]
    only_second: tuple[FrameKey, ...]
    pictures: tuple[Path, ...]


def compare(first: Path, second: Path, detector: str, draw_into: Path | None = None) -> FrameComparison:
    """Compare two frame files of a file of `detector`; with `draw_into` pictures of the first record both have go there.

    Raises:
        DataError: a file is damaged, or frames of the same name have other channels or ticks.
    """
    drawn: list[Path] = []
    with ExitStack() as stack:
        files = [stack.enter_context(FrameFile(path)) for path in (first, second)]
        both = [key for key in files[0].keys if key in files[1].keys]
        found: dict[tuple[str, str], PlaneComparison] = {}
        for key in both:
            headers = [file.header(key) for file in files]
            _fit(headers, key, first, second)
            planes = _planes(detector, headers[0])
            draw = draw_into is not None and key.ident == both[0].ident
            whole: list[list[Rows]] = [[], []]
            for name in planes:
                found.setdefault((key.tag, name), PlaneComparison(key.tag, name)).records += 1
            begin = 0
            for pair in zip(*(file.rows(key, BLOCK_CHANNELS) for file in files), strict=True):
                for name, rows in planes.items():
                    here = slice(max(rows.start - begin, 0), max(rows.stop - begin, 0))
                    found[key.tag, name].add(pair[0][here], pair[1][here])
                if draw:
                    for side, block in zip(whole, pair, strict=True):
                        side.append(images.extremes(block, TICKS_PER_PIXEL))
                begin += len(pair[0])
            if draw and draw_into is not None:
                drawn += _draw(draw_into, key, planes, [np.concatenate(side) for side in whole])
    missing = [tuple(key for key in one.keys if key not in other.keys) for one, other in (files, files[::-1])]
    return FrameComparison(tuple(found.values()), missing[0], missing[1], tuple(drawn))


def _fit(headers: list[FrameHeader], key: FrameKey, first: Path, second: Path) -> None:
    one, other = headers
    if not np.array_equal(one.channels, other.channels) or (one.n_ticks, one.tick_ns) != (other.n_ticks, other.tick_ns):
        raise DataError(
            f"{first} and {second}: frame {key.tag} of record {key.ident} has {len(one.channels)} channels x {one.n_ticks} ticks of "
            f"{one.tick_ns:g} ns in one, {len(other.channels)} x {other.n_ticks} of {other.tick_ns:g} ns in the other, or other channels"
        )


def _planes(detector: str, header: FrameHeader) -> dict[str, slice]:
    """The rows of each plane, by the number of the anode at the end of the tag."""
    anode = header.key.tag[len(header.key.tag.rstrip("0123456789")) :]
    for element, number in ANODES.get(detector, {}).items():
        if anode == str(number):
            return {plane.name: plane.rows for plane in geometry_of(detector, element, header.channels).planes}
    raise DataError(f"frame {header.key.tag}: {detector} has no anode {anode or 'without number'}")


def _draw(folder: Path, key: FrameKey, planes: dict[str, slice], sides: list[Rows]) -> Iterator[Path]:
    """Pictures of each plane: the first, the second, and the second minus the first, all in one range."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in planes.items():
        one, other = sides[0][rows], sides[1][rows]
        limit = images.charge_range(one)
        for what, png in (
            ("first", pictures.charge(images.charge(one, limit))[0]),
            ("second", pictures.charge(images.charge(other, limit))[0]),
            ("difference", pictures.waveforms(images.waveforms(other - one, limit))[0]),
        ):
            path = folder / f"{key.tag}_{key.ident}_{name}_{what}.png"
            path.write_bytes(png)
            yield path
