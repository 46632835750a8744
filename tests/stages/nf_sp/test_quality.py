"""What is gathered for the data-quality record."""

from __future__ import annotations

import numpy as np
import pytest

from stages.nf_sp import pedestal, quality
from stages.nf_sp.coherent import CommonNoise
from stages.nf_sp.geometry import geometry_of


def element() -> quality.ElementQuality:
    channels = np.arange(3280, 3440, dtype=np.int32)  # the last 80 channels of U, the first 80 of V
    return quality.ElementQuality(geometry_of("pdhd", "P02NL", channels), channels, "map", 512.0, 1)


def gather(into: quality.ElementQuality, adc: np.ndarray, missing: np.ndarray | None = None) -> None:
    pedestals, samples = pedestal.measure(adc, missing)
    health = pedestal.classify(pedestals, 14.0)
    whole = health.good & (pedestals.missing == 0)
    into.before(samples, pedestals, health, whole)
    into.after(samples, [CommonNoise(5.0, 1.0, 0.1, np.nan)] * len(into.geometry.groups), whole)


def white(rms: float, n_ticks: int = 2000) -> np.ndarray:
    return np.rint(9000 + rms * np.random.default_rng(0).standard_normal((160, n_ticks))).astype(np.uint16)


def test_noise_is_averaged_over_records() -> None:
    into = element()
    gather(into, white(12))
    gather(into, white(16, n_ticks=1800))
    arrays = into.arrays()
    assert np.median(arrays["rms_raw"]) == pytest.approx(14, rel=0.02)
    assert np.median(arrays["rms_nf"]) == pytest.approx(14, rel=0.02)
    assert into.summary()["n_records"] == 2
    assert into.summary()["n_ticks"] == 2000
    assert arrays["coherent_rms_before"].tolist() == [5.0, 5.0]
    assert np.isnan(arrays["correlation_after"]).all()


def test_a_channel_that_is_absent_in_one_record_keeps_the_others_mean() -> None:
    into = element()
    missing = np.zeros((160, 2000), bool)
    missing[7] = True
    gather(into, white(14), missing)
    gather(into, white(14))
    arrays = into.arrays()
    assert arrays["pedestal"][7] == pytest.approx(9000, abs=1)
    assert arrays["missing"][7] == 0.5
    assert arrays["absent"][7] == 0.5


def test_white_noise_has_a_flat_spectrum_of_known_height_whatever_the_length() -> None:
    for n_ticks in (1000, 3000):
        into = element()
        gather(into, white(14, n_ticks))
        spectrum = into.arrays()["spectrum_before"]
        # The modulus of a complex Gaussian: sqrt(pi)/2 of its rms.
        assert spectrum.mean() == pytest.approx(14 * np.sqrt(np.pi) / 2, rel=0.02)
        assert spectrum.std() < 0.1 * spectrum.mean()


def test_a_line_in_the_spectrum_is_at_its_frequency() -> None:
    into = element()
    tick = np.arange(2000)
    gather(into, np.rint(white(14) + 20 * np.sin(2 * np.pi * 0.2 * tick * 0.512)).astype(np.uint16))
    arrays = into.arrays()
    assert arrays["frequency_mhz"][arrays["spectrum_before"][0].argmax()] == pytest.approx(0.2, abs=0.004)


def test_a_short_pulse_stays_visible_in_a_picture() -> None:
    samples = np.zeros((70, 6400), np.float32)
    samples[65, 1234] = -300
    samples[65, 1235] = 40
    image = quality.shrink(samples)
    assert image.shape == (70, 640)
    assert image[65, 123] == -300
    assert np.count_nonzero(image) == 1


@pytest.mark.parametrize("n_ticks", [1, 639, 640, 641, 5859])
def test_pictures_are_never_wider_than_640(n_ticks: int) -> None:
    image = quality.shrink(np.full((2, n_ticks), 1e6, np.float32))
    assert image.shape[1] <= 640
    assert (image == np.iinfo(np.int16).max).all()
