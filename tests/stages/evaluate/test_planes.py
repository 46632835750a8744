"""Charge, hits and noise of a plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dune_prompt.errors import DataError
from stages.evaluate import planes
from stages.frames import FrameHeader, FrameKey, FrameWriter


def rows(*hits: tuple[int, int, int, float], shape: tuple[int, int] = (3, 50)) -> np.ndarray:
    """Frame rows with hits (channel, first tick, length, charge)."""
    frame = np.zeros(shape, np.float32)
    for channel, first, length, charge in hits:
        frame[channel, first : first + length] = charge / length
    return frame


def test_hits_are_runs_of_charge_also_across_the_ends_of_channels() -> None:
    charge = planes.Charge.none(3)
    charge.add(rows((0, 45, 5, 20_000), (1, 0, 5, 30_000), (1, 10, 2, 2_000), (2, 49, 1, 1_500)), 0)
    assert charge.hits.tolist() == [1, 2, 1]
    assert charge.per_channel_e.tolist() == [20_000, 32_000, 1_500]
    assert charge.charged_pixels.tolist() == [5, 7, 1]


def test_tiny_runs_are_charge_but_no_hits() -> None:
    charge = planes.Charge.none(3)
    charge.add(rows((0, 3, 2, planes.MIN_HIT_E - 10)), 0)
    assert charge.hits.sum() == 0
    assert charge.per_channel_e.sum() == planes.MIN_HIT_E - 10


def test_hits_are_counted_in_the_bin_of_their_charge() -> None:
    charge = planes.Charge.none(3)
    charge.add(rows((0, 3, 2, 1_100), (1, 3, 1, 25_000), (2, 3, 1, 1e9)), 0)
    number = np.flatnonzero(charge.hit_counts.sum(axis=0))
    assert planes.HIT_EDGES_E[number[0]] <= 1_100 < planes.HIT_EDGES_E[number[0] + 1]
    assert planes.HIT_EDGES_E[number[1]] <= 25_000 < planes.HIT_EDGES_E[number[1] + 1]
    assert number[2] == len(planes.HIT_EDGES_E) - 2


def write(path: Path, *frames: tuple[int, np.ndarray], tag: str = "gauss1", first: int = 2560) -> None:
    with FrameWriter(path) as file:
        for ident, frame in frames:
            channels = np.arange(first, first + len(frame), dtype=np.int32)
            file.write(FrameHeader(FrameKey(tag, ident), channels, frame.shape[1], 0.0, 500.0), [frame])


PLANES = [{"plane": name, "first_channel": 2560 + row, "first_row": row, "n_channels": 1} for row, name in enumerate("UVW")]
INFO = {"element": "P02NL", "anode": 1, "n_records": 2, "planes": PLANES}
ARRAYS = {"P02NL": {"channels": np.arange(2560, 2563)}}


def test_charge_of_all_records_is_added(tmp_path: Path) -> None:
    write(tmp_path / "f.npz", (1, rows((0, 3, 2, 1_000))), (3, rows((2, 3, 2, 5_000), shape=(3, 40))))
    charge = planes.read_charge(tmp_path / "f.npz", [INFO], ARRAYS)["P02NL"]
    assert charge.per_channel_e.tolist() == [1_000, 0, 5_000]
    assert charge.n_pixels == 90


def test_hits_and_charge_of_each_record_are_known_by_its_place_in_the_file(tmp_path: Path) -> None:
    write(tmp_path / "f.npz", (1, rows((0, 3, 2, 1_000), (0, 9, 2, 2_000))), (3, rows((2, 3, 2, 5_000), (2, 9, 2, 500))))
    charge = planes.read_charge(tmp_path / "f.npz", [INFO], ARRAYS)["P02NL"]
    assert charge.by_ident[1].tolist() == [[2, 3_000], [0, 0], [0, 0]]
    assert charge.by_ident[3].tolist() == [[0, 0], [0, 0], [1, 5_500]]


def test_frames_that_do_not_fit_the_quality_file_are_bad_data(tmp_path: Path) -> None:
    frame = rows((0, 3, 2, 1_000))
    write(tmp_path / "one.npz", (1, frame))
    with pytest.raises(DataError, match="1 frames of P02NL, expected 2"):
        planes.read_charge(tmp_path / "one.npz", [INFO], ARRAYS)
    write(tmp_path / "other.npz", (1, frame), (2, frame), first=0)
    with pytest.raises(DataError, match="has other channels than P02NL"):
        planes.read_charge(tmp_path / "other.npz", [INFO], ARRAYS)
    write(tmp_path / "nan.npz", (1, np.full((3, 50), np.nan, np.float32)))
    with pytest.raises(DataError, match="not finite"):
        planes.read_charge(tmp_path / "nan.npz", [INFO], ARRAYS)
