"""Reads and writes frame files: the waveforms of many channels in one zip file of NumPy arrays, as Wire-Cell's FrameFileSink and -Source.

Members of frame `tag` of record `ident`, each an .npy array:

    frame_<tag>_<ident>      float32 [channels, ticks]
    channels_<tag>_<ident>   int32 [channels], ascending
    tickinfo_<tag>_<ident>   float64 [time of the frame in ns, tick in ns, number of the first tick]
    chanmask_<name>_<ident>  int32 [n, 3]: channel, first tick, end tick

`ident` is the ordinal of the trigger record in its raw file from 1; its members follow each other. Tags are `gauss<anode>` for charge
(electrons per tick) and `raw<anode>` for noise-filtered waveforms (ADC), with the number of the Wire-Cell anode.
"""

from __future__ import annotations

import errno
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dune_prompt.errors import DataError

# Frames are mostly zeros: the fastest level saves nearly all there is to save.
COMPRESSION_LEVEL = 1
# Members above this size need the zip64 fields, which some readers do not know; smaller ones do without.
_ZIP64_BYTES = 1 << 31
_FRAME = re.compile(r"frame_(?P<tag>.+)_(?P<ident>\d+)\.npy")

# What zipfile and zlib raise for a damaged file. RuntimeError: changed flags make a member look encrypted or of an unknown kind.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)

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
        self._path = path
        self._draft = path.with_name(path.name + ".tmp")
        self._ident = 0
        self._zip = zipfile.ZipFile(self._draft, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL)

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        try:
            self._zip.close()
            if kind is None:
                self._draft.replace(self._path)
        finally:
            self._draft.unlink(missing_ok=True)

    def write(self, header: FrameHeader, rows: Iterable[Rows]) -> None:
        """Write one frame; `rows` gives its float32 rows in order, in pieces of any size.

        Raises:
            ValueError: the pieces do not add up to the frame, or the ident went back.
        """
        key, n_rows = header.key, 0
        with self._member(f"frame_{key.tag}", key.ident, (len(header.channels), header.n_ticks), np.dtype(np.float32)) as member:
            for piece in rows:
                if piece.dtype != np.float32 or piece.shape[1:] != (header.n_ticks,):
                    raise ValueError(f"{key}: a piece is {piece.dtype} {piece.shape}, expected float32 rows of {header.n_ticks} ticks")
                n_rows += len(piece)
                member.write(np.ascontiguousarray(piece).data)
        if n_rows != len(header.channels):
            raise ValueError(f"{key}: {n_rows} rows for {len(header.channels)} channels")
        self._array(f"channels_{key.tag}", key.ident, header.channels.astype(np.int32))
        self._array(f"tickinfo_{key.tag}", key.ident, np.array([header.time_ns, header.tick_ns, header.first_tick], np.float64))

    def mask(self, name: str, ident: int, ranges: NDArray[np.int32]) -> None:
        """Write a channel mask: int32 [n, 3] of channel, first tick, end tick."""
        self._array(f"chanmask_{name}", ident, np.asarray(ranges, np.int32).reshape(-1, 3))

    def _array(self, name: str, ident: int, content: NDArray[Any]) -> None:
        with self._member(name, ident, content.shape, content.dtype) as member:
            member.write(np.ascontiguousarray(content).tobytes())

    def _member(self, name: str, ident: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> IO[bytes]:
        if ident < self._ident:
            raise ValueError(f"{name}_{ident}: the members of an ident must follow each other, and {self._ident} is begun")
        self._ident = ident
        # A fixed date, so that the same content makes the same file.
        info = zipfile.ZipInfo(f"{name}_{ident}.npy", date_time=(1980, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        member = self._zip.open(info, "w", force_zip64=n_bytes > _ZIP64_BYTES)
        npy.write_array_header_1_0(member, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
        return member


class FrameFile:
    """Reads a frame file, whoever wrote it (this module, Wire-Cell, `numpy.savez`). Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file and list its frames.

        Raises:
            DataError: it is no zip file. OSError passes.
        """
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGED as error:
            raise DataError(f"{path}: not a frame file ({error}); an interrupted copy?") from None
        except OSError as error:
            # A damaged directory of the archive makes zipfile seek before the start.
            if error.errno != errno.EINVAL:
                raise
            raise DataError(f"{path}: not a frame file (its directory is damaged); an interrupted copy?") from None
        found = [match for name in self._zip.namelist() if (match := _FRAME.fullmatch(name))]
        self.keys: tuple[FrameKey, ...] = tuple(FrameKey(match["tag"], int(match["ident"])) for match in found)

    def __enter__(self) -> FrameFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def header(self, key: FrameKey) -> FrameHeader:
        """Channels and ticks of a frame.

        Raises:
            DataError: its arrays are missing or do not fit each other.
        """
        with self._open(f"frame_{key.tag}_{key.ident}") as member:
            shape, _, _ = self._npy_header(member)
        channels, tickinfo = (self._array(f"{name}_{key.tag}_{key.ident}") for name in ("channels", "tickinfo"))
        if len(shape) != 2 or channels.shape != shape[:1] or tickinfo.shape != (3,):
            raise DataError(
                f"{self._path}: frame {key.tag} of {key.ident} is {shape}, with channels {channels.shape} and tickinfo {tickinfo.shape}"
            )
        time_ns, tick_ns, first_tick = (float(number) for number in tickinfo)
        return FrameHeader(key, channels.astype(np.int32), shape[1], time_ns, tick_ns, int(first_tick))

    def rows(self, key: FrameKey, block: int = 256) -> Iterator[Rows]:
        """The rows of a frame as float32, at most `block` at a time.

        Raises:
            DataError: the file ends early or is damaged.
        """
        name = f"frame_{key.tag}_{key.ident}"
        with self._open(name) as member:
            shape, fortran, dtype = self._npy_header(member)
            if len(shape) != 2:
                raise DataError(f"{self._path}: {name} has shape {shape}, expected [channels, ticks]")
            if fortran:
                whole = np.frombuffer(self._read(member, name, int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape[::-1]).T
                yield from (whole[begin : begin + block].astype(np.float32) for begin in range(0, shape[0], block))
                return
            for begin in range(0, shape[0], block):
                n_rows = min(block, shape[0] - begin)
                piece = np.frombuffer(self._read(member, name, n_rows * shape[1] * dtype.itemsize), dtype)
                yield piece.reshape(n_rows, shape[1]).astype(np.float32, copy=False)

    def mask(self, name: str, ident: int) -> NDArray[np.int32]:
        """A channel mask, int32 [n, 3] of channel, first tick, end tick; empty when the file has none."""
        if f"chanmask_{name}_{ident}.npy" not in self._zip.namelist():
            return np.empty((0, 3), np.int32)
        return self._array(f"chanmask_{name}_{ident}").astype(np.int32).reshape(-1, 3)

    def _open(self, name: str) -> IO[bytes]:
        try:
            return self._zip.open(f"{name}.npy")
        except KeyError:
            raise DataError(f"{self._path}: no member {name}.npy") from None
        except _DAMAGED as error:
            raise DataError(f"{self._path}: {name}: {error}") from None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise DataError(f"{self._path}: {name}: its place in the archive is damaged") from None

    def _array(self, name: str) -> NDArray[Any]:
        with self._open(name) as member:
            shape, fortran, dtype = self._npy_header(member)
            content = np.frombuffer(self._read(member, name, int(np.prod(shape)) * dtype.itemsize), dtype)
        return content.reshape(shape, order="F" if fortran else "C")

    def _npy_header(self, member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        try:
            version = npy.read_magic(member)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(member)
        except _DAMAGED as error:
            raise DataError(f"{self._path}: {member.name}: not an .npy array ({error})") from None
        if dtype.kind not in "fiu":
            raise DataError(f"{self._path}: {member.name} holds {dtype}, expected numbers")
        return shape, bool(fortran), dtype

    def _read(self, member: IO[bytes], name: str, size: int) -> bytes:
        try:
            content = member.read(size)
        except _DAMAGED as error:
            raise DataError(f"{self._path}: {name} is damaged ({error})") from None
        if len(content) != size:
            raise DataError(f"{self._path}: {name} ends after {len(content)} of {size} bytes")
        return content
