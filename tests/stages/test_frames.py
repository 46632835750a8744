"""Frame files in Wire-Cell's format."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dune_prompt.errors import DataError
from stages.frames import FrameFile, FrameHeader, FrameKey, FrameWriter


def header(tag: str, ident: int, n_channels: int, n_ticks: int) -> FrameHeader:
    return FrameHeader(FrameKey(tag, ident), np.arange(2560, 2560 + n_channels, dtype=np.int32), n_ticks, -249_856.0, 500.0)


def write(path: Path) -> np.ndarray:
    """Two records of two anodes, with masks; returns the rows of the first frame."""
    rows = np.arange(60, dtype=np.float32).reshape(5, 12)
    with FrameWriter(path) as file:
        for ident in (1, 2):
            for anode in (1, 3):
                file.write(header(f"gauss{anode}", ident, 5, 12), [rows[:2] * ident, rows[2:] * ident])
            file.mask("bad", ident, np.array([[2561, 0, 12]], np.int32))
    return rows


@given(rows=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.floats(-1e6, 1e6, width=32)))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("frames") / "frames.npz"
    written = header("gauss0", 7, *rows.shape)
    with FrameWriter(path) as file:
        file.write(written, [rows])
    with FrameFile(path) as file:
        assert file.keys == (FrameKey("gauss0", 7),)
        read = file.header(file.keys[0])
        assert (read.n_ticks, read.time_ns, read.tick_ns, read.first_tick) == (rows.shape[1], -249_856.0, 500.0, 0)
        assert np.array_equal(read.channels, written.channels)
        assert np.array_equal(np.concatenate(list(file.rows(file.keys[0], block=3))), rows)


def test_numpy_and_so_wire_cells_python_tools_read_the_members(tmp_path: Path) -> None:
    rows = write(tmp_path / "frames.npz")
    with np.load(tmp_path / "frames.npz", allow_pickle=False) as file:
        assert np.array_equal(file["frame_gauss3_2"], rows * 2)
        assert file["frame_gauss1_1"].dtype == np.float32
        assert file["channels_gauss1_1"].dtype == np.int32
        assert file["tickinfo_gauss1_1"].tolist() == [-249_856.0, 500.0, 0.0]
        assert file["chanmask_bad_2"].tolist() == [[2561, 0, 12]]


def test_members_of_a_record_follow_each_other_and_need_no_zip64(tmp_path: Path) -> None:
    write(tmp_path / "frames.npz")
    with zipfile.ZipFile(tmp_path / "frames.npz") as file:
        idents = [name.removesuffix(".npy").rpartition("_")[2] for name in file.namelist()]
        assert idents == sorted(idents)
        assert all(member.extract_version < 45 and not member.flag_bits & 0x08 for member in file.infolist())


def test_the_same_content_makes_the_same_file(tmp_path: Path) -> None:
    write(tmp_path / "one.npz")
    write(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_file_that_numpy_wrote_is_read_also_in_fortran_order(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.int16).reshape(3, 4)
    np.savez(
        tmp_path / "wct.npz",
        frame_raw1_0=np.asfortranarray(rows),
        channels_raw1_0=np.arange(3),
        tickinfo_raw1_0=np.array([0.0, 512.0, 149.0]),
    )
    with FrameFile(tmp_path / "wct.npz") as file:
        key = file.keys[0]
        assert file.header(key).first_tick == 149
        assert np.array_equal(np.concatenate(list(file.rows(key, block=2))), rows)
        assert file.mask("bad", 0).shape == (0, 3)


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), FrameWriter(tmp_path / "frames.npz") as file:
        file.write(header("gauss1", 1, 1, 3), [np.zeros((1, 3), np.float32)])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_mistakes_in_writing_are_caught(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 rows for 2 channels"), FrameWriter(tmp_path / "a.npz") as file:
        file.write(header("gauss1", 1, 2, 3), [np.zeros((1, 3), np.float32)])
    with pytest.raises(ValueError, match="expected float32 rows of 3 ticks"), FrameWriter(tmp_path / "a.npz") as file:
        file.write(header("gauss1", 1, 1, 3), [np.zeros((1, 4), np.float32)])
    with pytest.raises(ValueError, match="must follow each other"), FrameWriter(tmp_path / "a.npz") as file:
        file.mask("bad", 2, np.empty((0, 3), np.int32))
        file.mask("bad", 1, np.empty((0, 3), np.int32))
    assert list(tmp_path.iterdir()) == []


def read_all(path: Path) -> None:
    with FrameFile(path) as file:
        for key in file.keys:
            file.header(key)
            for _ in file.rows(key):
                pass


def test_a_truncated_file_is_bad_data(tmp_path: Path) -> None:
    write(tmp_path / "frames.npz")
    content = (tmp_path / "frames.npz").read_bytes()
    (tmp_path / "frames.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="not a frame file"):
        read_all(tmp_path / "frames.npz")


@example(place=0.9993197457165933, value=1)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_harmless(tmp_path_factory: pytest.TempPathFactory, place: float, value: int) -> None:
    path = tmp_path_factory.mktemp("frames") / "frames.npz"
    write(path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= value
    path.write_bytes(content)
    try:
        read_all(path)
    except DataError as error:
        assert str(path) in str(error)


def test_arrays_that_do_not_fit_each_other_are_bad_data(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        frame_raw1_0=np.zeros((3, 4)),
        channels_raw1_0=np.arange(2),
        tickinfo_raw1_0=np.zeros(3),
    )
    np.savez(tmp_path / "b.npz", frame_raw1_0=np.zeros((3, 4)))
    np.savez(tmp_path / "c.npz", frame_raw1_0=np.array([["a", "b"]]))
    for name, message in (("a", r"channels \(2,\)"), ("b", "no member channels_raw1_0"), ("c", "expected numbers")):
        with pytest.raises(DataError, match=message):
            read_all(tmp_path / f"{name}.npz")
