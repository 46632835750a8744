"""Looks at one TPC fragment without unpacking it: its header, whose frames it holds, and which of them can be believed."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.rawdata.attributes import GeoId
from stages.rawdata.frames import CLOCKS, FRAME_BYTES, Address, Clock, address_of, frame_headers, streams_of
from stages.rawdata.hdf5_file import ByteDataset, read_bytes
from stages.rawdata.problems import Problems
from stages.rawdata.structures import FRAGMENT_HEADER_BYTES, FRAGMENT_MARKER, FragmentHeader, FragmentType, fragment_errors

# A timestamp further than this (five hours, in DTS ticks) from its neighbours is no time at all; keeps 64-bit sums from overflowing.
_FAR = 1 << 40


@dataclass(frozen=True, slots=True)
class FragmentSource:
    """A dataset that should hold a TPC fragment, as its name says."""

    dataset: ByteDataset
    fragment_type: FragmentType
    source_id: int

    @property
    def n_frames(self) -> int:
        """Whole frames in the dataset; its length counts, not the size in its header."""
        return max(0, self.dataset.size_bytes - FRAGMENT_HEADER_BYTES) // FRAME_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class Fragment:
    """A fragment that was looked at: the timestamps of its frames (DTS ticks, int64) and which frames are good, both [n_frames]."""

    source: FragmentSource
    window_begin: int
    window_end: int
    timestamps: NDArray[np.int64]
    good: NDArray[np.bool_]


def locate(file: h5py.File, source: FragmentSource, places: Sequence[GeoId]) -> list[Address]:
    """The streams a fragment may belong to, the most credible first: what its frames say, then what the file's map says.

    `places` are those of its source id in that map. The first frame is believed when the map agrees, else the majority of frames.
    """
    mapped = [Address(source.fragment_type, place.crate, place.slot, place.stream) for place in places]
    with suppress(DataError):
        if source.n_frames:
            first = address_of(source.fragment_type, int(_daq_word(file, source, 0)))
            if first in mapped:
                return [first]
            words = np.array([_daq_word(file, source, index) for index in range(source.n_frames)], np.uint64)
            return [address_of(source.fragment_type, int(words[_most_common(streams_of(words))])), *mapped]
    return mapped


def inspect(
    file: h5py.File, source: FragmentSource, address: Address, trigger_number: int, buffer: NDArray[np.uint8], problems: Problems
) -> Fragment:
    """Read the headers of a fragment and of its frames, and note what is wrong with them.

    `address` is the stream the fragment was taken for, `buffer` a scratch of at least the dataset's size. A frame is good when it is of
    that stream, its timestamp fits the others of the fragment, and no other frame has its time.
    """
    data = buffer[: source.dataset.size_bytes]
    name, source_id = source.dataset.name, source.source_id
    nothing = Fragment(source, 0, 0, np.empty(0, np.int64), np.empty(0, np.bool_))
    try:
        read_bytes(file, source.dataset, data)
    except DataError as error:
        problems.of(name, source_id, f"broken ({error}); not used")
        return nothing
    if data.size < FRAGMENT_HEADER_BYTES:
        problems.of(name, source_id, f"{data.size} bytes are too few for a fragment header")
        return nothing
    header = FragmentHeader.unpack(data.data)
    if header.marker != FRAGMENT_MARKER:
        problems.of(name, source_id, f"marker 0x{header.marker:08x} instead of 0x{FRAGMENT_MARKER:08x}; not used")
        return nothing
    for problem in _header_problems(header, source, trigger_number):
        problems.of(name, source_id, problem)
    fragment = replace(nothing, window_begin=header.window_begin, window_end=header.window_end)
    if source.n_frames == 0:
        problems.of(name, source_id, "empty: a header and no frames")
        return fragment
    frames = frame_headers(data[FRAGMENT_HEADER_BYTES : FRAGMENT_HEADER_BYTES + source.n_frames * FRAME_BYTES])
    for problem in _status_problems(source.fragment_type, frames):
        problems.of(name, source_id, problem)
    own = streams_of(frames["daq"]) == _stream_number(address)
    if not own.all():
        problems.of(name, source_id, f"{_count(~own)} of {own.size} frames are not of {address}; masked")
    timestamps = frames["timestamp"].astype(np.int64)
    good = _consistent(timestamps, own, CLOCKS[source.fragment_type])
    if bad := int(own.sum() - good.sum()):
        problems.of(name, source_id, f"{bad} of {own.size} frames have a timestamp that does not fit the others; masked")
    return replace(fragment, timestamps=timestamps, good=good)


def _daq_word(file: h5py.File, source: FragmentSource, index: int) -> np.uint64:
    word = np.empty(8, np.uint8)
    read_bytes(file, source.dataset, word, FRAGMENT_HEADER_BYTES + index * FRAME_BYTES)
    value: np.uint64 = word.view("<u8")[0]
    return value


def _stream_number(address: Address) -> int:
    """`streams_of` of the frames of `address`."""
    return address.crate | address.slot << 10 | address.stream << 14


def _header_problems(header: FragmentHeader, source: FragmentSource, trigger_number: int) -> list[str]:
    size = source.dataset.size_bytes
    found = []
    if header.size != size:
        found.append(f"its header says {header.size} bytes, the dataset has {size}; the dataset counts")
    if rest := max(0, size - FRAGMENT_HEADER_BYTES) % FRAME_BYTES:
        found.append(f"{rest} bytes after the last whole frame")
    if header.error_bits:
        found.append(f"error bits 0x{header.error_bits:x} ({fragment_errors(header.error_bits)})")
    if header.fragment_type != source.fragment_type:
        found.append(f"its header says fragment type {header.fragment_type}, its name {source.fragment_type.value}")
    if header.source_id != source.source_id:
        found.append(f"its header says source id {header.source_id}, its name {source.source_id}")
    if header.trigger_number != trigger_number:
        found.append(f"its header says trigger {header.trigger_number}")
    return found


def _status_problems(fragment_type: FragmentType, frames: NDArray[Any]) -> list[str]:
    """What the electronics say about their own frames; such data are kept, as LArSoft's decoders keep them."""
    status = frames["status"]
    found = []
    if fragment_type is FragmentType.TDEETH:
        if errors := _count((status >> np.uint64(26)) & np.uint64(0xFFFF)):
            found.append(f"{errors} of {status.size} frames carry TDE errors")
        return found
    if errors := _count((status >> np.uint64(33)) & np.uint64(3)):
        found.append(f"{errors} of {status.size} frames carry COLDATA checksum errors")
    if apart := _count((status ^ status >> np.uint64(16)) & np.uint64(0x7FFF)):
        found.append(f"{apart} of {status.size} frames have two different COLDATA times")
    return found


def _consistent(timestamps: NDArray[np.int64], own: NDArray[np.bool_], clock: Clock) -> NDArray[np.bool_]:
    """Which frames have believable timestamps: a whole number of samples from where most frames say the fragment starts, and a time of
    their own. Lost and reordered frames are fine, each frame's own timestamp places it."""
    if not own.any():
        return own
    starts = timestamps - np.arange(timestamps.size) * clock.frame_ticks
    if starts[own].min() == starts[own].max():
        return own
    values, index, counts = np.unique(starts[own], return_inverse=True, return_counts=True)
    late = starts - values[counts.argmax()]
    near = (late > -_FAR) & (late < _FAR)
    good: NDArray[np.bool_] = own & near & (np.abs(off_grid(np.where(near, late, 0), clock)) < 4)
    support = np.zeros(timestamps.size, np.int64)
    support[own] = counts[index]
    taken: list[int] = []
    # Of two frames with the same time, the one that more frames agree with stays.
    for frame in sorted(np.flatnonzero(good).tolist(), key=lambda frame: -support[frame]):
        time = int(timestamps[frame])
        at = bisect_left(taken, time)
        if any(abs(time - other) < clock.frame_ticks for other in taken[max(0, at - 1) : at + 1]):
            good[frame] = False
        else:
            insort(taken, time)
    return good


def off_grid(ticks: NDArray[np.int64], clock: Clock) -> NDArray[np.int64]:
    """By how many quarters of a DTS tick times `ticks` miss the nearest sample of a grid through 0; a rounded timestamp misses by < 4."""
    quarters = 4 * ticks
    return quarters - clock.quarters * ((2 * quarters + clock.quarters) // (2 * clock.quarters))


def _count(values: NDArray[Any]) -> int:
    return int(np.count_nonzero(values))


def _most_common(values: NDArray[np.uint64]) -> int:
    """The first index of the value that occurs most often."""
    _, index, counts = np.unique(values, return_index=True, return_counts=True)
    return int(index[counts.argmax()])
