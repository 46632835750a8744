"""Opens HDF5 files and reads bytes of their datasets; tells a bad file from a file system that is away.

The data acquisition writes contiguous, uncompressed datasets: their bytes are read from the file directly, past HDF5, at the offset
HDF5 tells. Reading, not mapping: an I/O error of a mount is then an exception instead of the end of the process.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError, DunePromptError, TransientError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# What the system answers when a broken file makes HDF5 read at an address that cannot be.
_ABSURD_ADDRESS = {errno.EINVAL, errno.EFBIG, errno.EOVERFLOW}
_ERRNO = re.compile(r"errno = (\d+)")
_TRUNCATED = re.compile(r"truncated file: eof = (\d+), .*stored_eof = (\d+)")


@dataclass(frozen=True, slots=True)
class ByteDataset:
    """A dataset of bytes: its name in the group, its HDF5 path, its length, where it starts in the file (None: not in one piece)."""

    name: str
    path: str
    size_bytes: int
    offset: int | None


def open_hdf5(path: Path) -> h5py.File:
    """Open `path` for reading, without locks (mounts do not all have them).

    Raises:
        DataError: it is no HDF5 file, or a truncated or broken one.
        TransientError: the file system does not give it.
    """
    try:
        with path.open("rb", buffering=0) as file:
            signature = file.read(len(_SIGNATURE))
    except OSError as error:
        raise TransientError(f"{path}: cannot be read ({error.strerror})") from None
    if not signature:
        raise DataError(f"{path}: the file is empty")
    if signature != _SIGNATURE:
        raise DataError(f"{path}: not an HDF5 file (it starts with {signature!r})")
    with hdf5_errors(path):
        return h5py.File(path, "r", locking=False)


@contextmanager
def hdf5_errors(path: Path, where: str = "") -> Iterator[None]:
    """Turn what h5py and the system raise into `DataError` or `TransientError` naming the file and `where` in it."""
    place = f"{path}: {where}" if where else str(path)
    try:
        yield
    except DunePromptError:
        raise
    except OSError as error:
        raise _explain(error, place) from None
    except (KeyError, RuntimeError, TypeError, UnicodeError, ValueError) as error:
        raise DataError(f"{place}: {error.args[0] if error.args else type(error).__name__}") from None


def _explain(error: OSError, place: str) -> DunePromptError:
    # HDF5 hides the system's error in its message; without one, it is the content that is wrong.
    found = _ERRNO.search(str(error))
    number = error.errno or (int(found[1]) if found else 0)
    if number and number not in _ABSURD_ADDRESS:
        return TransientError(f"{place}: cannot be read ({os.strerror(number)})")
    if cut := _TRUNCATED.search(str(error)):
        return DataError(f"{place}: truncated: {cut[1]} bytes of {cut[2]}")
    if "file locking" in str(error):
        return TransientError(f"{place}: open elsewhere in this process, with locks")
    return DataError(f"{place}: broken HDF5 ({error})")


def names_in(group: h5py.Group) -> list[str]:
    """The names in `group`, in order; a name that is no text, in a broken file, is left out."""
    return [name for name in group if isinstance(name, str)]


def list_datasets(group: h5py.Group) -> tuple[ByteDataset, ...]:
    """The datasets directly in `group`, in the order of their names."""
    found = []
    for name in names_in(group):
        item = h5py.h5o.open(group.id, name.encode())
        if isinstance(item, h5py.h5d.DatasetID):
            size = int(np.prod(item.shape, dtype=np.int64)) * item.get_type().get_size()
            found.append(ByteDataset(name, f"{group.name}/{name}", size, item.get_offset()))
    return tuple(found)


def read_bytes(file: h5py.File, dataset: ByteDataset, out: NDArray[np.uint8], start: int = 0) -> None:
    """Fill `out` with the bytes of `dataset` from `start` on.

    Raises:
        DataError: the dataset ends before, or its content is broken.
        TransientError: the file system does not give it.
    """
    path = Path(file.filename)
    if start + out.size > dataset.size_bytes:
        raise DataError(f"{path}: {dataset.path}: {dataset.size_bytes} bytes, {start + out.size} expected")
    with hdf5_errors(path, dataset.path):
        if dataset.offset is None:
            stored = file[dataset.path]
            if stored.dtype.itemsize != 1:
                raise DataError(f"{path}: {dataset.path}: holds {stored.dtype}, not bytes")
            shape = (out.size, *stored.shape[1:])
            stored.read_direct(out.view(stored.dtype).reshape(shape), np.s_[start : start + out.size])
            return
        view = out.data
        position = dataset.offset + start
        while view:
            n_read = os.preadv(file.id.get_vfd_handle(), [view], position)
            if n_read == 0:
                raise DataError(f"{path}: {dataset.path}: truncated, the file ends {len(view)} bytes before it")
            view, position = view[n_read:], position + n_read
