"""Channel masks."""

from __future__ import annotations

import numpy as np

from stages.nf_sp import masks


def test_the_mask_lists_each_stretch_with_the_tick_behind_it() -> None:
    masked = np.zeros((3, 1024), bool)
    masked[0, 128:256] = masked[1] = masked[2, 900:] = masked[2, 5:10] = True
    ranges = masks.ranges(np.array([100, 101, 104], np.int32), masked)
    assert ranges.tolist() == [[100, 128, 256], [101, 0, 1024], [104, 5, 10], [104, 900, 1024]]
    assert ranges.dtype == np.int32


def test_without_gaps_the_mask_is_empty() -> None:
    assert masks.ranges(np.array([5, 6], np.int32), np.zeros((2, 10), bool)).shape == (0, 3)
