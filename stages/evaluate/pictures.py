"""Event displays: one plane of one trigger record as a PNG with channels from left to right and ticks from bottom to top."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image as Pillow

from stages.displays import MAX_PICTURE_BYTES
from stages.images import CHARGE_LEVEL, WAVEFORM_LEVEL, Image, extremes

# Blue and red for the two signs of a waveform, white where there is nothing; and white to dark for charge.
_DIVERGING = ((24, 54, 140), (70, 120, 205), (165, 200, 235), (255, 255, 255), (250, 190, 150), (215, 90, 65), (140, 12, 38))
_SEQUENTIAL = ((255, 255, 255), (253, 226, 140), (247, 150, 70), (205, 65, 80), (115, 25, 110), (15, 8, 40))
# zlib's Z_RLE: noise has no repetitions but runs of one shade. A seventh of the time of the best compression, and smaller.
_RUNS_ONLY = 3


def waveforms(image: Image) -> tuple[bytes, int]:
    """The PNG of an image of waveforms, blue below zero and red above; and how many of its pixels along the ticks share one.

    That is one, unless the picture would be larger than `MAX_PICTURE_BYTES`.
    """
    return _small_enough(image, WAVEFORM_LEVEL, 2 * WAVEFORM_LEVEL + 1, _DIVERGING)


def charge(image: Image) -> tuple[bytes, int]:
    """The same of an image of charge, white where there is none."""
    return _small_enough(image, 0, CHARGE_LEVEL + 1, _SEQUENTIAL)


def _small_enough(image: Image, white: int, n_shades: int, anchors: tuple[tuple[int, int, int], ...]) -> tuple[bytes, int]:
    shared = 1
    while True:
        png = _png(extremes(image, shared) + white, n_shades, anchors)
        if len(png) <= MAX_PICTURE_BYTES or shared >= image.shape[1]:
            return png, shared
        shared *= 2


def _png(shade: Image, n_shades: int, anchors: tuple[tuple[int, int, int], ...]) -> bytes:
    place = np.linspace(0, len(anchors) - 1, n_shades)
    colours = np.stack([np.interp(place, np.arange(len(anchors)), np.array(anchors)[:, band]) for band in range(3)], axis=1)
    pixels = np.ascontiguousarray(shade.view(np.uint8).T[::-1])
    picture = Pillow.frombytes("P", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    picture.putpalette(np.rint(colours).astype(np.uint8).tobytes())
    stream = BytesIO()
    picture.save(stream, "PNG", compress_type=_RUNS_ONLY)
    return stream.getvalue()
