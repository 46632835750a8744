"""The scalars of a record in one small block of bytes: what tables, trends and outliers of thousands of files are made of.

A block holds little-endian float32 [elements, planes (U, V, W), scalars], NaN where there is no number. A run of 12,000 files is then
read in some 30 ms, where the same numbers as JSON would take most of a second. Which elements it has stands in the row beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PLANES = ("U", "V", "W")

# Appended to, never reordered: a block that is shorter was written before a scalar existed.
SCALARS = (
    "n_channels",
    "n_missing",
    "n_dead",
    "n_noisy",
    "n_low",
    "n_high",
    "missing_fraction",
    "saturated_fraction",
    "pedestal_adc",
    "pedestal_adc_p05",
    "pedestal_adc_p95",
    "std_raw_adc",
    "rms_raw_adc",
    "rms_raw_adc_p05",
    "rms_raw_adc_p95",
    "rms_nf_adc",
    "rms_nf_adc_p05",
    "rms_nf_adc_p95",
    "coherent_rms_before_adc",
    "coherent_rms_after_adc",
    "coherent_fraction",
    "charge_e",
    "hits",
    "sp_nonzero_fraction",
    "sp_gain",
)
INDEX = {name: place for place, name in enumerate(SCALARS)}
STORED = np.dtype("<f4")

Scalars = NDArray[np.float32]


def unpack(block: bytes, elements: int) -> Scalars:
    """The scalars [elements, planes, scalars] of a block; those it was written without are NaN."""
    if not elements:
        return np.empty((0, len(PLANES), len(SCALARS)), np.float32)
    stored = np.frombuffer(block, STORED).reshape(elements, len(PLANES), -1)
    if stored.shape[2] == len(SCALARS):
        return stored
    full = np.full((elements, len(PLANES), len(SCALARS)), np.nan, np.float32)
    full[:, :, : stored.shape[2]] = stored
    return full


def stack(blocks: Sequence[tuple[Sequence[str], bytes]], elements: Sequence[str]) -> Scalars:
    """The scalars [files, elements, planes, scalars] of many blocks, given as (its elements, bytes), on common `elements`."""
    out = np.full((len(blocks), len(elements), len(PLANES), len(SCALARS)), np.nan, np.float32)
    place = {name: at for at, name in enumerate(elements)}
    # Files of a run mostly have the same elements: those are put in together.
    alike: dict[tuple[str, ...], list[int]] = {}
    for file, (names, _) in enumerate(blocks):
        alike.setdefault(tuple(names), []).append(file)
    for names, files in alike.items():
        columns = [place[name] for name in names]
        by_size: dict[int, list[int]] = {}
        for file in files:
            by_size.setdefault(len(blocks[file][1]), []).append(file)
        for same in by_size.values():
            joined = b"".join(blocks[file][1] for file in same)
            values = unpack(joined, len(same) * len(names)).reshape(len(same), len(names), len(PLANES), len(SCALARS))
            out[np.ix_(same, columns)] = values
    return out
