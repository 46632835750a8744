"""What real files do wrong: each trap is masked where it must be, named, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dune_prompt.errors import DataError
from stages.rawdata import Block, RawFile, RecordId
from stages.rawdata.channel_map import HD_VISIBLE_WIRES, channel_map
from stages.rawdata.frames import frame_headers
from stages.rawdata.writer import FragmentDraft

FIRST = 107424688437500000
RECORD = RecordId(1, 0)
RAW_DATA = "TriggerRecord00001.0000/RawData"
NAME = "Detector_Readout_0x0000006b_WIBEth"  # source id 107


def only(source_id: int, change: Callable[[FragmentDraft], FragmentDraft | None]) -> Callable:
    """An `alter` that changes the fragment of one source."""
    return lambda _record, draft: change(draft) if draft.stream.source_id == source_id else draft


def rows(source_id: int, apa: str = "P02SU") -> np.ndarray:
    element = channel_map(HD_VISIBLE_WIRES).element(apa)
    (stream,) = [stream for stream in element.streams if stream.source_id == source_id]
    return stream.channels - element.first_channel


def read(path: Path, element: str = "P02SU") -> Block:
    with RawFile.open(path) as raw:
        block = raw.block(RECORD, element)
        assert tuple(f"{element}: {line}" for line in block.problems) == tuple(
            line for line in raw.problems(RECORD) if line.startswith(f"{element}: ")
        )
    return block


def assert_only_masked(block: Block, adc: np.ndarray, masked: np.ndarray) -> None:
    """Exactly `masked` is masked and zero, the rest is `adc`."""
    assert np.array_equal(block.mask, masked)
    assert np.array_equal(block.adc, np.where(masked, 0, adc))


def mask(ticks: int, source_id: int, begin: int, end: int) -> np.ndarray:
    masked = np.zeros((2560, ticks), bool)
    masked[rows(source_id), begin:end] = True
    return masked


def frames_changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[FragmentDraft], FragmentDraft]:
    """Changes the frames and leaves the header consistent with them."""

    def apply(draft: FragmentDraft) -> FragmentDraft:
        draft.frames = change(draft.frames)
        draft.header = draft.header._replace(size=72 + draft.frames.size)
        return draft

    return apply


def at(frame: int, **fields: int) -> Callable[[FragmentDraft], FragmentDraft]:
    """Sets header words of one frame; `delay` adds to its timestamp."""

    def change(frames: np.ndarray) -> np.ndarray:
        words = frame_headers(frames)
        for name, value in fields.items():
            if name == "delay":
                words["timestamp"][frame] = int(words["timestamp"][frame]) + value
            else:
                words[name][frame] = value
        return frames

    return frames_changed(change)


def late(ticks: int) -> Callable[[FragmentDraft], FragmentDraft]:
    def change(frames: np.ndarray) -> np.ndarray:
        words = frame_headers(frames)
        words["timestamp"] = words["timestamp"].astype(np.int64) + ticks
        return frames

    return frames_changed(change)


def test_a_lying_size_is_reported_and_the_dataset_counts(write: Callable) -> None:
    def lie(_record: int, draft: FragmentDraft) -> FragmentDraft:
        draft.header = draft.header._replace(size=1048576)
        return draft

    written = write(alter=lie)
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], np.zeros_like(block.mask))
    assert block.problems == (
        "Detector_Readout_0x00000064_WIBEth and 39 more (source ids 100-139): "
        "its header says 1048576 bytes, the dataset has 21672; the dataset counts",
    )


def test_a_missing_fragment_masks_its_channels(write: Callable) -> None:
    written = write(alter=only(107, lambda _draft: None))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(192, 107, 0, 192))
    assert block.problems == ("1 of 40 fragments missing (source id 107)",)


def test_an_empty_fragment_masks_its_channels(write: Callable) -> None:
    written = write(alter=only(107, frames_changed(lambda frames: frames[:0])))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(192, 107, 0, 192))
    assert block.problems == (f"{NAME}: empty: a header and no frames",)


def test_a_short_fragment_masks_what_it_lacks(write: Callable) -> None:
    written = write(alter=only(107, frames_changed(lambda frames: frames[:2])))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(192, 107, 128, 192))
    assert block.problems == (f"{NAME}: ticks 128-191 of 192 are missing",)


def test_a_hole_in_a_fragment_is_masked_and_the_frames_after_it_are_in_their_place(write: Callable) -> None:
    written = write(frames=5, alter=only(107, frames_changed(lambda frames: frames[[0, 3, 4]])))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(320, 107, 64, 192))
    assert block.problems == (f"{NAME}: ticks 64-191 of 320 are missing",)


def test_a_bad_marker_makes_a_fragment_unusable(write: Callable) -> None:
    def spoil(draft: FragmentDraft) -> FragmentDraft:
        draft.header = draft.header._replace(marker=0x11112223)
        return draft

    written = write(alter=only(107, spoil))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(192, 107, 0, 192))
    assert block.problems == (f"{NAME}: marker 0x11112223 instead of 0x11112222; not used",)


@pytest.mark.parametrize("time", [0, 1, FIRST + 2048 + 5, FIRST + (1 << 45), (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_a_frame_with_a_senseless_timestamp_is_masked(write: Callable, time: int) -> None:
    written = write(frames=4, alter=only(107, at(1, timestamp=time)))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(256, 107, 64, 128))
    assert block.problems == (
        f"{NAME}: 1 of 4 frames have a timestamp that does not fit the others; masked",
        f"{NAME}: ticks 64-127 of 256 are missing",
    )


@pytest.mark.parametrize("delay", [2048, 96, -1024])
def test_a_frame_that_overlaps_another_one_is_masked(write: Callable, delay: int) -> None:
    written = write(frames=4, alter=only(107, at(1, delay=delay)))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(256, 107, 64, 128))


def test_a_frame_sent_twice_counts_once(write: Callable) -> None:
    written = write(frames=4, alter=only(107, frames_changed(lambda frames: frames[[0, 1, 1, 2, 3]])))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], np.zeros_like(block.mask))
    assert block.problems == (f"{NAME}: 1 of 5 frames have a timestamp that does not fit the others; masked",)


def test_frames_out_of_order_are_put_in_order(write: Callable) -> None:
    written = write(frames=4, alter=only(107, frames_changed(lambda frames: frames[[0, 2, 1, 3]])))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], np.zeros_like(block.mask))


def test_a_fragment_that_starts_a_frame_later_is_placed_by_its_timestamps(write: Callable) -> None:
    written = write(frames=4, alter=only(107, late(2048)))
    block = read(written.path)
    expected = np.concatenate([written.adc[1]["P02SU"], np.zeros((2560, 64), np.uint16)], axis=1)
    expected[rows(107)] = np.roll(expected[rows(107)], 64, axis=1)
    masked = mask(320, 107, 0, 64)
    masked[:, 256:] = True
    masked[rows(107), 256:] = False
    assert block.first_timestamp == FIRST
    assert_only_masked(block, expected, masked)


def test_a_fragment_some_samples_early_moves_the_start_of_the_window(write: Callable) -> None:
    written = write(frames=2, alter=only(107, late(-3 * 32)))
    block = read(written.path)
    assert block.first_timestamp == FIRST - 96
    assert np.array_equal(block.adc[rows(107), :128], written.adc[1]["P02SU"][rows(107)])
    assert np.array_equal(block.adc[rows(108), 3:], written.adc[1]["P02SU"][rows(108)])
    assert block.mask[rows(108), :3].all()
    assert block.mask[rows(107), 128:].all()


@pytest.mark.parametrize("ticks", [62_500_000, -62_500_000])
def test_a_fragment_of_another_time_is_left_out_and_does_not_stretch_the_window(write: Callable, ticks: int) -> None:
    written = write(frames=4, alter=only(107, late(ticks)))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(256, 107, 0, 256))
    assert block.problems == (f"{NAME}: 4 of 4 frames are outside the readout window; left out",)


def test_full_fragments_are_kept_whole_when_most_others_are_short(write: Callable) -> None:
    def shorten(_record: int, draft: FragmentDraft) -> FragmentDraft:
        return draft if draft.stream.source_id < 110 else frames_changed(lambda frames: frames[:2])(draft)

    written = write(frames=6, alter=shorten)
    block = read(written.path)
    assert block.adc.shape == (2560, 384)
    assert np.array_equal(block.adc[rows(105)], written.adc[1]["P02SU"][rows(105)])


def test_the_frames_tell_the_window_when_the_headers_tell_nonsense(write: Callable) -> None:
    def senseless(_record: int, draft: FragmentDraft) -> FragmentDraft:
        draft.header = draft.header._replace(window_begin=5, window_end=1 << 62)
        return late(62_500_000)(draft) if draft.stream.source_id == 107 else draft

    written = write(frames=4, alter=senseless)
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(256, 107, 0, 256))


def test_a_wib_fragment_off_the_sampling_grid_is_masked(write: Callable) -> None:
    written = write(alter=only(107, late(5)))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(192, 107, 0, 192))
    assert block.problems == (f"{NAME}: +5 DTS ticks off the sampling grid of the others; masked",)


def test_a_tde_fragment_off_the_sampling_grid_is_put_to_the_nearest_sample(write: Callable) -> None:
    # 3 samples are 93.75 DTS ticks: 93 and 94 are rounding, 99 is not.
    for ticks, problems in ((93, 0), (94, 0), (99, 1)):
        written = write(elements=("CRP2",), frames=2, alter=only(207, late(ticks)))
        block = read(written.path, "CRP2")
        stream = channel_map("PD2VDTPCChannelMap_v2").element("CRP2").streams[6]
        assert stream.source_id == 207
        own = stream.channels - 6144
        assert np.array_equal(block.adc[own, 3:], written.adc[1]["CRP2"][own])
        assert block.mask[own, :3].all()
        off = [line for line in block.problems if line.endswith("off the sampling grid of the others; at the nearest sample")]
        assert len(off) == problems


def test_a_frame_of_another_stream_is_masked(write: Callable) -> None:
    other = int(channel_map(HD_VISIBLE_WIRES).element("P02SU").streams[0].address.slot)
    written = write(frames=4, alter=only(107, at(2, daq=other << 22 | 1 << 12)))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(256, 107, 128, 192))
    assert block.problems[0] == f"{NAME}: 1 of 4 frames are not of crate 1 slot 0 stream 67; masked"


def test_a_spoilt_first_frame_does_not_move_the_fragment(write: Callable) -> None:
    written = write(frames=4, alter=only(107, at(0, daq=0)))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(256, 107, 0, 64))


def test_a_fragment_of_zeros_is_masked_and_named(write: Callable) -> None:
    written = write(frames=3, alter=only(107, frames_changed(np.zeros_like)))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(192, 107, 0, 192))
    assert block.problems == (f"{NAME}: 3 of 3 frames are not of crate 1 slot 0 stream 67; masked",)


def test_the_frames_tell_the_channels_when_the_map_in_the_file_is_wrong(write: Callable) -> None:
    written = write(frames=2)
    with h5py.File(written.path, "r+") as file:
        entries = json.loads(file.attrs["source_id_geo_id_map"])
        by_id = {entry["id"]: entry for entry in entries["map_entries"]}
        by_id[107]["geoids"], by_id[108]["geoids"] = by_id[108]["geoids"], by_id[107]["geoids"]
        file.attrs["source_id_geo_id_map"] = json.dumps(entries)
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], np.zeros_like(block.mask))
    with RawFile.open(written.path) as raw:
        assert f"{NAME}: its frames are of crate 1 slot 0 stream 67, the file's map of sources says otherwise" in raw.problems(RECORD)


def test_a_file_without_a_map_of_sources_is_read_by_its_frames(write: Callable) -> None:
    written = write(frames=2)
    with h5py.File(written.path, "r+") as file:
        del file.attrs["source_id_geo_id_map"]
    assert_only_masked(read(written.path), written.adc[1]["P02SU"], np.zeros((2560, 128), bool))


def test_a_second_fragment_of_a_stream_is_not_used(write: Callable) -> None:
    written = write(frames=2)
    with h5py.File(written.path, "r+") as file:
        raw_data = file[RAW_DATA]
        raw_data["Detector_Readout_0x000000ff_WIBEth"] = raw_data[NAME][:]
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], np.zeros_like(block.mask))
    with RawFile.open(written.path) as raw:
        assert "Detector_Readout_0x000000ff_WIBEth: a second fragment of crate 1 slot 0 stream 67; not used" in raw.problems(RECORD)


def test_a_stream_the_map_does_not_know_is_named(write: Callable) -> None:
    def elsewhere(frames: np.ndarray) -> np.ndarray:
        frame_headers(frames)["daq"] = 7 << 12
        return frames

    written = write(frames=2)
    with h5py.File(written.path, "r+") as file:
        data = file[RAW_DATA][NAME][:].view(np.uint8).ravel()
        elsewhere(data[72:].reshape(-1, 7200))
        file[RAW_DATA]["Detector_Readout_0x00000300_WIBEth"] = data.view(np.int8).reshape(-1, 1)
    with RawFile.open(written.path) as raw:
        (line,) = raw.problems(RECORD)
    assert line == f"Detector_Readout_0x00000300_WIBEth: crate 7 slot 0 stream 0 is not in channel map {HD_VISIBLE_WIRES}; not used"


def test_early_vd_data_with_wrong_detector_ids_are_read(write: Callable) -> None:
    def detector_zero(_record: int, draft: FragmentDraft) -> FragmentDraft:
        words = frame_headers(draft.frames)
        words["daq"] &= ~np.uint64(0x3F << 6)
        return draft

    written = write(elements=("CRP2",), frames=1, alter=detector_zero)
    assert np.array_equal(read(written.path, "CRP2").adc, written.adc[1]["CRP2"])


def test_bytes_after_the_last_frame_and_error_bits_are_reported(write: Callable) -> None:
    written = write(frames=2)
    with h5py.File(written.path, "r+") as file:
        data = file[RAW_DATA][NAME][:]
        data = np.concatenate([data, np.zeros((232, 1), np.int8)])
        data[52] = 0b110
        del file[RAW_DATA][NAME]
        file[RAW_DATA][NAME] = data
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], np.zeros_like(block.mask))
    assert block.problems == (
        f"{NAME}: its header says 14472 bytes, the dataset has 14704; the dataset counts",
        f"{NAME}: 232 bytes after the last whole frame",
        f"{NAME}: error bits 0x6 (incomplete, invalid window)",
    )


def test_a_fragment_of_another_trigger_is_reported(write: Callable) -> None:
    def other(draft: FragmentDraft) -> FragmentDraft:
        draft.header = draft.header._replace(trigger_number=17, fragment_type=3, source_id=5)
        return draft

    assert read(write(alter=only(107, other)).path).problems == (
        f"{NAME}: its header says fragment type 3, its name 12",
        f"{NAME}: its header says source id 5, its name 107",
        f"{NAME}: its header says trigger 17",
    )


@pytest.mark.parametrize(
    ("bits", "message"),
    [(0b01 << 33, "carry COLDATA checksum errors"), (0b10 << 33, "carry COLDATA checksum errors"), (1, "have two different COLDATA times")],
)
def test_frames_the_electronics_call_bad_are_kept_and_reported(write: Callable, bits: int, message: str) -> None:
    written = write(frames=4, alter=only(107, at(2, status=bits)))
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], np.zeros_like(block.mask))
    assert block.problems == (f"{NAME}: 1 of 4 frames {message}",)


def test_tde_errors_are_reported(write: Callable) -> None:
    block = read(write(elements=("CRP2",), frames=2, alter=only(207, at(1, status=1 << 30))).path, "CRP2")
    assert block.problems == ("Detector_Readout_0x000000cf_TDEEth: 1 of 2 frames carry TDE errors",)


@pytest.mark.parametrize("form", ["uint8", "one dimension", "compressed", "compressed, one dimension"])
def test_datasets_of_other_forms_are_read_alike(write: Callable, form: str) -> None:
    written = write(frames=2)
    with h5py.File(written.path, "r+") as file:
        for name, dataset in list(file[RAW_DATA].items()):
            data = dataset[:]
            data = data.view(np.uint8) if form == "uint8" else data
            data = data.ravel() if "one dimension" in form else data
            del file[RAW_DATA][name]
            file[RAW_DATA].create_dataset(name, data=data, compression="gzip" if "compressed" in form else None)
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], np.zeros_like(block.mask))
    with RawFile.open(written.path) as raw:
        assert raw.header(RECORD).trigger_number == 1
        assert raw.problems(RECORD) == ()


def test_a_compressed_dataset_that_is_broken_costs_only_its_fragment(write: Callable) -> None:
    written = write(frames=2)
    with h5py.File(written.path, "r+") as file:
        data = file[RAW_DATA][NAME][:]
        del file[RAW_DATA][NAME]
        dataset = file[RAW_DATA].create_dataset(NAME, data=data, chunks=data.shape, compression="gzip")
        offset = dataset.id.get_chunk_info(0).byte_offset
    with written.path.open("r+b") as stream:
        stream.seek(offset + 100)
        stream.write(b"\xff" * 200)
    block = read(written.path)
    assert_only_masked(block, written.adc[1]["P02SU"], mask(128, 107, 0, 128))
    assert block.problems[0].startswith(f"{NAME}: broken (")


def test_the_header_is_found_by_the_source_id_the_record_names(write: Callable) -> None:
    written = write(frames=1, application="dataflow7")
    with h5py.File(written.path, "r+") as file:
        header = file[RAW_DATA]["TR_Builder_0x00000007_TriggerRecordHeader"][:]
        header[16:24] = 1  # another timestamp
        file[RAW_DATA]["TR_Builder_0x00000003_TriggerRecordHeader"] = header
    with RawFile.open(written.path) as raw:
        assert raw.header(RECORD).timestamp == FIRST + 5000


def test_the_header_is_found_by_its_name_when_the_record_does_not_say(write: Callable) -> None:
    written = write(frames=1, application="dataflow7")
    with h5py.File(written.path, "r+") as file:
        del file["TriggerRecord00001.0000"].attrs["record_header_source_id"]
    with RawFile.open(written.path) as raw:
        assert raw.header(RECORD).timestamp == FIRST + 5000


def test_a_record_without_header_can_be_read_and_is_reported(write: Callable) -> None:
    written = write(frames=1)
    with h5py.File(written.path, "r+") as file:
        del file[RAW_DATA]["TR_Builder_0x00000000_TriggerRecordHeader"]
    assert_only_masked(read(written.path), written.adc[1]["P02SU"], np.zeros((2560, 64), bool))
    with RawFile.open(written.path) as raw:
        assert raw.problems(RECORD) == ("TriggerRecord00001.0000: no trigger record header",)
        with pytest.raises(DataError, match=r"TriggerRecord00001\.0000: no trigger record header"):
            raw.header(RECORD)


def test_trouble_in_the_trigger_record_header_is_reported(write: Callable) -> None:
    written = write(frames=1)
    with h5py.File(written.path, "r+") as file:
        header = file[RAW_DATA]["TR_Builder_0x00000000_TriggerRecordHeader"]
        header[36] = 1
        header[8] = 9
    with RawFile.open(written.path) as raw:
        assert raw.problems(RECORD) == ("trigger record header: error bits 0x1", "trigger record header: trigger 9, the group says 1")


def test_an_apa_that_was_asked_for_and_sent_nothing_is_reported(write: Callable) -> None:
    def silent(_record: int, draft: FragmentDraft) -> FragmentDraft | None:
        return draft if draft.stream.source_id < 200 else None

    with RawFile.open(write(frames=1, elements=("P02SU", "P02NL"), alter=silent).path) as raw:
        assert raw.elements(RECORD) == ("P02SU",)
        assert raw.problems(RECORD) == ("P02NL: no fragments, 40 were requested",)


def test_a_record_without_its_group_of_data_does_not_hide_the_others(write: Callable) -> None:
    written = write(frames=1, numbers=(1, 2))
    with h5py.File(written.path, "r+") as file:
        del file[RAW_DATA]
    with RawFile.open(written.path) as raw:
        first, second = (raw.summary(record) for record in raw.records)
    assert (first.usable, second.usable) == (False, True)
    assert "TriggerRecord00001.0000/RawData" in first.problems[0]


def test_an_unusable_apa_gives_one_error_that_names_file_record_and_reason(write: Callable) -> None:
    def spoil(_record: int, draft: FragmentDraft) -> FragmentDraft:
        draft.header = draft.header._replace(marker=0)
        return draft

    written = write(frames=1, alter=spoil)
    with RawFile.open(written.path) as raw:
        with pytest.raises(DataError) as error:
            raw.block(RECORD, "P02SU")
        assert raw.summary(RECORD).usable is False
    assert str(error.value) == (
        f"{written.path}: TriggerRecord00001.0000: P02SU: no usable frame in 40 fragments (Detector_Readout_0x00000064_WIBEth and 39 more "
        "(source ids 100-139): marker 0x00000000 instead of 0x11112222; not used)"
    )


@given(st.integers(0, 1 << 32))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_frames_get_lost_or_mixed_up_each_one_left_is_where_it_belongs(write: Callable, seed: int) -> None:
    frames = 6
    random = np.random.default_rng(seed)
    # Three fragments stay whole, so that the window is known.
    kept = {
        source_id: random.permutation(frames)[: frames if source_id < 103 else random.integers(0, frames + 1)]
        for source_id in range(100, 140)
    }

    def lose(_record: int, draft: FragmentDraft) -> FragmentDraft:
        return frames_changed(lambda all_frames: all_frames[kept[draft.stream.source_id]])(draft)

    written = write(frames=frames, alter=lose)
    masked = np.ones((2560, 64 * frames), bool)
    for source_id, indices in kept.items():
        for index in indices:
            masked[rows(source_id), 64 * index : 64 * (index + 1)] = False
    assert_only_masked(read(written.path), written.adc[1]["P02SU"], masked)
