"""A quantity of an element over the files of a run, with so few points that a browser draws them at once and no outlier is lost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.dqm.metrics import Metric
from dashboard.dqm.scalars import PLANES
from dashboard.quality.limits import Limit
from dashboard.quality.run_page.files import FileWithout, RunFiles

MOST_POINTS = 2000
MOST_GAPS = 200


@dataclass(frozen=True, slots=True)
class Extremes:
    """A plane over the files of the run; `lowest_at`, `highest_at`: places among the files that have a record."""

    plane: str
    files: int
    median: float
    lowest: float
    lowest_at: int
    highest: float
    highest_at: int


@dataclass(frozen=True, slots=True)
class Trend:
    """The values of each plane at some of the run's files; `files`: how many there are, `without`: how many have no record.

    `at` are places in the order of writing, `shown` that of the file on the page. A null among the values is a file without: there the
    line breaks. `gaps` are first and last place of files without a record. `limits` and `reference` are those of each plane.
    """

    metric: Metric
    files: int
    without: int
    at: list[int]
    names: list[str]
    indices: list[int | None]
    flags: list[int]
    planes: dict[str, list[float | None]]
    gaps: list[tuple[int, int]]
    shown: int | None
    limits: dict[str, dict[str, float | None]]
    reference: dict[str, float]
    extremes: list[Extremes]

    def data(self) -> dict[str, Any]:
        """As the page's script reads it; names of the files of a run are alike, and so only what differs is sent."""
        prefix = commonprefix(self.names)  # noqa: RUF071 - letter by letter is what is wanted
        suffix = commonprefix([name[len(prefix) :][::-1] for name in self.names])[::-1]  # noqa: RUF071
        return {
            "key": self.metric.key,
            "label": self.metric.words,
            "unit": self.metric.unit,
            "percent": self.metric.form == "percent",
            "files": self.files,
            "at": self.at,
            "prefix": prefix,
            "suffix": suffix,
            "names": [name[len(prefix) : len(name) - len(suffix)] for name in self.names],
            "index": self.indices,
            "flags": self.flags,
            "planes": self.planes,
            "gaps": self.gaps,
            "shown": self.shown,
            "limits": self.limits,
            "reference": self.reference,
        }


def trend(
    files: RunFiles,
    without: Sequence[FileWithout],
    shown: int | None,
    element: str | None,
    metric: Metric,
    limits: Mapping[str, Limit | None],
    reference: Mapping[str, float],
) -> Trend:
    """The trend of `metric`; of at most 2,000 files, the lowest and the highest of each plane in each stretch of the run."""
    judged, order = _in_order(files, without)
    total = len(order)
    values = np.full((len(PLANES), total), np.nan, np.float32)
    if (of := files.element(element)) is not None:
        values[:, judged] = files.results.scalars[:, of, :, metric.index].T
    lacking = np.ones(total, dtype=bool)
    lacking[judged] = False
    mine = None if shown is None else int(judged[shown])
    at = _chosen(values, lacking, mine)
    flags = np.zeros(total, np.int8)
    flags[judged] = files.flags
    entries = [order[i] for i in at]
    return Trend(
        metric=metric,
        files=total,
        without=len(without),
        at=at.tolist(),
        names=[name for _, name, _ in entries],
        indices=[index for index, _, _ in entries],
        flags=flags[at].tolist(),
        planes={plane: [_number(value) for value in values[row, at].tolist()] for row, plane in enumerate(PLANES)},
        gaps=_gaps(lacking),
        shown=mine,
        limits={plane: _lines(limit) for plane, limit in limits.items() if limit is not None},
        reference=dict(reference),
        extremes=[found for row, plane in enumerate(PLANES) if (found := _extremes(plane, values[row, judged]))],
    )


def _extremes(plane: str, values: NDArray[np.float32]) -> Extremes | None:
    """None for a plane that no file has."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return None
    low, high = (int(known[place]) for place in (values[known].argmin(), values[known].argmax()))
    median = float(np.median(values[known]))
    return Extremes(plane, len(known), median, float(values[low]), low, float(values[high]), high)


_Entry = tuple[int | None, str, int | None]


def _in_order(files: RunFiles, without: Sequence[FileWithout]) -> tuple[NDArray[np.intp], list[_Entry]]:
    """The places of the files with a record among all, and all as (index, name, row or None) in the order of writing."""
    order: list[_Entry] = [(row.file_index, name, at) for at, (row, name) in enumerate(zip(files.rows, files.names, strict=True))]
    if not without:
        return np.arange(len(order)), order
    order += [(file.file_index, file.name, None) for file in without]
    order.sort(key=lambda entry: (entry[0] is None, entry[0] or 0, entry[1]))
    judged = np.empty(len(files.rows), np.intp)
    for place, (_, _, at) in enumerate(order):
        if at is not None:
            judged[at] = place
    return judged, order


def _chosen(values: NDArray[np.float32], lacking: NDArray[np.bool_], shown: int | None) -> NDArray[np.intp]:
    """The places to draw: all when they are few, otherwise the extremes of each plane in each stretch, and where a stretch has nothing."""
    total = values.shape[1]
    if total <= MOST_POINTS:
        return np.arange(total)
    # The shown file is one point more.
    width = math.ceil(total / ((MOST_POINTS - 1) // (2 * len(PLANES))))
    stretches = math.ceil(total / width)
    padded = np.full((len(PLANES), stretches * width), np.nan, np.float32)
    padded[:, :total] = values
    stretched = padded.reshape(len(PLANES), stretches, width)
    known = ~np.isnan(stretched).all(axis=2)
    begin = np.arange(stretches) * width
    lowest = np.where(np.isnan(stretched), np.inf, stretched).argmin(axis=2) + begin
    highest = np.where(np.isnan(stretched), -np.inf, stretched).argmax(axis=2) + begin
    empty = begin[~known.any(axis=0)]
    more = [] if shown is None else [shown]
    chosen: NDArray[np.intp] = np.unique(np.concatenate([lowest[known], highest[known], empty, np.array(more, np.intp)]))
    return chosen


def _gaps(lacking: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last place of each stretch without records; when they are very many, neighbouring ones together."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lacking, [False]])))
    gaps = [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]
    nearer = 1
    while len(gaps) > MOST_GAPS:
        nearer *= 2
        joined = gaps[:1]
        for first, last in gaps[1:]:
            if first - joined[-1][1] <= nearer:
                joined[-1] = (joined[-1][0], last)
            else:
                joined.append((first, last))
        gaps = joined
    return gaps


def _number(value: float) -> float | None:
    """With no more digits than a plot shows."""
    return None if math.isnan(value) else float(f"{value:.5g}")


def _lines(limit: Limit) -> dict[str, float | None]:
    return {name: getattr(limit, name) for name in ("low_alarm", "low_warn", "high_warn", "high_alarm")}
