"""The reader holds one APA of one record, whatever the size of the file."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.rawdata import RawFile
from stages.rawdata.writer import FileSpec, RecordContent, write_raw_file

FRAMES = 93
APA_EVENT_BYTES = 2560 * FRAMES * 64 * 2


@pytest.fixture(scope="module")
def several_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four records of two APAs of 93 frames: 214 MB, seven times what one block needs."""
    path = tmp_path_factory.mktemp("memory") / "file.hdf5"
    adc = np.random.default_rng(1).integers(0, 1 << 14, (2560, FRAMES * 64), dtype=np.uint16)

    def records() -> Iterator[RecordContent]:
        for number in range(1, 5):
            yield RecordContent(number, 64_000, 64_000, {"P02SU": adc, "P01NL": adc})

    write_raw_file(path, FileSpec("pdhd", 1, 0, 0, 1), records())
    return path


def test_reading_a_whole_file_needs_one_apa_event_and_little_more(several_records: Path) -> None:
    tracemalloc.start()
    try:
        with RawFile.open(several_records) as raw:
            for record in raw.records:
                raw.problems(record)
                for element in raw.elements(record):
                    assert raw.block(record, element).adc.nbytes == APA_EVENT_BYTES
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        several_records.unlink()
    assert peak < APA_EVENT_BYTES + 100_000_000
