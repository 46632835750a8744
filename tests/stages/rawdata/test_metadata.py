from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from dune_prompt.errors import DataError, TransientError
from dune_prompt.records import FileRecord
from stages.rawdata.metadata import record_of


@pytest.fixture
def with_sidecar(write: Callable) -> Callable[..., Path]:
    """A raw file with a sidecar of the given content; what is not given is right."""

    def make(**changes: object) -> Path:
        path: Path = write(frames=1).path
        size = path.stat().st_size
        content = {
            "name": path.name,
            "namespace": "hd-protodune",
            "size": size,
            "checksums": {"adler32": "0badcafe"},
            "metadata": {"core.runs": [1]},
        }
        path.with_name(path.name + ".json").write_text(json.dumps(content | changes))
        return path

    return make


def test_the_sidecar_is_believed_and_the_file_not_opened(with_sidecar: Callable) -> None:
    path = with_sidecar()
    size = path.stat().st_size
    path.write_bytes(b"x" * size)
    assert record_of(path) == FileRecord("hd-protodune", path.name, size, "0badcafe", {"core.runs": [1]})


def test_a_sidecar_of_another_file_or_size_is_refused(with_sidecar: Callable) -> None:
    with pytest.raises(DataError, match=r"describes other\.hdf5, not the file beside it"):
        record_of(with_sidecar(name="other.hdf5"))
    with pytest.raises(DataError, match="bytes, its sidecar says 12; the file is incomplete or not the one described"):
        record_of(with_sidecar(size=12))


def test_a_sidecar_that_is_no_json_is_refused(write: Callable) -> None:
    path = write(frames=1).path
    path.with_name(path.name + ".json").write_text('{"name": "np04')
    with pytest.raises(DataError, match="not JSON"):
        record_of(path)


@pytest.mark.parametrize("sidecar", [None, {"file_name": "x", "checksum": "adler32:00000000", "file_size": 1}])
def test_without_a_metacat_sidecar_the_file_tells(write: Callable, sidecar: object) -> None:
    path = write(frames=1, numbers=(7, 3), test_run=False, data_stream="noise").path
    if sidecar is not None:
        path.with_name(path.name + ".json").write_text(json.dumps(sidecar))
    record = record_of(path)
    assert (record.did, record.size_bytes) == (f"hd-protodune:{path.name}", path.stat().st_size)
    assert record.adler32 == f"{zlib.adler32(path.read_bytes()):08x}"
    assert record.metadata["core.events"] == [3, 7]
    assert (record.metadata["core.data_stream"], record.metadata["dune.daq_test"]) == ("noise", "False")
    assert (record.metadata["core.start_time"], record.metadata["core.end_time"]) == (1718795010.0, 1718795052.0)


def test_a_file_that_does_not_say_whether_it_is_a_test_gets_no_answer_invented(write: Callable) -> None:
    metadata = record_of(write(frames=1, layout_version=4).path).metadata
    assert "dune.daq_test" not in metadata
    assert metadata["core.data_stream"] == "cosmics"


def test_a_file_with_another_name_has_no_record(write: Callable, tmp_path: Path) -> None:
    path = write(frames=1).path.rename(tmp_path / "data.hdf5")
    with pytest.raises(DataError, match=r"'data\.hdf5' is not the name of a raw file"):
        record_of(path)


def test_a_file_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="No such file or directory"):
        record_of(tmp_path / "np04hd_raw_run027296_0000_dataflow0_datawriter_0_20240619T110330.hdf5")
