"""Takes the slope out of waveforms before they are deconvolved (Wire-Cell's `rebase_waveform`, method sigmask).

A waveform that ends at another height than it begins has a step there for a periodic transform, and deconvolution makes a large signal
of it.
"""

from __future__ import annotations

import numpy as np

from stages.nf_sp.statistics import HIGH, LOW, MIDDLE, Samples, quantiles

ANCHOR_TICKS = 200
SIGNAL_SIGMA = 4.0
BLOCK_ROWS = 64
# An end with fewer quiet ticks than this part of it is made twice and four times as long.
QUIET_PART = 4


def straighten(rows: Samples) -> Samples:
    """Subtract from each row the line through the quiet samples at its two ends, in place; returns `rows`."""
    for begin in range(0, len(rows), BLOCK_ROWS):
        _straighten(rows[begin : begin + BLOCK_ROWS])
    return rows


def _straighten(rows: Samples) -> None:
    low, middle, high = quantiles(rows, (LOW, MIDDLE, HIGH))
    limit = SIGNAL_SIGMA * np.minimum(high - middle, middle - low)
    n_ticks = rows.shape[1]
    front, front_at = _anchor(rows, middle, limit)
    back, distance = _anchor(rows[:, ::-1], middle, limit)
    back_at = n_ticks - 1 - distance
    apart = back_at - front_at
    slope = np.where(apart > 1, (back - front) / np.maximum(apart, 1), 0)
    offset = np.where(apart > 1, back - slope * back_at, (front + back) / 2)
    rows -= (offset[:, None] + slope[:, None] * np.arange(n_ticks)).astype(np.float32)


def _anchor(rows: Samples, middle: Samples, limit: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Mean height and place of the quiet samples at the begin of each row."""
    height, place = middle.astype(np.float64), np.full(len(rows), ANCHOR_TICKS / 2)
    pending = np.arange(len(rows))
    for longer in (1, 2, 4):
        n = min(ANCHOR_TICKS * longer, rows.shape[1])
        part = rows[pending, :n]
        quiet = np.abs(part - middle[pending, None]) < limit[pending, None]
        count = np.count_nonzero(quiet, axis=1)
        enough = (count >= ANCHOR_TICKS // QUIET_PART) | ((n == rows.shape[1]) & (count > 0))
        chosen = pending[enough]
        height[chosen] = np.where(quiet, part, 0)[enough].sum(axis=1, dtype=np.float64) / count[enough]
        place[chosen] = (quiet[enough] @ np.arange(n)) / count[enough]
        pending = pending[~enough]
        if not len(pending) or n == rows.shape[1]:
            break
    return height, place
