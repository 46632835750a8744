"""WIBEth and TDEEth frames: 64 channels x 64 samples of 14 bits in 7200 bytes.

    0   DAQEthHeader   word 0: version 0-5, detector 6-11, crate 12-21, slot 22-25, stream 26-33, sequence 40-51, block length 52-63
    8                  word 1: timestamp of the first sample, DTS ticks
    16  WIBEthHeader or TDEEthHeader (2 words)
    32  adc            64 rows (samples) of 112 bytes; channel k of a row is bits [14 k, 14 k + 14), little-endian

Source: DUNE-DAQ fddetdataformats WIBEthFrame.hpp and TDEEthFrame.hpp, detdataformats DAQEthHeader.hpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.rawdata.structures import FragmentType

FRAME_BYTES = 7200
FRAME_HEADER_BYTES = 32
FRAME_CHANNELS = 64
FRAME_SAMPLES = 64
ADC_MAX = 0x3FFF

_OCTETS, _WORDS = FRAME_CHANNELS // 8, 7  # 8 channels are 14 bytes, 7 words of 16 bits
_BLOCK_LENGTH = 0x382  # words of 8 bytes after the DAQEthHeader
_DAQ_VERSION = 1

FRAME_HEADER = np.dtype(
    {
        "names": ["daq", "timestamp", "status", "extra"],
        "formats": ["<u8", "<u8", "<u8", "<u8"],
        "offsets": [0, 8, 16, 24],
        "itemsize": FRAME_BYTES,
    }
)


class Address(NamedTuple):
    """Where a stream of 64 channels comes from, as its frames say.

    The fragment's type takes the place of the detector id, which early ProtoDUNE-VD data got wrong.
    """

    fragment_type: FragmentType
    crate: int
    slot: int
    stream: int

    def __str__(self) -> str:
        return f"crate {self.crate} slot {self.slot} stream {self.stream}"


@dataclass(frozen=True, slots=True)
class Clock:
    """How the samples of a fragment type follow each other.

    `tick_ns` between two samples, `frame_ticks` DTS ticks from frame to frame, `quarters` of a DTS tick from sample to sample;
    `whole_ticks`: samples fall on whole DTS ticks, so that a timestamp tells the sample exactly.
    """

    tick_ns: float
    frame_ticks: int
    quarters: int
    whole_ticks: bool


CLOCKS = {
    FragmentType.WIBETH: Clock(512.0, 2048, 128, whole_ticks=True),
    FragmentType.TDEETH: Clock(500.0, 2000, 125, whole_ticks=False),
}


def frame_headers(frames: NDArray[np.uint8]) -> NDArray[Any]:
    """The header words of `frames` [n, 7200]: fields daq, timestamp, status, extra of n elements (a view)."""
    return frames.reshape(-1).view(FRAME_HEADER)


def streams_of(daq_words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Crate, slot and stream of DAQ header words as one number, equal for frames of one stream."""
    return (daq_words >> np.uint64(12)) & np.uint64(0x3FFFFF)


def address_of(fragment_type: FragmentType, daq_word: int) -> Address:
    """The address in a DAQ header word."""
    return Address(fragment_type, daq_word >> 12 & 0x3FF, daq_word >> 22 & 0xF, daq_word >> 26 & 0xFF)


def daq_words(detector_id: int, address: Address, n_frames: int) -> NDArray[np.uint64]:
    """The first header words of `n_frames` frames in a row."""
    fixed = _DAQ_VERSION | detector_id << 6 | address.crate << 12 | address.slot << 22 | address.stream << 26 | _BLOCK_LENGTH << 52
    return np.uint64(fixed) | (np.arange(n_frames, dtype=np.uint64) & np.uint64(0xFFF)) << np.uint64(40)


class Unpacker:
    """Unpacks the frames of one fragment after the other into one scratch array, so that a record needs no more memory than its result.

    The words are first brought into the order [word, octet, tick]; then each of the 8 channels of an octet is a shift and a mask of
    contiguous 16-bit words, which NumPy does with vector instructions.
    """

    def __init__(self, max_frames: int) -> None:
        ticks = max_frames * FRAME_SAMPLES
        self._words = np.empty(_WORDS * _OCTETS * ticks, np.uint16)
        self._adc = np.empty(FRAME_CHANNELS * ticks, np.uint16)
        self._high = np.empty(_OCTETS * ticks, np.uint16)

    def unpack(self, frames: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """ADC values [64 channels, 64 n ticks] of `frames` [n, 7200], valid until the next call."""
        n_frames = len(frames)
        ticks = n_frames * FRAME_SAMPLES
        words = self._words[: _WORDS * _OCTETS * ticks].reshape(_WORDS, _OCTETS, ticks)
        adc = self._adc[: FRAME_CHANNELS * ticks].reshape(_OCTETS, 8, ticks)
        high = self._high[: _OCTETS * ticks].reshape(_OCTETS, ticks)
        np.copyto(words.reshape(_WORDS, _OCTETS, n_frames, FRAME_SAMPLES), _adc_words(frames).transpose(3, 2, 0, 1))
        np.bitwise_and(words[0], ADC_MAX, out=adc[:, 0])
        for channel in range(1, 7):
            # Channel k starts in word k-1 at bit 16 - 2k and goes on in word k.
            low = adc[:, channel]
            np.right_shift(words[channel - 1], 16 - 2 * channel, out=low)
            np.left_shift(words[channel], 2 * channel, out=high)
            np.bitwise_or(low, high, out=low)
            np.bitwise_and(low, ADC_MAX, out=low)
        np.right_shift(words[6], 2, out=adc[:, 7])
        return adc.reshape(FRAME_CHANNELS, ticks)


def pack(adc: NDArray[np.uint16], frames: NDArray[np.uint8]) -> None:
    """Write `adc` [64 channels, 64 n ticks] (14 bits) into the ADC part of `frames` [n, 7200]; the inverse of `Unpacker.unpack`."""
    n_frames = len(frames)
    channels = adc.reshape(_OCTETS, 8, n_frames, FRAME_SAMPLES)
    words = np.empty((_WORDS, _OCTETS, n_frames, FRAME_SAMPLES), np.uint16)
    for word in range(_WORDS):
        np.left_shift(channels[:, word + 1], 14 - 2 * word, out=words[word])
        words[word] |= channels[:, word] >> 2 * word
    np.copyto(_adc_words(frames), words.transpose(2, 3, 1, 0))


def _adc_words(frames: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The ADC part of `frames` as 16-bit words [frame, sample, octet, word], a view."""
    words = frames.reshape(-1, FRAME_BYTES)[:, FRAME_HEADER_BYTES:].view("<u2")
    return np.lib.stride_tricks.as_strided(words, (len(frames), FRAME_SAMPLES, _OCTETS, _WORDS), (FRAME_BYTES, 112, 14, 2))
