"""The mask of a frame file: which channels and ticks carry no charge that means anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.regions import stretches


def ranges(channels: NDArray[np.int32], masked: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The mask as Wire-Cell writes it, [n, 3] of channel, first tick, tick behind the last; `masked` is [channels, ticks]."""
    found = stretches(masked)
    return np.column_stack([channels[found.wire], found.first, found.last + 1]).astype(np.int32)
