"""Reads and writes frame files: the waveforms of many channels in one zip file of NumPy arrays, as Wire-Cell's FrameFileSink and -Source.

Members of frame `tag` of record `ident`, each an .npy array:

    frame_<tag>_<ident>      float32 [channels, ticks]
    channels_<tag>_<ident>   int32 [channels], ascending
    tickinfo_<tag>_<ident>   float64 [time of the frame in ns, tick in ns, number of the first tick]
    summary_<tag>_<ident>    float32 [channels], some frames: a number for each channel
    chanmask_<name>_<ident>  int32 [n, 3]: channel, first tick, end tick

`ident` is the ordinal of the trigger record in its raw file from 1; its members follow each other. Tags are `gauss<anode>` and
`wiener<anode>` for charge (electrons per tick) and `raw<anode>` for noise-filtered waveforms (ADC), with the number of the Wire-Cell anode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.npz import NpzFile, NpzWriter

_FRAME = re.compile(r"frame_(?P<tag>.+)_(?P<ident>\d+)")

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FrameKey:
    """Which frame of a file."""

    tag: str
    ident: int


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a frame's rows and columns are."""

    key: FrameKey
    channels: NDArray[np.int32]
    n_ticks: int
    time_ns: float
    tick_ns: float
    first_tick: int = 0


class FrameWriter:
    """Writes a frame file, streaming. The file has its name only when it is complete; after an error nothing is left.

    Use as a context manager; write all of one ident before the next.
    """

    def __init__(self, path: Path) -> None:
        self._ident = 0
        self._file = NpzWriter(path)

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.__exit__(kind, error, trace)

    def write(self, header: FrameHeader, rows: Iterable[Rows], summary: Rows | None = None) -> None:
        """Write one frame; `rows` gives its float32 rows in order, in pieces of any size; `summary` has a number for each row.

        Raises:
            ValueError: the pieces do not add up to the frame, or the ident went back.
        """
        key, n_rows = header.key, 0
        self._begin(key.ident)
        with self._file.member(_name("frame", key), (len(header.channels), header.n_ticks), np.dtype(np.float32)) as member:
            for piece in rows:
                if piece.dtype != np.float32 or piece.shape[1:] != (header.n_ticks,):
                    raise ValueError(f"{key}: a piece is {piece.dtype} {piece.shape}, expected float32 rows of {header.n_ticks} ticks")
                n_rows += len(piece)
                member.write(np.ascontiguousarray(piece).data)
        if n_rows != len(header.channels):
            raise ValueError(f"{key}: {n_rows} rows for {len(header.channels)} channels")
        self._file.write(_name("channels", key), header.channels.astype(np.int32))
        self._file.write(_name("tickinfo", key), np.array([header.time_ns, header.tick_ns, header.first_tick], np.float64))
        if summary is not None:
            self._file.write(_name("summary", key), summary.astype(np.float32))

    def mask(self, name: str, ident: int, ranges: NDArray[np.int32]) -> None:
        """Write a channel mask: int32 [n, 3] of channel, first tick, end tick."""
        self._begin(ident)
        self._file.write(f"chanmask_{name}_{ident}", np.asarray(ranges, np.int32).reshape(-1, 3))

    def append(self, part: Path) -> None:
        """Add all of another frame file, whose idents come after those written."""
        self._file.append(part)

    def _begin(self, ident: int) -> None:
        if ident < self._ident:
            raise ValueError(f"ident {ident}: the members of an ident must follow each other, and {self._ident} is begun")
        self._ident = ident


class FrameFile:
    """Reads a frame file, whoever wrote it (this module, Wire-Cell, `numpy.savez`). Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file and list its frames.

        Raises:
            DataError: it is no zip file. OSError passes.
        """
        self._file = NpzFile(path, "frame file")
        found = [match for name in self._file.names if (match := _FRAME.fullmatch(name))]
        self.keys: tuple[FrameKey, ...] = tuple(FrameKey(match["tag"], int(match["ident"])) for match in found)

    def __enter__(self) -> FrameFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__()

    def header(self, key: FrameKey) -> FrameHeader:
        """Channels and ticks of a frame.

        Raises:
            DataError: its arrays are missing or do not fit each other.
        """
        frame = _name("frame", key)
        with self._file.open(frame) as member:
            shape, _, _ = self._file.header(member, frame)
        channels, tickinfo = self._file.read(_name("channels", key)), self._file.read(_name("tickinfo", key))
        if len(shape) != 2 or channels.shape != shape[:1] or tickinfo.shape != (3,):
            raise DataError(
                f"{self._file.path}: frame {key.tag} of {key.ident} is {shape}, with "
                f"channels {channels.shape} and tickinfo {tickinfo.shape}"
            )
        time_ns, tick_ns, first_tick = (float(number) for number in tickinfo)
        return FrameHeader(key, channels.astype(np.int32), shape[1], time_ns, tick_ns, int(first_tick))

    def rows(self, key: FrameKey, block: int = 256) -> Iterator[Rows]:
        """The rows of a frame as float32, at most `block` at a time.

        Raises:
            DataError: the file ends early or is damaged.
        """
        name = _name("frame", key)
        with self._file.open(name) as member:
            shape, fortran, dtype = self._file.header(member, name)
            if len(shape) != 2:
                raise DataError(f"{self._file.path}: {name} has shape {shape}, expected [channels, ticks]")
            if fortran:
                content = self._file.take(member, name, int(np.prod(shape)) * dtype.itemsize)
                whole = np.frombuffer(content, dtype).reshape(shape[::-1]).T
                yield from (whole[begin : begin + block].astype(np.float32) for begin in range(0, shape[0], block))
                return
            for begin in range(0, shape[0], block):
                n_rows = min(block, shape[0] - begin)
                piece = np.frombuffer(self._file.take(member, name, n_rows * shape[1] * dtype.itemsize), dtype)
                yield piece.reshape(n_rows, shape[1]).astype(np.float32, copy=False)

    def summary(self, key: FrameKey) -> Rows | None:
        """The number of each channel that goes with a frame; None when the file has none."""
        name = _name("summary", key)
        return self._file.read(name).astype(np.float32) if name in self._file.names else None

    def mask(self, name: str, ident: int) -> NDArray[np.int32]:
        """A channel mask, int32 [n, 3] of channel, first tick, end tick; empty when the file has none."""
        member = f"chanmask_{name}_{ident}"
        return self._file.read(member).astype(np.int32).reshape(-1, 3) if member in self._file.names else np.empty((0, 3), np.int32)


def _name(what: str, key: FrameKey) -> str:
    return f"{what}_{key.tag}_{key.ident}"
