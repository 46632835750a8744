"""The reader on files it should read without a word: reference files, round trips, all layouts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dune_prompt.errors import ConfigError, DataError
from stages.rawdata import RawFile, RecordId
from stages.rawdata.channel_map import DEFAULT_MAP, HD_V6, HD_VISIBLE_WIRES, VD_V2, channel_map
from stages.rawdata.writer import FileSpec, RecordContent, write_raw_file


def test_the_cropped_hd_file_gives_the_waveforms_it_was_made_from(cropped_hd: Path) -> None:
    expected = np.load(cropped_hd.with_suffix(".adc.npz"))["adc"]
    with RawFile.open(cropped_hd) as raw:
        assert (raw.detector, raw.records) == ("pdhd", (RecordId(1, 0),))
        assert raw.elements(RecordId(1, 0)) == ("P02NL",)
        block = raw.block(RecordId(1, 0), "P02NL")
        assert raw.problems(RecordId(1, 0)) == raw.file_problems == ()
    assert block.adc.dtype == np.uint16
    assert np.array_equal(block.adc[:, ::8], expected)
    assert block.adc.shape == block.mask.shape == (2560, 128)
    assert not block.mask.any()
    assert block.channels.tolist() == list(range(2560, 5120))
    assert (block.first_timestamp, block.tick_ns, block.channel_map) == (107424688437500000, 512.0, HD_VISIBLE_WIRES)
    assert (block.record, block.element, block.problems) == (RecordId(1, 0), "P02NL", ())


def test_the_cropped_vd_file_gives_both_kinds_of_frame_and_masks_the_streams_it_lacks(cropped_vd: Path) -> None:
    expected = np.load(cropped_vd.with_suffix(".adc_daq_order.npz"))["adc"].reshape(2, 12 * 64, 16)
    with RawFile.open(cropped_vd) as raw:
        assert raw.elements(RecordId(1, 0)) == ("CRP4", "CRP2")
        for name, values, tick_ns in (("CRP2", expected[0], 500.0), ("CRP4", expected[1], 512.0)):
            block = raw.block(RecordId(1, 0), name)
            element = raw.channel_map.element(name)
            rows = np.concatenate([stream.channels for stream in element.streams]) - element.first_channel
            assert np.array_equal(block.adc[rows[: 12 * 64], ::4], values)
            assert (block.tick_ns, block.channel_map) == (tick_ns, VD_V2)
            assert not block.mask[rows[: 12 * 64]].any()
            assert block.mask[rows[12 * 64 :]].all()
            assert not block.adc[rows[12 * 64 :]].any()
            assert len(block.problems) == 1
            assert block.problems[0].startswith("36 of 48 fragments missing (source ids ")


def test_the_whole_hd_reference_file_is_read_bit_for_bit(shared_data: Path) -> None:
    expected = np.load(shared_data / "nfsp" / "evt1_raw512_14mVfC.npz")["adc"]
    with RawFile.open(next((shared_data / "raw").glob("np04hd*.hdf5"))) as raw:
        block = raw.block(raw.records[0], "P02NL")
    assert np.array_equal(block.adc, expected[:, :5824])
    assert not block.mask.any()


def test_the_whole_vd_reference_file_is_read_bit_for_bit(shared_data: Path) -> None:
    path = next((shared_data / "raw").glob("np02vd*.hdf5"))
    expected = np.load(path.with_suffix(".adc_daq_order.npz"))["adc"]
    with RawFile.open(path) as raw:
        for name, first in (("CRP2", 0), ("CRP4", 3072)):
            block = raw.block(raw.records[0], name)
            element = raw.channel_map.element(name)
            rows = np.concatenate([stream.channels for stream in element.streams]) - element.first_channel
            assert np.array_equal(block.adc[rows], expected[first : first + 3072])


def test_writing_what_was_read_gives_the_same_file_but_for_the_coldata_times(cropped_hd: Path, tmp_path: Path) -> None:
    copy = tmp_path / cropped_hd.name
    with RawFile.open(cropped_hd) as raw:
        attributes, header = raw.attributes, raw.header(raw.records[0])
        block = raw.block(raw.records[0], "P02NL")
    spec = FileSpec("pdhd", attributes.run, attributes.file_index, attributes.created_ms, attributes.closed_ms)
    content = RecordContent(1, header.timestamp, block.first_timestamp, {"P02NL": block.adc}, trigger_type=header.trigger_type)
    write_raw_file(copy, spec, [content])
    with h5py.File(cropped_hd) as ours, h5py.File(copy) as theirs:
        assert dict(ours.attrs) == dict(theirs.attrs)
        record = ours["TriggerRecord00001.0000"]
        assert dict(record.attrs) == dict(theirs[record.name].attrs)
        assert list(record["RawData"]) == list(theirs[record.name]["RawData"])
        for name, dataset in record["RawData"].items():
            expected, found = dataset[:].view(np.uint8).ravel(), theirs[dataset.name][:].view(np.uint8).ravel()
            assert dataset.dtype == theirs[dataset.name].dtype
            different = np.flatnonzero(expected != found)
            if name.endswith("WIBEth"):
                different = different[~np.isin((different - 72) % 7200, range(16, 20))]
            assert not different.size, name


@given(
    data=st.data(),
    detector=st.sampled_from(["pdhd", "pdvd"]),
    layout=st.integers(3, 7),
    number=st.integers(1, 2_000_000),
    first=st.integers(1, 1 << 52),
    frames=st.integers(1, 2),
)
@settings(max_examples=15)
def test_any_adc_values_come_back(data: st.DataObject, detector: str, layout: int, number: int, first: int, frames: int) -> None:
    channels = channel_map(DEFAULT_MAP[detector])
    names = data.draw(st.lists(st.sampled_from([element.name for element in channels.elements]), min_size=1, max_size=2, unique=True))
    random = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    adc = {name: random.integers(0, 1 << 14, (channels.element(name).n_channels, 64 * frames), dtype=np.uint16) for name in names}
    environment = {"pdhd": "np04hd", "pdvd": "np02vd"}[detector]
    spec = FileSpec(detector, 1, 0, 0, 1, layout, operational_environment=environment)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.hdf5"
        write_raw_file(path, spec, [RecordContent(number, first, first, adc, sequence=3, max_sequence=3)])
        with RawFile.open(path) as raw:
            (record,) = raw.records
            assert record == (number, 3)
            assert raw.elements(record) == tuple(element.name for element in channels.elements if element.name in names)
            for name in names:
                block = raw.block(record, name)
                assert np.array_equal(block.adc, adc[name])
                assert (block.first_timestamp, block.mask.any(), block.problems) == (first, False, ())
            header = raw.header(record)
            assert (header.trigger_number, header.sequence, header.max_sequence) == (number, 3, 3)
            assert header.version == (3 if layout < 5 else 4)


@pytest.mark.parametrize("layout", [3, 4, 5, 6, 7])
def test_attributes_of_every_layout(layout: int, write: Callable) -> None:
    with RawFile.open(write(layout_version=layout, frames=1, test_run=True, data_stream="calibration").path) as raw:
        found = raw.attributes
    assert (found.run, found.file_index, found.layout_version, found.record_type) == (27296, 0, layout, "TriggerRecord")
    assert (found.created_ms, found.closed_ms) == (1718795010000, 1718795052000)
    assert (found.application, found.operational_environment) == ("dataflow0", "np04hd")
    assert (found.data_stream, found.test_run) == ((None, None) if layout < 5 else ("calibration", True))
    assert found.source_geo_map[107] == ((3, 1, 0, 67),)
    with h5py.File(raw.path) as file:
        assert isinstance(file.attrs["creation_timestamp"], str) == (layout < 6)


def test_records_are_in_order_of_their_numbers_however_many_digits_they_have(write: Callable) -> None:
    written = write(frames=1, numbers=(100000, 9, 10), record_digits=1)
    with h5py.File(written.path) as file:
        assert [name for name in file if name.startswith("Trigger")] == [
            "TriggerRecord10.0000", "TriggerRecord100000.0000", "TriggerRecord9.0000",
        ]  # fmt: skip
    with RawFile.open(written.path) as raw:
        assert [record.number for record in raw.records] == [9, 10, 100000]
        for record in raw.records:
            assert np.array_equal(raw.block(record, "P02SU").adc, written.adc[record.number]["P02SU"])


def test_another_channel_map_moves_channels_and_its_name_goes_with_the_block(cropped_hd: Path) -> None:
    with RawFile.open(cropped_hd) as raw:
        default = raw.block(raw.records[0], "P02NL")
    with RawFile.open(cropped_hd, HD_V6) as raw:
        block = raw.block(raw.records[0], "P02NL")
    assert block.channel_map == HD_V6
    assert np.array_equal(block.adc[1600:], default.adc[1600:])
    assert np.array_equal(block.adc[:797], default.adc[3:800])


def test_a_map_of_the_other_detector_is_refused(cropped_hd: Path) -> None:
    with pytest.raises(ConfigError, match="PD2VDTPCChannelMap_v2 is one of pdvd, the file is of pdhd"):
        RawFile.open(cropped_hd, VD_V2)


def test_asking_for_what_is_not_there_says_so(cropped_hd: Path) -> None:
    with RawFile.open(cropped_hd) as raw:
        with pytest.raises(DataError, match=r"no trigger record 7\.0"):
            raw.elements(RecordId(7, 0))
        with pytest.raises(DataError, match=r"TriggerRecord00001\.0000: P02SU: no usable frame in 0 fragments"):
            raw.block(RecordId(1, 0), "P02SU")
        with pytest.raises(ConfigError, match="no APA or CRP 'CRP5'"):
            raw.block(RecordId(1, 0), "CRP5")


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2560, 63), "whole frames"), ((2559, 64), "2560 channels"), ((2560, 0), "whole frames"), ((2560,), "2560 channels")],
)
def test_the_writer_refuses_what_does_not_fit_into_frames(shape: tuple[int, ...], message: str, tmp_path: Path) -> None:
    content = RecordContent(1, 0, 0, {"P02SU": np.zeros(shape, np.uint16)})
    with pytest.raises(ValueError, match=message):
        write_raw_file(tmp_path / "x.hdf5", FileSpec("pdhd", 1, 0, 0, 0), [content])


def test_the_writer_refuses_values_of_more_than_14_bits(tmp_path: Path) -> None:
    content = RecordContent(1, 0, 0, {"P02SU": np.full((2560, 64), 1 << 14, np.uint16)})
    with pytest.raises(ValueError, match="at most 14 bits"):
        write_raw_file(tmp_path / "x.hdf5", FileSpec("pdhd", 1, 0, 0, 0), [content])
