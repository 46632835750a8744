"""The charge of two payloads side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dune_prompt.cli import main
from dune_prompt.errors import DataError
from stages.evaluate.frame_comparison import compare
from stages.frames import FrameHeader, FrameKey, FrameWriter

CHANNELS = np.arange(3300, 4200, dtype=np.int32)  # 60 of U, 800 of V, 40 of W of P02NL


def charge(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.integers(0, 3000, (len(CHANNELS), 100)).astype(np.float32)
    rows[random.random(rows.shape) < 0.8] = 0
    return rows


def write(path: Path, *frames: tuple[str, int, np.ndarray]) -> Path:
    with FrameWriter(path) as file:
        for tag, ident, rows in frames:
            file.write(FrameHeader(FrameKey(tag, ident), CHANNELS, rows.shape[1], 0.0, 500.0), [rows])
    return path


def test_the_same_charge_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", ("gauss1", 1, charge()), ("gauss1", 2, charge(2)))
    found = compare(path, path, "pdhd")
    assert [(item.tag, item.plane, item.records) for item in found.planes] == [("gauss1", plane, 2) for plane in "UVW"]
    for item in found.planes:
        assert (item.correlation, item.ratio, item.covered, item.confirmed) == pytest.approx((1, 1, 1, 1))
        assert item.rms_difference_e == pytest.approx(0, abs=1e-3)


def test_the_numbers_are_those_of_all_pixels_of_a_plane(tmp_path: Path) -> None:
    one, other = charge(), charge() * np.float32(0.5)
    other[60:860] = charge(1)[60:860]
    found = compare(write(tmp_path / "a.npz", ("gauss1", 1, one)), write(tmp_path / "b.npz", ("gauss1", 1, other)), "pdhd")
    for item, rows in zip(found.planes, (slice(0, 60), slice(60, 860), slice(860, 900)), strict=True):
        a, b = one[rows].ravel().astype(float), other[rows].ravel().astype(float)
        assert item.correlation == pytest.approx(np.corrcoef(a, b)[0, 1])
        assert item.ratio == pytest.approx(b.sum() / a.sum())
        assert item.rms_difference_e == pytest.approx(np.sqrt(np.mean((a - b) ** 2)))
        assert item.covered == pytest.approx(((a > 0) & (b > 0)).sum() / (a > 0).sum())
        assert item.confirmed == pytest.approx(((a > 0) & (b > 0)).sum() / (b > 0).sum())


def test_without_charge_there_is_no_ratio(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", ("gauss1", 1, np.zeros((900, 10), np.float32)))
    item = compare(path, path, "pdhd").planes[0]
    assert (item.correlation, item.ratio, item.covered, item.confirmed) == (None, None, None, None)


def test_frames_that_only_one_has_are_named(tmp_path: Path) -> None:
    first = write(tmp_path / "a.npz", ("gauss1", 1, charge()), ("wiener1", 1, charge()))
    second = write(tmp_path / "b.npz", ("gauss1", 1, charge()), ("gauss1", 2, charge()))
    found = compare(first, second, "pdhd")
    assert found.only_first == (FrameKey("wiener1", 1),)
    assert found.only_second == (FrameKey("gauss1", 2),)


def test_frames_that_do_not_fit_and_unknown_anodes_are_bad_data(tmp_path: Path) -> None:
    first = write(tmp_path / "a.npz", ("gauss1", 1, charge()))
    with pytest.raises(DataError, match="900 channels x 100 ticks of 500 ns in one, 900 x 50"):
        compare(first, write(tmp_path / "b.npz", ("gauss1", 1, charge()[:, :50])), "pdhd")
    other = write(tmp_path / "c.npz", ("gauss7", 1, charge()))
    with pytest.raises(DataError, match="pdhd has no anode 7"):
        compare(other, other, "pdhd")


def test_pictures_show_both_and_what_differs(tmp_path: Path) -> None:
    second = charge()
    second[10, 40:60] = 5000
    found = compare(
        write(tmp_path / "a.npz", ("gauss1", 1, charge())), write(tmp_path / "b.npz", ("gauss1", 1, second)), "pdhd", tmp_path / "out"
    )
    assert len(found.pictures) == 9
    difference = np.asarray(Image.open(tmp_path / "out" / "gauss1_1_U_difference.png").convert("RGB"))
    assert difference.shape == (25, 60, 3)
    columns = np.flatnonzero((difference != 255).any(axis=(0, 2)))
    assert columns.tolist() == [10]


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path / "np04hd_a_gauss.npz", ("gauss1", 1, charge()))
    second = write(tmp_path / "b.npz", ("gauss1", 1, charge()), ("gauss1", 2, charge()))
    with pytest.raises(SystemExit) as ended:
        main(["stage", "compare", str(first), str(second), "--json", "--pictures", str(tmp_path / "out")])
    assert not ended.value.code
    said = capsys.readouterr()
    rows = json.loads(said.out)
    assert [(row["plane"], row["correlation"]) for row in rows] == [(plane, pytest.approx(1)) for plane in "UVW"]
    assert "only in b.npz: gauss1 of record 2" in said.err
    assert "gauss1_1_V_second.png" in said.err
