"""Compares one quantity over the same files in two versions: how much it differs, and whether the number of files says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb
from statistics import fmean, median
from typing import Literal

SIGNIFICANT = 0.05
# With fewer files not even an agreement of all of them is significant: 2 x 0.5**5 > 0.05.
FEWEST = 6

Answer = Literal["alike", "differs", "may differ", "too few files"]


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity of `files` files in both versions.

    `old` and `new` are medians over the files (fractions of the files where `unit` is "of files"), `difference` the median (mean) of the
    differences file by file, `relative` that as a fraction of the old value, `p` the chance of differences as one-sided as these when the
    versions are alike; after `judged` with the correction for the number of quantities looked at.
    """

    what: str
    unit: str
    files: int
    old: float
    new: float
    difference: float
    relative: float | None
    p: float
    answer: Answer = "alike"


def sign_test(differences: Sequence[float]) -> float:
    """The two-sided exact sign test: the chance of at least so one-sided signs if both are equally likely. Zeros say nothing.

    It asks nothing of how the differences are spread, and it is exact for a handful of files. On 0 and 1 it is McNemar's test.
    """
    positive = sum(difference > 0 for difference in differences)
    negative = sum(difference < 0 for difference in differences)
    n = positive + negative
    tail = sum(comb(n, k) for k in range(min(positive, negative) + 1))
    return min(1.0, 2 * tail / (1 << n))


def line(what: str, unit: str, pairs: Sequence[tuple[float, float]]) -> Line:
    """The comparison of a measured quantity, from its (old, new) values file by file; at least one."""
    old, new = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    differences = [pair[1] - pair[0] for pair in pairs]
    difference = median(differences)
    relative = difference / abs(old) if old else None
    return Line(what, unit, len(pairs), old, new, difference, relative, sign_test(differences))


def share(what: str, pairs: Sequence[tuple[bool, bool]]) -> Line:
    """The comparison of something that befell a file or not."""
    old, new = fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs)
    differences = [float(pair[1]) - float(pair[0]) for pair in pairs]
    return Line(what, "of files", len(pairs), old, new, new - old, (new - old) / old if old else None, sign_test(differences))


def judged(lines: Sequence[Line], tolerance: float) -> list[Line]:
    """The lines with their answers. A difference counts when it is above `tolerance` (a fraction of the old value, and of what befalls
    files any difference) and significant after Holm's correction: with thirty quantities some look different by chance."""
    corrected: dict[int, float] = {}
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(lines)), key=lambda i: lines[i].p)):
        highest = max(highest, min(1.0, (len(lines) - rank) * lines[index].p))
        corrected[index] = highest
    return [replace(item, p=corrected[i], answer=_answer(item, corrected[i], tolerance)) for i, item in enumerate(lines)]


def _answer(item: Line, p: float, tolerance: float) -> Answer:
    if item.difference == 0 or (item.unit != "of files" and item.relative is not None and abs(item.relative) <= tolerance):
        return "alike"
    if item.files < FEWEST:
        return "too few files"
    return "differs" if p < SIGNIFICANT else "may differ"
