"""The files of a run in one line, by their flag: each stretch as its worst file, so that one bad file of thousands is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashboard.quality.flags import Flag

MOST_STRETCHES = 240


@dataclass(frozen=True, slots=True)
class Stretch:
    """Files `first` to `last` (places in the order of writing), their worst flag, and how many have it; `opens`: the first of those."""

    first: int
    last: int
    flag: Flag
    worst: int
    opens: int


def strip(flags: NDArray[np.int8]) -> list[Stretch]:
    """The files in at most 240 stretches. Neighbours that are all good, or all not judged, are one."""
    width = max(1, math.ceil(len(flags) / MOST_STRETCHES))
    stretches: list[Stretch] = []
    for first in range(0, len(flags), width):
        part = flags[first : first + width]
        flag = int(part.max())
        found = Stretch(first, first + len(part) - 1, Flag(flag), int((part == flag).sum()), first + int(part.argmax()))
        if stretches and found.flag <= Flag.GOOD and stretches[-1].flag is found.flag:
            stretches[-1] = _joined(stretches[-1], found)
        else:
            stretches.append(found)
    return stretches


def _joined(one: Stretch, other: Stretch) -> Stretch:
    return Stretch(one.first, other.last, one.flag, one.worst + other.worst, one.opens)
