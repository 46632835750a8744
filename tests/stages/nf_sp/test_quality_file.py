"""The file of arrays that evaluate reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.nf_sp.quality_file import QualityWriter


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"), QualityWriter(tmp_path / "q.npz") as file:
        file.add("P02NL", "pedestal", np.zeros(3))
        raise RuntimeError("power cut")
    assert list(tmp_path.iterdir()) == []


def test_numpy_reads_what_was_written_and_the_same_again_makes_the_same_file(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        with QualityWriter(tmp_path / name) as file:
            assert not (tmp_path / name).exists()
            file.add("P02NL", "pedestal", np.arange(3))
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["P02NL/pedestal"].tolist() == [0, 1, 2]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
