"""Mounted file systems: local disks, and EOS where it is mounted."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from threading import Event

from declare_daemon.storage.places import ascii_name, part_of
from declare_daemon.storage.protocol import Status
from dune_prompt.checksum import CHUNK_BYTES, adler32_of

# Files from this size on leave the page cache once they are copied: it belongs to the data acquisition's host.
LARGE_BYTES = 64 << 20


class LocalStorage:
    """Files by the path of a mounted file system."""

    def listing(self, folder: str) -> dict[str, int]:
        with os.scandir(folder) as entries:
            return {name if (name := entry.name).isascii() else ascii_name(name): entry.inode() for entry in entries}

    def stat(self, place: str) -> Status:
        found = Path(place).stat()
        return Status(found.st_size, found.st_mtime, stat.S_ISREG(found.st_mode), stat.S_ISDIR(found.st_mode))

    def read(self, place: str, limit_bytes: int) -> bytes:
        with Path(place).open("rb") as file:
            # As much room as asked for would be made, however small the file.
            return file.read(min(limit_bytes, os.fstat(file.fileno()).st_size))

    def open(self, place: str) -> FileIO:
        return Path(place).open("rb", buffering=0)

    def pieces(self, place: str) -> Iterator[memoryview]:
        buffer = bytearray(CHUNK_BYTES)
        view = memoryview(buffer)
        with self.open(place) as file:
            while got := file.readinto(buffer):
                yield view[:got]
            if file.tell() >= LARGE_BYTES:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def write(self, place: str, content: bytes) -> None:
        part = Path(part_of(place))
        part.write_bytes(content)
        part.replace(place)

    def receive(self, place: str, pieces: Iterable[memoryview]) -> None:
        path = Path(place)
        path.unlink(missing_ok=True)
        with path.open("xb") as file:
            written = flushed = 0
            for piece in pieces:
                written += file.write(piece)
                if written - flushed >= LARGE_BYTES:
                    flushed = _to_disk(file.fileno(), written)
            file.flush()
            os.fsync(file.fileno())
            if written >= LARGE_BYTES:
                _to_disk(file.fileno(), written)

    def adler32(self, place: str, stop: Event | None = None, *, new: bool = False) -> tuple[int, str]:
        return adler32_of(Path(place), stop)

    adler32_of_content = adler32

    def rename(self, source: str, target: str) -> None:
        # The only writers of these names are the daemon's; Linux has a rename that never overwrites, network file systems have not.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        Path(source).rename(target)

    def remove(self, place: str) -> None:
        Path(place).unlink()

    def make_folder(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)


def _to_disk(descriptor: int, written: int) -> int:
    """Write out what the page cache holds of a file and forget it there; returns `written`."""
    os.fdatasync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return written
