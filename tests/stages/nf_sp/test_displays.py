"""The images of event displays, as they are taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stages.evaluate.quality_file import QualityArrays
from stages.nf_sp import quality
from stages.nf_sp.displays import RecordImages
from stages.nf_sp.geometry import geometry_of
from stages.nf_sp.quality_file import QualityWriter
from stages.rawdata import RecordId


def test_images_of_each_plane_go_into_the_file_and_the_element_says_what_they_are(tmp_path: Path) -> None:
    channels = np.arange(3280, 3440, dtype=np.int32)  # the last 80 channels of U, the first 80 of V
    element = quality.ElementQuality(geometry_of("pdhd", "P02NL", channels), channels, "map", 512.0)
    samples, electrons = np.zeros((160, 1000), np.float32), np.zeros((160, 1024), np.float32)
    samples[3, 500], samples[90, 20] = 40, -400
    electrons[90, 22] = 700
    noise_adc = np.repeat([10.0, 20.0], 80).astype(np.float32)
    with QualityWriter(tmp_path / "q.npz") as file:
        images = RecordImages(element, file, RecordId(17, 2), 4, ticks_per_pixel=10, noise_adc=noise_adc)
        images.take_waveforms("nf", samples, 512.0)
        images.take_charge("sp", electrons)
    assert [(one["plane"], one["kind"], one["limit"]) for one in element.pictures] == [
        ("U", "nf", 80.0),
        ("V", "nf", 160.0),
        ("U", "sp", 1000.0),
        ("V", "sp", 1000.0),
    ]
    assert {(one["ident"], one["record"], one["sequence"], one["ticks_per_pixel"]) for one in element.pictures} == {(4, 17, 2, 10)}
    assert [(one["n_ticks"], one["tick_ns"]) for one in element.pictures] == [(1000, 512.0)] * 2 + [(1024, 500.0)] * 2
    assert len(json.dumps(element.pictures)) < 4 * 250  # the images themselves are in the file, not in memory
    with QualityArrays(tmp_path / "q.npz") as arrays:
        u, v, _, charge = (arrays.image("P02NL", one["array"]) for one in element.pictures)
    assert u.shape == (80, 100)
    assert charge.shape == (80, 103)
    assert (u[3, 50], v[10, 2], charge[10, 2]) == (4, -7, 10)
    assert [np.count_nonzero(image) for image in (u, v, charge)] == [1, 1, 1]
