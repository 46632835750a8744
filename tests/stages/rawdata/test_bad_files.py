"""Files that cannot be read: one message that names file, place and reason; a mount that is away is not a bad file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dune_prompt.errors import DataError, TransientError
from stages.rawdata import RawFile
from stages.rawdata.hdf5_file import hdf5_errors


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        RawFile.open(path)
    return str(error.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.hdf5"
    path.touch()
    assert refusal(path) == f"{path}: the file is empty"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.hdf5"
    path.write_text("no data today")
    assert refusal(path) == f"{path}: not an HDF5 file (it starts with b'no data ')"


def test_a_truncated_file_is_refused_with_its_sizes(write: Callable, tmp_path: Path) -> None:
    path = write(frames=1).path
    size = path.stat().st_size
    os.truncate(path, size // 2)
    assert refusal(path) == f"{path}: truncated: {size // 2} bytes of {size}"


@pytest.mark.parametrize("length", [8, 20, 96])
def test_a_file_cut_within_its_first_bytes_is_refused(write: Callable, length: int) -> None:
    path = write(frames=1).path
    os.truncate(path, length)
    assert refusal(path).startswith(f"{path}: ")


@pytest.mark.parametrize("seed", range(5))
def test_a_file_with_spoilt_structure_is_refused_or_its_damage_named(write: Callable, seed: int) -> None:
    path = write(frames=1).path
    random = np.random.default_rng(seed)
    with path.open("r+b") as file:
        for position in random.integers(96, 4000, 20):
            file.seek(int(position))
            file.write(random.bytes(8))
    try:
        with RawFile.open(path) as raw:
            for record in raw.records:
                raw.problems(record)
    except DataError as error:
        assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda attrs: attrs.modify("record_type", "TimeSlice"), "holds records of type TimeSlice, no trigger records"),
        (lambda attrs: attrs.modify("filelayout_version", 2), "file layout 2; this reader knows 3 to 7"),
        (lambda attrs: attrs.modify("filelayout_version", 8), "file layout 8; this reader knows 3 to 7"),
        (
            lambda attrs: attrs.__delitem__("filelayout_version"),
            "attribute 'filelayout_version' is missing; not a DUNE-DAQ raw file, or not finished",
        ),
        (lambda attrs: attrs.__setitem__("run_number", "many"), "attribute 'run_number' is 'many', not a whole number"),
        (lambda attrs: attrs.modify("source_id_geo_id_map", "{}"), "attribute 'source_id_geo_id_map' is not the map it should be: '{}'"),
    ],
)
def test_a_file_whose_attributes_do_not_fit_is_refused(write: Callable, change: Callable, message: str) -> None:
    path = write(frames=1).path
    with h5py.File(path, "r+") as file:
        change(file.attrs)
    assert refusal(path) == f"{path}: {message}"


def test_a_file_of_an_unknown_detector_is_refused(write: Callable) -> None:
    path = write(frames=1, operational_environment="iceberg").path
    with h5py.File(path, "r+") as file:
        del file.attrs["source_id_geo_id_map"]
    assert refusal(path) == f"{path}: operational environment 'iceberg' is no known detector"


def test_the_readout_tells_the_detector_when_the_environment_does_not(write: Callable) -> None:
    with RawFile.open(write(frames=1, elements=("CRP2",), operational_environment="somewhere").path) as raw:
        assert raw.detector == "pdvd"


def test_a_file_without_trigger_records_is_refused(write: Callable) -> None:
    path = write(frames=1).path
    with h5py.File(path, "r+") as file:
        del file["TriggerRecord00001.0000"]
    assert refusal(path) == f"{path}: no trigger records"


def test_a_file_that_was_never_closed_is_read_and_reported(write: Callable) -> None:
    written = write(frames=1, closed_ms=None)
    with RawFile.open(written.path) as raw:
        assert (raw.attributes.closed_ms, raw.attributes.recorded_size) == (None, None)
        assert raw.file_problems == ("never closed (no closing_timestamp): the last trigger records may be missing",)
        assert np.array_equal(raw.block(raw.records[0], "P02SU").adc, written.adc[1]["P02SU"])


def test_a_name_that_says_another_run_is_reported(write: Callable, tmp_path: Path) -> None:
    path = write(frames=1).path.rename(tmp_path / "np04hd_raw_run027297_0003_dataflow0_datawriter_0_20240619T110330.hdf5")
    with RawFile.open(path) as raw:
        assert raw.file_problems == ("its name says run 27297, file 3; its attributes say run 27296, file 0",)


def test_a_file_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"gone\.hdf5: cannot be read \(No such file or directory\)"):
        RawFile.open(tmp_path / "gone.hdf5")


def test_an_io_error_of_the_mount_is_not_bad_data(write: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with RawFile.open(write(frames=1).path) as raw:
        monkeypatch.setattr(os, "preadv", broken)
        with pytest.raises(TransientError, match=r"WIBEth: cannot be read \(Input/output error\)"):
            raw.block(raw.records[0], "P02SU")


def test_a_file_that_shrinks_while_it_is_read_is_named_truncated(write: Callable) -> None:
    path = write(frames=1).path
    with RawFile.open(path) as raw:
        os.truncate(path, 20000)
        assert not raw.summary(raw.records[0]).usable


@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        ("Can't read data (file read failed: errno = 5, error message = 'Input/output error')", TransientError, "cannot be read"),
        (
            "Unable to open file (truncated file: eof = 96, sblock->base_addr = 0, stored_eof = 2048)",
            DataError,
            "truncated: 96 bytes of 2048",
        ),
        ("Unable to open object (bad B-tree signature)", DataError, "broken HDF5"),
        ("Can't read (file read failed: errno = 22, error message = 'Invalid argument')", DataError, "broken HDF5"),
        ("Unable to open file (file locking flag values don't match)", TransientError, "open elsewhere in this process"),
    ],
)
def test_the_system_error_hidden_in_an_hdf5_message_decides(message: str, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text), hdf5_errors(Path("file"), "dataset"):
        raise OSError(message)
