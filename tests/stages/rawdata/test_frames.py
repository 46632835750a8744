from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages.rawdata.frames import FRAME_BYTES, Address, Unpacker, address_of, daq_words, frame_headers, pack, streams_of
from stages.rawdata.structures import FragmentType

adc_of_frames = st.integers(1, 3).flatmap(lambda n: hnp.arrays(np.uint16, (64, 64 * n), elements=st.integers(0, 0x3FFF)))


def channel_of_frame(frame: bytes, channel: int, sample: int) -> int:
    """The definition: bits [14 k, 14 k + 14) of the 112-byte little-endian row."""
    row = int.from_bytes(frame[32 + 112 * sample : 32 + 112 * (sample + 1)], "little")
    return row >> 14 * channel & 0x3FFF


@given(adc_of_frames)
def test_packed_values_are_where_the_definition_says(adc: np.ndarray) -> None:
    frames = np.zeros((adc.shape[1] // 64, FRAME_BYTES), np.uint8)
    pack(adc, frames)
    last = frames[-1].tobytes()
    expected = [[channel_of_frame(last, channel, sample) for sample in (0, 1, 63)] for channel in range(64)]
    assert np.array_equal(adc[:, -64:][:, [0, 1, 63]], expected)


@given(st.binary(min_size=112, max_size=112), st.integers(0, 63))
def test_any_row_of_112_bytes_is_unpacked_by_the_definition(row: bytes, sample: int) -> None:
    frame = np.zeros((1, FRAME_BYTES), np.uint8)
    frame[0, 32 + 112 * sample : 32 + 112 * (sample + 1)] = np.frombuffer(row, np.uint8)
    adc = Unpacker(4).unpack(frame)
    assert [channel_of_frame(frame.tobytes(), channel, sample) for channel in range(64)] == adc[:, sample].tolist()
    assert not np.delete(adc, sample, axis=1).any()


@given(adc_of_frames)
def test_unpacking_undoes_packing_and_leaves_the_headers_alone(adc: np.ndarray) -> None:
    frames = np.full((adc.shape[1] // 64, FRAME_BYTES), 0xA5, np.uint8)
    pack(adc, frames)
    assert np.array_equal(Unpacker(3).unpack(frames), adc)
    assert (frames[:, :32] == 0xA5).all()


@given(st.integers(0, 1023), st.integers(0, 15), st.integers(0, 255), st.integers(0, 63))
def test_the_daq_header_word_carries_the_address(crate: int, slot: int, stream: int, detector: int) -> None:
    address = Address(FragmentType.WIBETH, crate, slot, stream)
    words = daq_words(detector, address, 5000)
    assert {address_of(FragmentType.WIBETH, int(word)) for word in words} == {address}
    assert np.unique(streams_of(words)).size == 1
    assert (words >> np.uint64(40) & np.uint64(0xFFF)).tolist() == [index % 4096 for index in range(5000)]


def test_frame_headers_are_the_first_words_of_each_frame() -> None:
    frames = np.zeros((2, FRAME_BYTES), np.uint8)
    frames[1, 8:16] = np.frombuffer((0x0123456789ABCDEF).to_bytes(8, "little"), np.uint8)
    assert frame_headers(frames)["timestamp"].tolist() == [0, 0x0123456789ABCDEF]
