"""The table of the shown file: each plane of each element, beside the run's median and the reference, each number with its flag."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashboard.dqm.metrics import BY_KEY, Metric
from dashboard.dqm.scalars import INDEX, PLANES
from dashboard.quality.flags import Flag
from dashboard.quality.limits import Limit
from dashboard.quality.run_page.verdict import Verdict

TABLE = tuple(
    BY_KEY[key]
    for key in (
        "rms_raw_adc",
        "rms_nf_adc",
        "pedestal_adc",
        "coherent_fraction",
        "n_dead",
        "n_noisy",
        "n_low",
        "n_missing",
        "hits",
        "charge_e",
        "sp_gain",
    )
)

# [planes, scalars] of one element; None: there is nothing of it.
Block = NDArray[np.float32] | None
LimitOf = Callable[[str, str], Limit | None]


@dataclass(frozen=True, slots=True)
class Cell:
    """A quantity of a plane: of the file, with its spread over the channels; the median over the run's files; of the reference.

    `flag` is NULL when it was not judged; `why`: what the verdict says of it.
    """

    metric: Metric
    value: float | None
    low: float | None
    high: float | None
    of_run: float | None
    of_reference: float | None
    flag: Flag
    why: str


@dataclass(frozen=True, slots=True)
class Row:
    """A plane of an element. `in_file`: the file has it."""

    element: str
    plane: str
    n_channels: float | None
    in_file: bool
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Element:
    """An element of the detector; without `rows` neither the file nor the run has data of it."""

    name: str
    rows: list[Row]


def table(
    elements: Sequence[str],
    of_file: Mapping[str, NDArray[np.float32]],
    of_run: Mapping[str, NDArray[np.float32]],
    of_reference: Mapping[tuple[str, str], NDArray[np.float32]],
    verdict: Verdict | None,
    limit_of: LimitOf,
) -> list[Element]:
    """The elements in order. `of_file`, `of_run`: scalars [planes, scalars] by element; `of_reference`: [scalars] by element and plane;
    `limit_of`: the limit of a (plane, metric)."""
    return [
        Element(
            name,
            [_row(name, plane, of_file.get(name), of_run.get(name), of_reference.get((name, plane)), verdict, limit_of) for plane in PLANES]
            if name in of_file or name in of_run
            else [],
        )
        for name in elements
    ]


def _row(
    element: str,
    plane: str,
    of_file: Block,
    of_run: Block,
    of_reference: Block,
    verdict: Verdict | None,
    limit_of: LimitOf,
) -> Row:
    at = PLANES.index(plane)
    mine = None if of_file is None else of_file[at]
    runs = None if of_run is None else of_run[at]
    n_channels = INDEX["n_channels"]
    of_this, of_all = _number(mine, n_channels), _number(runs, n_channels)
    cells = [_cell(metric, element, plane, mine, runs, of_reference, verdict, limit_of) for metric in TABLE]
    return Row(element, plane, of_all if of_this is None else of_this, of_this is not None, cells)


def _cell(
    metric: Metric,
    element: str,
    plane: str,
    of_file: Block,
    of_run: Block,
    of_reference: Block,
    verdict: Verdict | None,
    limit_of: LimitOf,
) -> Cell:
    value = _number(of_file, metric.index)
    low, high = (_number(of_file, metric.index + i) if metric.spread else None for i in (1, 2))
    finding = verdict.finding(element, plane, metric.key) if verdict else None
    flag = Flag.NULL
    if finding is not None:
        flag = Flag(finding["flag"])
    elif verdict is not None and value is not None and limit_of(plane, metric.key) is not None:
        flag = Flag.GOOD
    why = finding["words"] if finding is not None else flag.sentence
    return Cell(metric, value, low, high, _number(of_run, metric.index), _number(of_reference, metric.index), flag, why)


def _number(scalars: Block, index: int) -> float | None:
    if scalars is None:
        return None
    value = float(scalars[index])
    return None if math.isnan(value) else value
