"""Small raw files for the tests of the reader: written by the writer, altered where a test says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.rawdata.channel_map import DEFAULT_MAP, channel_map
from stages.rawdata.writer import Alter, FileSpec, RecordContent, write_raw_file

CROPPED = Path(__file__).parents[2] / "data" / "raw"
HD_NAME = "np04hd_raw_run027296_0000_dataflow0_datawriter_0_20240619T110330.hdf5"
VD_NAME = "np02vd_raw_run039252_0000_df-s04-d0_dw_0_20250829T115242.hdf5"
FIRST = 107424688437500000  # DTS ticks, a multiple of 32
CREATED_MS, CLOSED_MS = 1718795010000, 1718795052000


@dataclass(frozen=True)
class Written:
    """A file a test wrote, and the ADC values that are in it: [record number][APA or CRP]."""

    path: Path
    adc: Mapping[int, Mapping[str, NDArray[np.uint16]]]


@pytest.fixture(scope="session")
def cropped_hd() -> Path:
    """One record of P02NL, 2 frames; `.adc.npz` beside it has every 8th tick of every channel, in offline order."""
    return CROPPED / HD_NAME


@pytest.fixture(scope="session")
def cropped_vd() -> Path:
    """One record, 1 frame of 12 streams each of CRP2 and CRP4; `.adc_daq_order.npz` has every 4th tick of their channels."""
    return CROPPED / VD_NAME


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Written]:
    """Writes a raw file of random ADC values: `write(frames=3, elements=("P02SU",), numbers=(1,), alter=None, **spec)`."""

    def make(
        *,
        frames: int = 3,
        elements: tuple[str, ...] = ("P02SU",),
        numbers: tuple[int, ...] = (1,),
        alter: Alter | None = None,
        **changes: Any,
    ) -> Written:
        detector = "pdvd" if elements[0].startswith("CRP") else "pdhd"
        settings: dict[str, Any] = {
            "detector": detector,
            "run": 27296,
            "file_index": 0,
            "created_ms": CREATED_MS,
            "closed_ms": CLOSED_MS,
            "operational_environment": {"pdhd": "np04hd", "pdvd": "np02vd"}[detector],
            "application": {"pdhd": "dataflow0", "pdvd": "df-s04-d0"}[detector],
        }
        spec = FileSpec(**(settings | changes))
        channels = channel_map(DEFAULT_MAP[detector])
        random = np.random.default_rng(7)
        adc = {
            number: {
                name: random.integers(0, 1 << 14, (channels.element(name).n_channels, 64 * frames), dtype=np.uint16) for name in elements
            }
            for number in numbers
        }
        records = [RecordContent(number, FIRST + 5000, FIRST, content) for number, content in adc.items()]
        path = tmp_path / {"pdhd": HD_NAME, "pdvd": VD_NAME}[detector]
        write_raw_file(path, spec, records, alter=alter)
        return Written(path, adc)

    return make
