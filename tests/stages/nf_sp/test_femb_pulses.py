"""Negative pulses of front-end boards."""

from __future__ import annotations

import numpy as np
import pytest

from stages.nf_sp import femb_pulses
from stages.nf_sp.geometry import ElementGeometry, geometry_of


@pytest.fixture(scope="module")
def apa() -> ElementGeometry:
    return geometry_of("pdhd", "P02NL", np.arange(2560, 5120, dtype=np.int32))


def noise(n_ticks: int = 6000) -> np.ndarray:
    return (14 * np.random.default_rng(0).standard_normal((2560, n_ticks))).astype(np.float32)


def mask_of(samples: np.ndarray, apa: ElementGeometry) -> tuple[int, np.ndarray]:
    masked = np.zeros(samples.shape, bool)
    return femb_pulses.mask(samples, apa.half_boards, apa.planes, masked), masked


def test_a_pulse_of_half_a_board_is_masked_on_its_64_channels_alone(apa: ElementGeometry) -> None:
    samples, board = noise(), apa.half_boards[7]
    samples[board, 1000:1200] -= 60
    n_pulses, masked = mask_of(samples, apa)
    assert n_pulses == 1
    assert np.array_equal(np.flatnonzero(masked.any(axis=1)), np.sort(board))
    ticks = np.flatnonzero(masked[board[0]])
    assert ticks[0] == pytest.approx(980, abs=3)
    assert ticks[-1] == pytest.approx(1218, abs=3)


def test_what_only_two_planes_show_is_masked_on_those(apa: ElementGeometry) -> None:
    samples, board = noise(), apa.half_boards[7]
    two = board[board < 1600]
    samples[two, 1000:1200] -= 60
    _, masked = mask_of(samples, apa)
    assert np.array_equal(np.flatnonzero(masked.any(axis=1)), np.sort(two))


@pytest.mark.parametrize("change", ["one plane", "short", "positive", "none"])
def test_nothing_else_is_taken_for_a_pulse(apa: ElementGeometry, change: str) -> None:
    samples, board = noise(), apa.half_boards[7]
    if change == "one plane":
        samples[board[board < 800], 1000:1200] -= 200
    elif change == "short":
        samples[board, 1000:1040] -= 60
    elif change == "positive":
        samples[board, 1000:1200] += 60
    n_pulses, masked = mask_of(samples, apa)
    assert n_pulses == 0
    assert not masked.any()


def test_where_half_boards_are_not_known_nothing_is_looked_for() -> None:
    crp = geometry_of("pdvd", "CRP4", np.arange(3072, 6144, dtype=np.int32))
    assert crp.half_boards == ()
