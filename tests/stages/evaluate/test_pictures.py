"""Event displays as PNGs."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from stages.evaluate import pictures


def colour(png: bytes, channel: int, tick: int) -> tuple[int, ...]:
    """The colour of a pixel; tick 0 is at the bottom."""
    with Image.open(BytesIO(png)) as image:
        assert image.mode == "P"
        rgb = image.convert("RGB")
        value = rgb.getpixel((channel, rgb.height - 1 - tick))
    assert isinstance(value, tuple)
    return value


def size(png: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(png)) as image:
        return image.size


def test_waveforms_are_white_at_zero_blue_below_and_red_above() -> None:
    image = np.zeros((4, 6), np.int8)
    image[1, 2], image[3, 5] = -7, 7
    png, shared = pictures.waveforms(image)
    assert (size(png), shared) == ((4, 6), 1)
    assert colour(png, 0, 0) == (255, 255, 255)
    red, _, blue = colour(png, 1, 2)
    assert blue > 2 * red
    red, _, blue = colour(png, 3, 5)
    assert red > 2 * blue


def test_the_least_charge_is_not_white_and_more_is_darker() -> None:
    png, _ = pictures.charge(np.array([[0, 1, 7, 14]], np.int8))
    brightness = [sum(colour(png, 0, tick)) for tick in range(4)]
    assert brightness[0] == 765
    assert brightness == sorted(brightness, reverse=True)
    assert len(set(brightness)) == 4


def test_the_palette_holds_the_colours_of_the_scale_and_no_others() -> None:
    """The dashboard draws its legend from it."""
    for png, _ in (pictures.waveforms(np.zeros((2, 2), np.int8)), pictures.charge(np.zeros((2, 2), np.int8))):
        at = png.index(b"PLTE")
        assert int.from_bytes(png[at - 4 : at]) == 3 * 15


def test_ticks_share_pixels_until_a_picture_is_small_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(-7, 8, (80, 1000)).astype(np.int8)
    whole, shared = pictures.waveforms(noise)
    assert shared == 1
    monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", len(whole) // 3)
    png, shared = pictures.waveforms(noise)
    assert len(png) <= len(whole) // 3
    assert shared == 4
    assert size(png) == (80, 250)


def test_a_picture_that_never_is_small_enough_ends_with_one_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", 1)
    png, shared = pictures.waveforms(np.ones((3, 5), np.int8))
    assert (size(png), shared) == ((3, 1), 8)
