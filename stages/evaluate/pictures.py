"""Event displays: one plane of one trigger record as a PNG with channels from left to right and ticks from bottom to top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Blue and red for the two signs of a waveform, white where there is nothing; and white to dark for charge.
_DIVERGING = ((24, 54, 140), (70, 120, 205), (165, 200, 235), (255, 255, 255), (250, 190, 150), (215, 90, 65), (140, 12, 38))
_SEQUENTIAL = ((255, 255, 255), (253, 226, 140), (247, 150, 70), (205, 65, 80), (115, 25, 110), (15, 8, 40))
# Few shades (an odd number, so that one of them is white): noise compresses to less than half, and tracks stand out as well.
_SHADES = 15
_COMPRESSION = 1
# The range of a waveform's display, in units of the plane's noise, and of a charge display at least, in electrons per tick.
RANGE_RMS = 8.0
DEFAULT_RANGE_ADC = 100.0
MIN_RANGE_E = 1000.0
_CHARGE_QUANTILE = 0.99


def waveform_range(rms_adc: float) -> float:
    """The range ± of a waveform display, in ADC, for a plane whose median noise is `rms_adc` (NaN: unknown)."""
    return float(np.ceil(RANGE_RMS * rms_adc)) if rms_adc > 0 else DEFAULT_RANGE_ADC


def charge_range(image: NDArray[np.int16]) -> float:
    """The upper end of a charge display, in electrons per tick: what only 1 % of the pixels with charge exceed."""
    charged = image[image > 0]
    return max(MIN_RANGE_E, float(np.quantile(charged, _CHARGE_QUANTILE))) if charged.size else MIN_RANGE_E


def write_waveforms(path: Path, image: NDArray[np.int16], limit: float) -> None:
    """Write `image` [channels, ticks] with colours from -limit to limit."""
    shade = np.rint((np.clip(image / limit, -1, 1) + 1) / 2 * (_SHADES - 1))
    _write(path, shade, _DIVERGING)


def write_charge(path: Path, image: NDArray[np.int16], limit: float) -> None:
    """Write `image` [channels, ticks] with colours from 0 to limit; the least charge is not white."""
    shade = np.ceil(np.clip(image / limit, 0, 1) * (_SHADES - 1))
    _write(path, shade, _SEQUENTIAL)


def _write(path: Path, shade: NDArray[Any], anchors: tuple[tuple[int, int, int], ...]) -> None:
    place = np.linspace(0, len(anchors) - 1, _SHADES)
    colours = np.stack([np.interp(place, np.arange(len(anchors)), np.array(anchors)[:, band]) for band in range(3)], axis=1)
    pixels = np.ascontiguousarray(shade.astype(np.uint8).T[::-1])
    picture = Image.frombytes("P", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    picture.putpalette(np.rint(colours).astype(np.uint8).tobytes())
    picture.save(path, "PNG", compress_level=_COMPRESSION)
