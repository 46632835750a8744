"""The arrays that nf_sp gathered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.errors import DataError
from stages.evaluate.quality_file import QualityArrays
from stages.nf_sp.quality_file import QualityWriter


def write(path: Path) -> None:
    with QualityWriter(path) as file:
        file.add("P02NL", "picture_1_W_raw", np.arange(12, dtype=np.int8).reshape(3, 4))
        file.add("P02NL", "picture_flat", np.zeros(3, np.int8))
        for element in ("P02SU", "P02NL"):
            file.add(element, "pedestal", np.array([9000.0, np.nan], np.float32))


def test_arrays_are_read_by_element_and_images_one_by_one(tmp_path: Path) -> None:
    write(tmp_path / "q.npz")
    with QualityArrays(tmp_path / "q.npz") as file:
        arrays = file.by_element()
        assert {element: list(named) for element, named in arrays.items()} == {"P02SU": ["pedestal"], "P02NL": ["pedestal"]}
        assert np.array_equal(arrays["P02NL"]["pedestal"], [9000.0, np.nan], equal_nan=True)
        assert file.image("P02NL", "picture_1_W_raw").tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_an_image_that_is_not_there_or_is_none_is_bad_data(tmp_path: Path) -> None:
    write(tmp_path / "q.npz")
    with QualityArrays(tmp_path / "q.npz") as file:
        with pytest.raises(DataError, match="no image picture_1_U_raw of P02NL"):
            file.image("P02NL", "picture_1_U_raw")
        with pytest.raises(DataError, match=r"picture_flat of P02NL is int8 \(3,\), no image"):
            file.image("P02NL", "picture_flat")
        with pytest.raises(DataError, match="float32"):
            file.image("P02NL", "pedestal")


def test_a_damaged_file_is_bad_data(tmp_path: Path) -> None:
    (tmp_path / "q.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="not a quality file"):
        QualityArrays(tmp_path / "q.npz")


@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_changed_byte_is_noticed_or_harmless(tmp_path_factory: pytest.TempPathFactory, place: float, value: int) -> None:
    path = tmp_path_factory.mktemp("changed") / "q.npz"
    write(path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = value
    path.write_bytes(content)
    try:
        with QualityArrays(path) as file:
            file.by_element()
            file.image("P02NL", "picture_1_W_raw")
    except DataError as error:
        assert str(path) in str(error)
