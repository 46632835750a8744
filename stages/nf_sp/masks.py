"""Which parts of the charge mean nothing: bad channels, and ticks the data acquisition did not deliver."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp import regions
from stages.nf_sp.deconvolution import Grid
from stages.nf_sp.pedestal import Samples


def channel_mask(channels: NDArray[np.int32], usable: NDArray[np.bool_], missing: NDArray[np.bool_] | None, on: Grid) -> NDArray[np.int32]:
    """The mask `bad` of a frame file: [n, 3] of channel, first tick, end tick (500 ns), whole frames for channels that are not `usable`.

    `missing` [channels, on.n_in] is true for samples that were not delivered (None: all were).
    """
    bad = np.flatnonzero(~usable)
    whole = np.column_stack([channels[bad], np.zeros_like(bad), np.full_like(bad, on.n_out)])
    if missing is None:
        return whole.astype(np.int32)
    rows = np.flatnonzero(usable & missing.any(axis=1))
    gaps = regions.runs(missing[rows])
    factor = on.padded_out / on.padded_in
    start = np.floor(gaps.start * factor).astype(np.intp)
    stop = np.minimum(np.ceil(gaps.stop * factor).astype(np.intp), on.n_out)
    parts = np.column_stack([channels[rows[gaps.wire]], start, stop])
    mask = np.concatenate([whole, parts])
    return mask[np.lexsort((mask[:, 1], mask[:, 0]))].astype(np.int32)


def blank(electrons: Samples, missing: NDArray[np.bool_] | None, on: Grid) -> None:
    """Set `electrons` [channels, on.n_out] to 0 in place wherever there was no sample."""
    if missing is None:
        return
    rows = np.flatnonzero(missing.any(axis=1))
    source = np.minimum((np.arange(on.n_out) * on.padded_in) // on.padded_out, on.n_in - 1)
    electrons[rows] = np.where(missing[rows][:, source], np.float32(0), electrons[rows])
