"""Event displays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from stages.evaluate import pictures


def colour(path: Path, channel: int, tick: int) -> tuple[int, ...]:
    """The colour of a pixel; tick 0 is at the bottom."""
    with Image.open(path) as image:
        assert image.mode == "P"
        rgb = image.convert("RGB")
        value = rgb.getpixel((channel, rgb.height - 1 - tick))
    assert isinstance(value, tuple)
    return value


def test_waveforms_are_white_at_zero_blue_below_and_red_above(tmp_path: Path) -> None:
    image = np.zeros((4, 6), np.int16)
    image[1, 2], image[3, 5] = -120, 32_000
    pictures.write_waveforms(tmp_path / "p.png", image, 120.0)
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size == (4, 6)
    assert colour(tmp_path / "p.png", 0, 0) == (255, 255, 255)
    red, _, blue = colour(tmp_path / "p.png", 1, 2)
    assert blue > 2 * red
    red, _, blue = colour(tmp_path / "p.png", 3, 5)
    assert red > 2 * blue


def test_the_least_charge_is_not_white_and_more_is_darker(tmp_path: Path) -> None:
    image = np.array([[0, 1, 500, 1000, 30_000]], np.int16)
    pictures.write_charge(tmp_path / "p.png", image, 1000.0)
    brightness = [sum(colour(tmp_path / "p.png", 0, tick)) for tick in range(5)]
    assert brightness[0] == 765
    assert brightness[1] < 765
    assert brightness == sorted(brightness, reverse=True)
    assert brightness[3] == brightness[4]


def test_ranges_are_sensible_also_for_nothing() -> None:
    assert pictures.waveform_range(15.2) == 122
    assert pictures.waveform_range(float("nan")) == pictures.DEFAULT_RANGE_ADC
    assert pictures.waveform_range(0.0) == pictures.DEFAULT_RANGE_ADC
    assert pictures.charge_range(np.zeros((3, 3), np.int16)) == pictures.MIN_RANGE_E
    assert pictures.charge_range(np.full((3, 3), 9000, np.int16)) == 9000
