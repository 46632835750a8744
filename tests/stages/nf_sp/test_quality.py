"""What is gathered for the data-quality record."""

from __future__ import annotations

import numpy as np
import pytest

from stages.nf_sp import noise_filter, pedestal, quality
from stages.nf_sp.coherent import CommonNoise
from stages.nf_sp.geometry import geometry_of
from stages.rawdata import RecordId


def element() -> quality.ElementQuality:
    channels = np.arange(3280, 3440, dtype=np.int32)  # the last 80 channels of U, the first 80 of V
    return quality.ElementQuality(geometry_of("pdhd", "P02NL", channels), channels, "map", 512.0)


def gather(into: quality.ElementQuality, adc: np.ndarray, missing: np.ndarray | None = None, ident: int = 1) -> None:
    pedestals, samples = pedestal.measure(adc, missing)
    health, _ = noise_filter.measure(samples, missing, np.isnan(pedestals.median), into.geometry, 14.0)
    whole = health.good & ~into.geometry.listed_bad & (pedestals.missing == 0)
    into.before(samples, pedestals, health, whole, adc.shape[1])
    common = [CommonNoise(5.0, 1.0, 0.1, np.nan)] * len(into.geometry.groups)
    into.after(samples, noise_filter.Filtered(np.zeros(samples.shape, bool), common, 1), health, whole, RecordId(10 * ident, 0), ident)


def white(rms: float, n_ticks: int = 2000) -> np.ndarray:
    return np.rint(9000 + rms * np.random.default_rng(0).standard_normal((160, n_ticks))).astype(np.uint16)


def test_noise_is_averaged_over_records() -> None:
    into = element()
    gather(into, white(12))
    gather(into, white(16, n_ticks=1800))
    arrays = into.arrays()
    assert np.median(arrays["rms_raw"]) == pytest.approx(14, rel=0.02)
    assert np.nanmedian(arrays["rms_nf"]) == pytest.approx(14, rel=0.02)
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
    gather(into, np.rint(white(14) + 20 * np.sin(2 * np.pi * 0.2 * tick * 0.5)).astype(np.uint16))
    arrays = into.arrays()
    assert arrays["frequency_mhz"][arrays["spectrum_before"][0].argmax()] == pytest.approx(0.2, abs=0.004)


def test_the_numbers_of_each_record_are_kept_by_themselves() -> None:
    into = element()
    missing = np.zeros((160, 2000), bool)
    missing[80:100] = True
    gather(into, white(12), ident=1)
    gather(into, white(16), missing, ident=3)
    first, second = into.summary()["by_record"]
    assert (first["ident"], first["record"], first["sequence"]) == (1, 10, 0)
    assert (second["ident"], second["record"]) == (3, 30)
    assert [plane["n_missing"] for record in (first, second) for plane in record["planes"]] == [0, 0, 0, 20]
    assert first["planes"][0]["rms_nf_adc"] == pytest.approx(12, rel=0.02)
    assert second["planes"][1]["rms_nf_adc"] == pytest.approx(16, rel=0.02)


def test_a_plane_without_a_good_channel_has_no_noise_in_a_record() -> None:
    into = element()
    adc = white(14)
    adc[:80] = 9000
    gather(into, adc)
    assert into.by_record[0]["planes"][0] == {"rms_nf_adc": None, "n_missing": 0}


def test_not_more_records_are_kept_than_the_data_quality_record_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "MAX_BY_RECORD", 2)
    into = element()
    for ident in (1, 2, 3):
        gather(into, white(14, 200), ident=ident)
    assert [one["ident"] for one in into.by_record] == [1, 2]
    assert into.n_records == 3


def test_only_collection_planes_have_a_gain_of_signal_processing() -> None:
    channels = np.arange(3440, 4240, dtype=np.int32)  # the last 720 channels of V, the first 80 of W
    into = quality.ElementQuality(geometry_of("pdhd", "P02NL", channels), channels, "map", 512.0)
    samples, electrons = np.zeros((800, 2000), np.float32), np.zeros((800, 2048), np.float32)
    for row in range(0, 800, 4):
        electrons[row, 1024:1044] = 2000
        samples[row, 1024:1044] = 20
    into.charge(samples, electrons, np.ones(800, np.float32), [2000.0, 0.0], 14.0)
    induction, collection = into.arrays()["sp_gain"]
    assert np.isnan(induction)
    assert np.isfinite(collection)


def test_the_measures_of_charge_are_those_of_each_plane() -> None:
    into = element()
    electrons = np.zeros((160, 1000), np.float32)
    electrons[:40, :10] = 500
    noise = np.full(160, 200, np.float32)
    noise[80:120] = 0  # channels that were dropped
    into.charge(np.zeros_like(electrons), electrons, noise, [4000.0, 0.0], 14.0)
    arrays = into.arrays()
    assert arrays["charge_e"].tolist() == [200_000, 0]
    assert arrays["filled"].tolist() == pytest.approx([0.005, 0])
    assert arrays["without_signal"].tolist() == [0.5, 1]
    assert arrays["clipped"][0] == pytest.approx(0.02)
    assert np.isnan(arrays["clipped"][1])
    assert np.isnan(arrays["noise_e"][80:120]).all()


def test_what_processes_gathered_of_different_records_is_what_one_would_have() -> None:
    whole, first, second = element(), element(), element()
    for into, rms, ident in ((whole, 12, 1), (whole, 16, 2), (first, 12, 1), (second, 16, 2)):
        gather(into, white(rms), ident=ident)
    first.merge(second)
    assert first.summary() == whole.summary()
    for name, values in whole.arrays().items():
        assert np.allclose(first.arrays()[name], values, equal_nan=True), name
