"""Simulated files: what is in them, how they appear, and what each fault does."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dune_prompt.errors import ConfigError, DataError
from stages.rawdata import RawFile
from stages.rawdata.channel_map import HD_VISIBLE_WIRES, MAPS, VD_V2, U, V, W, channel_map
from stages.rawdata.generator import FAULTS, RunSpec, generate_file
from stages.rawdata.waveforms import NOISE_RMS_ADC, PEDESTAL_ADC, Defects, simulate

NOW = 1718795052.25
SMALL = RunSpec(frames=2, records=2, trigger_rate_hz=8.0)


def sidecar(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.with_name(path.name + ".json").read_text())
    return content


def test_a_file_is_named_and_filled_as_asked(tmp_path: Path) -> None:
    path = generate_file(tmp_path, replace(SMALL, elements=2, run=28000, dataflow=3), 17, now=NOW)
    assert path.name == "np04hd_raw_run028000_0017_dataflow3_datawriter_0_20240619T110412.hdf5"
    with RawFile.open(path) as raw:
        assert (raw.attributes.run, raw.attributes.file_index, raw.attributes.application) == (28000, 17, "dataflow3")
        assert (raw.attributes.created_ms, raw.attributes.closed_ms) == (1718795052000, 1718795052250)
        assert [record.number for record in raw.records] == [35, 36]
        for record in raw.records:
            assert raw.elements(record) == ("P02SU", "P02NL")
            assert raw.problems(record) == raw.file_problems == ()
            assert raw.block(record, "P02NL").adc.shape == (2560, 128)
            header = raw.header(record)
            assert 1718795052 <= header.timestamp / 62.5e6 < 1718795052.25
            assert header.timestamp > raw.block(record, "P02NL").first_timestamp
    with h5py.File(path) as file:
        sizes = [dataset.size for name in file for dataset in file[name]["RawData"].values()]
    assert raw.attributes.recorded_size == sum(sizes)


def test_a_vd_file_has_both_kinds_of_frames_of_the_same_time(tmp_path: Path) -> None:
    path = generate_file(tmp_path, RunSpec(detector="pdvd", elements=4, frames=43), 0, now=NOW)
    assert path.name.startswith("np02vd_raw_run027296_0000_df-s04-d0_dw_0_")
    with RawFile.open(path) as raw:
        (record,) = raw.records
        blocks = {name: raw.block(record, name) for name in raw.elements(record)}
        assert raw.problems(record) == ()
    assert {name: block.adc.shape for name, block in blocks.items()} == {
        "CRP5": (3072, 43 * 64), "CRP4": (3072, 43 * 64), "CRP2": (3072, 44 * 64), "CRP3": (3072, 44 * 64),
    }  # fmt: skip
    assert len({block.first_timestamp for block in blocks.values()}) == 1


def test_the_same_seed_gives_the_same_values_and_another_seed_others(tmp_path: Path) -> None:
    def values(spec: RunSpec, index: int) -> np.ndarray:
        with RawFile.open(generate_file(tmp_path, spec, index, now=NOW)) as raw:
            return raw.block(raw.records[0], "P02SU").adc

    first = values(SMALL, 0)
    assert np.array_equal(first, values(SMALL, 0))
    assert not np.array_equal(first, values(SMALL, 1))
    assert not np.array_equal(first, values(replace(SMALL, seed=2), 0))


def test_only_whole_files_with_their_final_names_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    rename = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(f"{self.suffix} -> {target.suffix}")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    path = generate_file(tmp_path, SMALL, 0, now=NOW)
    assert seen == [".writing -> .hdf5", ".tmp -> .json"]
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name, f"{path.name}.json"]


def test_the_sidecar_agrees_with_the_file(tmp_path: Path) -> None:
    path = generate_file(tmp_path, replace(SMALL, test_run=True, data_stream="calibration"), 4, now=NOW)
    content = sidecar(path)
    data = path.read_bytes()
    assert (content["name"], content["namespace"], content["size"]) == (path.name, "hd-protodune", len(data))
    assert content["checksums"] == {"adler32": f"{zlib.adler32(data):08x}"}
    assert content["metadata"] == {
        "core.data_stream": "calibration",
        "core.data_tier": "raw",
        "core.end_time": 1718795052.0,
        "core.event_count": 2,
        "core.events": [9, 10],
        "core.file_content_status": "good",
        "core.file_format": "hdf5",
        "core.file_type": "detector",
        "core.first_event_number": 9,
        "core.last_event_number": 10,
        "core.run_type": "hd-protodune",
        "core.runs": [27296],
        "core.runs_subruns": [2729600001],
        "core.start_time": 1718795052.0,
        "dune.daq_test": "True",
        "retention.class": "physics",
        "retention.status": "active",
    }


def test_the_sam_sidecar_has_the_form_of_2023(tmp_path: Path) -> None:
    path = generate_file(tmp_path, replace(SMALL, sidecar="sam"), 0, now=NOW)
    data = path.read_bytes()
    assert sidecar(path) == {
        "data_stream": "cosmics",
        "data_tier": "raw",
        "event_count": 2,
        "events": [1, 2],
        "file_format": "hdf5",
        "file_name": path.name,
        "file_type": "detector",
        "first_event": 1,
        "last_event": 2,
        "runs": [[27296, 1, "hd-protodune"]],
        "checksum": f"adler32:{zlib.adler32(data):08x}",
        "file_size": len(data),
    }


def test_a_file_without_sidecar_can_be_asked_for(tmp_path: Path) -> None:
    path = generate_file(tmp_path, replace(SMALL, sidecar="none"), 0, now=NOW)
    assert list(tmp_path.iterdir()) == [path]


# fault -> what is masked of the first record, and a part of what is said about it.
PARTIAL = {
    "missing_fragment": (1 / 40, "1 of 40 fragments missing (source id"),
    "short_fragment": (1 / 80, "ticks 64-127 of 128 are missing"),
    "lying_size": (0, "bytes, the dataset has 14472; the dataset counts"),
    "bad_marker": (1 / 40, "marker 0xdeadbeef instead of 0x11112222; not used"),
    "unclosed": (0, None),
}


def test_every_fault_and_channel_map_is_in_the_reference() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reference" / "raw-data.md").read_text()
    assert [name for name in (*FAULTS, *MAPS) if f"`{name}`" not in text] == []


def test_every_fault_is_tested_here() -> None:
    assert set(FAULTS) == {*PARTIAL, "truncated", "empty_fragments"}
    assert {name for name, fault in FAULTS.items() if fault.usable} == set(PARTIAL)


@pytest.mark.parametrize("name", PARTIAL)
def test_a_file_with_a_partial_fault_can_be_read_but_for_what_it_hits(name: str, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    with RawFile.open(generate_file(tmp_path / "good", SMALL, 0, now=NOW)) as raw:
        good = [raw.block(record, "P02SU") for record in raw.records]
    path = generate_file(tmp_path, SMALL, 0, fault=name, now=NOW)
    with RawFile.open(path) as raw:
        found = [raw.block(record, "P02SU") for record in raw.records]
        said = " ".join((*raw.file_problems, *raw.problems(raw.records[0])))
        assert all(raw.summary(record).usable for record in raw.records)
        assert (name == "unclosed") == (raw.attributes.closed_ms is None)
    masked, message = PARTIAL[name]
    assert found[0].mask.mean() == pytest.approx(masked)
    assert not found[1].mask.any()
    for before, after in zip(good, found, strict=True):
        assert np.array_equal(np.where(after.mask, 0, before.adc), after.adc)
    assert (message or "never closed") in said
    assert sidecar(path)["size"] == path.stat().st_size
    assert sidecar(path)["checksums"]["adler32"] == f"{zlib.adler32(path.read_bytes()):08x}"


def test_an_unclosed_file_ends_with_its_last_trigger(tmp_path: Path) -> None:
    path = generate_file(tmp_path, replace(SMALL, records=3, trigger_rate_hz=0.5), 0, fault="unclosed", now=NOW)
    metadata = sidecar(path)["metadata"]
    assert (metadata["core.start_time"], metadata["core.end_time"]) == (1718795046.0, 1718795050.0)


def test_a_truncated_file_is_refused_and_its_sidecar_describes_the_whole(tmp_path: Path) -> None:
    path = generate_file(tmp_path, SMALL, 0, fault="truncated", now=NOW)
    whole = sidecar(path)["size"]
    assert path.stat().st_size == whole // 2
    with pytest.raises(DataError, match=f"truncated: {whole // 2} bytes of {whole}"):
        RawFile.open(path)


def test_a_file_of_empty_fragments_has_no_usable_record(tmp_path: Path) -> None:
    path = generate_file(tmp_path, SMALL, 0, fault="empty_fragments", now=NOW)
    with RawFile.open(path) as raw:
        for record in raw.records:
            assert not raw.summary(record).usable
            with pytest.raises(DataError, match=r"no usable frame in 40 fragments .*data not found"):
                raw.block(record, "P02SU")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "dune"}, "no detector 'dune'; there are: pdhd, pdvd"),
        ({"elements": 5}, "5 APAs or CRPs: pdhd has 1 to 4"),
        ({"records": 0}, "at least 1"),
        ({"trigger_rate_hz": 0.0}, "more than 0"),
    ],
)
def test_a_run_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunSpec(**changes)


def test_an_unknown_fault_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no fault 'gremlins'; there are: missing_fragment"):
        generate_file(tmp_path, SMALL, 0, fault="gremlins", now=NOW)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def quiet() -> np.ndarray:
    """P02NL without tracks and defects, 2048 ticks."""
    channels = channel_map(HD_VISIBLE_WIRES)
    none = Defects(np.empty(0, np.int64), np.empty(0, np.int64))
    return simulate(channels, channels.element("P02NL"), 2048, 0.0, none, np.random.default_rng(5)).astype(np.float64)


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    channels = channel_map(HD_VISIBLE_WIRES)
    return channels.plane[channels.element("P02NL").channels]


def test_noise_has_the_pedestals_and_the_rms_of_protodune(quiet: np.ndarray, plane: np.ndarray) -> None:
    for which in (U, V, W):
        own = quiet[plane == which]
        assert np.median(own.mean(axis=1)) == pytest.approx(PEDESTAL_ADC[which], abs=3)
        assert np.median(own.std(axis=1)) == pytest.approx(NOISE_RMS_ADC[which], rel=0.1)


def test_noise_falls_with_frequency(quiet: np.ndarray) -> None:
    spectrum = np.abs(np.fft.rfft(quiet - quiet.mean(axis=1, keepdims=True), axis=1)).mean(axis=0)
    kilohertz = np.fft.rfftfreq(quiet.shape[1], 512e-6)
    bands = [spectrum[(kilohertz >= low) & (kilohertz < high)].mean() for low, high in ((10, 50), (80, 120), (200, 300), (400, 600))]
    assert bands == sorted(bands, reverse=True)
    assert bands[0] > 8 * bands[-1]


def test_a_third_of_the_noise_is_common_to_a_plane_of_a_femb(quiet: np.ndarray, plane: np.ndarray) -> None:
    channels = channel_map(HD_VISIBLE_WIRES)
    femb = channels.femb[channels.element("P02NL").channels]
    residuals = quiet - quiet.mean(axis=1, keepdims=True)
    common = [residuals[(femb == board) & (plane == which)].mean(axis=0) for board in range(1, 21) for which in (U, V, W)]
    # The mean over 40 channels still has 2 ADC of their own noise.
    assert np.median(np.std(common, axis=1)) == pytest.approx(5.4, abs=0.5)
    assert abs(np.corrcoef(common)[0, 1:]).max() < 0.3


@pytest.mark.parametrize(("map_name", "element"), [(HD_VISIBLE_WIRES, "P02NL"), (VD_V2, "CRP2")])
def test_tracks_are_bipolar_on_induction_and_positive_on_collection(map_name: str, element: str) -> None:
    channels = channel_map(map_name)
    none = Defects(np.empty(0, np.int64), np.empty(0, np.int64))
    adc = simulate(channels, channels.element(element), 2048, 12.0, none, np.random.default_rng(5)).astype(np.float64)
    signal = adc - np.median(adc, axis=1, keepdims=True)
    plane = channels.plane[channels.element(element).channels]
    for which in (U, V, W):
        own = signal[plane == which]
        hit = own.max(axis=1) > 150
        assert hit.mean() > 0.1
        lowest = np.median(own[hit].min(axis=1))
        assert lowest < -150 if which in (U, V) else lowest > -80
    highest = signal[plane == W].max(axis=1)
    assert 300 < np.median(highest[highest > 200]) < 3000


def test_dead_and_noisy_channels_are_where_they_were_put() -> None:
    channels = channel_map(HD_VISIBLE_WIRES)
    defects = Defects.draw(2560, 5, 3, np.random.default_rng(1))
    rms = simulate(channels, channels.element("P02SU"), 512, 10.0, defects, np.random.default_rng(2)).std(axis=1)
    assert (rms[defects.dead] < 1).all()
    assert (rms[defects.noisy] > 35).all()
    assert np.delete(rms, defects.dead).min() > 5


def test_apas_can_be_chosen_by_name_and_unknown_ones_are_named(tmp_path: Path) -> None:
    with RawFile.open(generate_file(tmp_path, RunSpec(elements=("P01NL", "P02NL"), frames=4), 0, now=NOW)) as raw:
        assert raw.elements(raw.records[0]) == ("P02NL", "P01NL")
    for wrong in (0, 5, (), ("P02XX",)):
        with pytest.raises(ConfigError, match="pdhd has 1 to 4: P02SU, P02NL"):
            RunSpec(elements=wrong)


def test_p02su_collects_on_v() -> None:
    """Wire-Cell exchanges V and W of this APA (plane2layer [0, 2, 1]); so must what is simulated."""
    channels = channel_map(HD_VISIBLE_WIRES)
    below = {}
    for element in channels.elements[:2]:
        none = np.empty(0, np.int64)
        adc = simulate(channels, element, 2000, 30.0, Defects(none, none), np.random.default_rng(3)).astype(np.float64)
        adc -= np.median(adc, axis=1)[:, None]
        plane = channels.plane[element.channels]
        below[element.name] = {which: -adc[plane == which].min() for which in (V, W)}
    assert below["P02NL"][W] < 100 < below["P02NL"][V]
    assert below["P02SU"][V] < 100 < below["P02SU"][W]
