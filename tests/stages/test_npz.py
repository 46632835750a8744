"""Zip files of arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dune_prompt.errors import DataError
from stages.npz import NpzFile, NpzWriter

several = st.lists(arrays.arrays(st.sampled_from(["<f4", "<i4", "|i1"]), arrays.array_shapes(max_side=9)), min_size=1, max_size=6)


@given(contents=several, cut=st.integers(0, 6))
def test_parts_that_are_put_together_are_what_one_would_have_written(
    tmp_path_factory: pytest.TempPathFactory, contents: list[np.ndarray], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("npz")
    named = [(f"a/{number}", content) for number, content in enumerate(contents)]
    for name, part in (("one", named[:cut]), ("two", named[cut:]), ("whole", named)):
        with NpzWriter(folder / f"{name}.npz") as file:
            for member, content in part:
                file.write(member, content)
    with NpzWriter(folder / "joined.npz") as file:
        file.append(folder / "one.npz")
        file.append(folder / "two.npz")
    assert (folder / "joined.npz").read_bytes() == (folder / "whole.npz").read_bytes()
    with zipfile.ZipFile(folder / "joined.npz") as joined:
        assert joined.testzip() is None
    with NpzFile(folder / "joined.npz", "file") as file:
        for member, content in named:
            assert np.array_equal(file.read(member), content, equal_nan=content.dtype.kind == "f")


def test_more_can_be_written_behind_a_part(tmp_path: Path) -> None:
    with NpzWriter(tmp_path / "part.npz") as file:
        file.write("a", np.arange(3))
    with NpzWriter(tmp_path / "all.npz") as file:
        file.write("first", np.arange(2))
        file.append(tmp_path / "part.npz")
        file.write("last", np.arange(4))
    with np.load(tmp_path / "all.npz") as arrays_:
        assert {name: arrays_[name].tolist() for name in arrays_.files} == {"first": [0, 1], "a": [0, 1, 2], "last": [0, 1, 2, 3]}


def test_a_file_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    with NpzWriter(tmp_path / "a.npz") as file:
        file.write("a", np.arange(3))
        assert not (tmp_path / "a.npz").exists()
    with pytest.raises(RuntimeError, match="power cut"), NpzWriter(tmp_path / "b.npz") as file:
        raise RuntimeError("power cut")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_what_compresses_well_is_compressed_fast_but_well(tmp_path: Path) -> None:
    with NpzWriter(tmp_path / "a.npz") as file:
        file.write("zeros", np.zeros((1000, 1000), np.float32))
    assert (tmp_path / "a.npz").stat().st_size < 40_000


def test_what_is_missing_or_no_number_is_bad_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", text=np.array(["a"]))
    with NpzFile(tmp_path / "a.npz", "file") as file:
        with pytest.raises(DataError, match="no member other"):
            file.read("other")
        with pytest.raises(DataError, match="text holds <U1, expected numbers"):
            file.read("text")
    (tmp_path / "b.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match="not a thing; an interrupted copy"):
        NpzFile(tmp_path / "b.npz", "thing")
