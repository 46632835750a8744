"""Reads and writes zip files of NumPy arrays (`.npz`), streaming, as frame files and quality files are.

A file has its name only when it is complete. A damaged one is a `DataError` that says so, whatever the damage makes the zip module raise.
"""

from __future__ import annotations

import copy
import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dune_prompt.errors import DataError

# Frames are mostly zeros: the fastest level saves nearly all there is to save.
COMPRESSION_LEVEL = 1
# Members above this size need the zip64 fields, which some readers do not know; smaller ones do without.
_ZIP64_BYTES = 1 << 31
# A local file header: its length, and where in it the lengths of name and extra field stand (PKWARE APPNOTE 4.3.7).
_HEADER_BYTES, _LENGTHS_AT = 30, 26
_COPY_BYTES = 1 << 20

# What zipfile, zlib and NumPy raise for a damaged file. RuntimeError: changed flags make a member look encrypted or of an unknown kind;
# MemoryError: its shape is absurd.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, MemoryError)


class NpzWriter:
    """Writes arrays one after the other. After an error nothing is left. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(path.name + ".tmp")
        self._zip = zipfile.ZipFile(self._draft, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        try:
            self._zip.close()
            if kind is None:
                self._draft.replace(self._path)
        finally:
            self._draft.unlink(missing_ok=True)

    def write(self, name: str, content: NDArray[Any]) -> None:
        """Add the array `name`."""
        with self.member(name, content.shape, content.dtype) as member:
            member.write(np.ascontiguousarray(content).data)

    def member(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> IO[bytes]:
        """Begin the array `name`; its bytes, in C order, are to be written into what is returned."""
        # A fixed date, so that the same content makes the same file.
        info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED
        # A member that is opened by its ZipInfo does not take over the file's level: Python 3.13 has a public attribute for it.
        setattr(info, "compress_level" if hasattr(info, "compress_level") else "_compresslevel", COMPRESSION_LEVEL)
        info.external_attr = 0o644 << 16
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        member = self._zip.open(info, "w", force_zip64=n_bytes > _ZIP64_BYTES)
        npy.write_array_header_1_0(member, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
        return member

    def append(self, other: Path) -> None:
        """Add all arrays of a file this class wrote, as they are compressed there."""
        with zipfile.ZipFile(other) as source, other.open("rb") as stream:
            for info in source.infolist():
                self._copy(info, stream)

    def _copy(self, info: zipfile.ZipInfo, stream: IO[bytes]) -> None:
        stream.seek(info.header_offset)
        n_name, n_extra = struct.unpack_from("<HH", stream.read(_HEADER_BYTES), _LENGTHS_AT)
        stream.seek(n_name + n_extra, 1)
        target = self._zip.fp
        if target is None:
            raise ValueError("the file is closed already")
        added = copy.copy(info)
        target.seek(self._zip.start_dir)
        added.header_offset = target.tell()
        target.write(added.FileHeader(zip64=info.file_size > _ZIP64_BYTES))
        left = info.compress_size
        while left and (piece := stream.read(min(left, _COPY_BYTES))):
            target.write(piece)
            left -= len(piece)
        if left:
            raise DataError(f"{self._path}: {info.filename} ends early in the part it is in")
        self._zip.filelist.append(added)
        self._zip.NameToInfo[added.filename] = added
        self._zip.start_dir = target.tell()


class NpzFile:
    """Reads a file of arrays, whoever wrote it. A context manager; `kind` is what messages call the file."""

    def __init__(self, path: Path, kind: str) -> None:
        """Open the file.

        Raises:
            DataError: it is no zip file. OSError passes.
        """
        self.path = path
        with self._undamaged(f"not a {kind}; an interrupted copy?"):
            self._zip = zipfile.ZipFile(path)
        self.names = tuple(name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> NDArray[Any]:
        """The array `name`.

        Raises:
            DataError: it is not there or damaged.
        """
        with self.open(name) as member:
            shape, fortran, dtype = self.header(member, name)
            content = np.frombuffer(self.take(member, name, int(np.prod(shape)) * dtype.itemsize), dtype)
        return content.reshape(shape, order="F" if fortran else "C")

    def open(self, name: str) -> IO[bytes]:
        """The bytes of the array `name`, with its header.

        Raises:
            DataError: it is not there or damaged.
        """
        if name not in self.names:
            raise DataError(f"{self.path}: no member {name}.npy")
        with self._undamaged(f"{name} is damaged"):
            # Any other method is a damaged byte, and its decompressor has errors of its own.
            if self._zip.getinfo(f"{name}.npy").compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile("unknown compression")
            return self._zip.open(f"{name}.npy")

    def header(self, member: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        """Shape, order (true: Fortran's) and type of the array that begins in `member`.

        Raises:
            DataError: it is damaged, or does not hold numbers.
        """
        with self._undamaged(f"{name}: not an .npy array"):
            version = npy.read_magic(member)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(member)
        if dtype.kind not in "fiub":
            raise DataError(f"{self.path}: {name} holds {dtype}, expected numbers")
        return shape, bool(fortran), dtype

    def take(self, member: IO[bytes], name: str, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            DataError: there are not so many, or they are damaged.
        """
        with self._undamaged(f"{name} is damaged"):
            content = member.read(size)
        if len(content) != size:
            raise DataError(f"{self.path}: {name} ends after {len(content)} of {size} bytes")
        return content

    @contextmanager
    def _undamaged(self, what: str) -> Iterator[None]:
        """Turns what shows that the file is damaged into `DataError`."""
        try:
            yield
        except _DAMAGED as error:
            raise DataError(f"{self.path}: {what} ({error})") from None
        except OSError as error:
            # A damaged directory of the archive makes zipfile seek before the start.
            if error.errno != errno.EINVAL:
                raise
            raise DataError(f"{self.path}: {what} (its directory is damaged)") from None
