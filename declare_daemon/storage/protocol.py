"""What the daemon asks of storage. A place is a text: the path of a mounted file system, or a `root://host[:port]//path` address.

Errors are those of the operating system whatever the storage: `FileNotFoundError`, `PermissionError`, `FileExistsError`, other `OSError`
when it is away or slow (with `strerror` and `filename` filled in).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import RawIOBase
from threading import Event
from typing import Protocol

# A server keeps the checksum it gave for a file until the second of the file's last change is over: asked too early, it is wrong for ever.
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Status:
    """What lies at a place: its size, and when it was last changed (seconds since the Unix epoch, by the storage's clock)."""

    size_bytes: int
    changed_at: float
    is_file: bool = True
    is_folder: bool = False


class Storage(Protocol):
    """One kind of storage. Folders are made by `make_folder`; some servers make the missing ones of a new name too."""

    def listing(self, folder: str) -> dict[str, int]:
        """Names of a folder's entries, each with a number that changes when another file takes the name.

        Characters beyond ASCII, which no catalogue accepts in a name, are written as Python escapes.
        """

    def stat(self, place: str) -> Status:
        """Size and time of last change."""

    def read(self, place: str, limit_bytes: int) -> bytes:
        """The first `limit_bytes` of a file."""

    def open(self, place: str) -> RawIOBase:
        """A file to read in any order; the caller closes it."""

    def pieces(self, place: str) -> Iterator[memoryview]:
        """The content of a file from start to end. A piece is overwritten by the next one."""

    def write(self, place: str, content: bytes) -> None:
        """Write a small file in one step: a reader sees the old file or the whole new one."""

    def receive(self, place: str, pieces: Iterable[memoryview]) -> None:
        """Write a file from its pieces, in place of one that is there; it is safe on disk when this returns, half-written if it fails."""

    def adler32(self, place: str, stop: Event | None = None, *, new: bool = False) -> tuple[int, str]:
        """Size and Adler-32 (8 lower-case hexadecimal digits) as the storage has them now.

        `new`: we have just written the file, under a name nobody else uses, so its age does not matter.

        Raises:
            TransientError: `stop` was set meanwhile, or the file is too young for the server's answer to be trusted (`SETTLE_S`).
        """

    def adler32_of_content(self, place: str, stop: Event | None = None) -> tuple[int, str]:
        """The same of the bytes as they are read now, whatever a server remembers.

        Raises:
            TransientError: `stop` was set meanwhile.
        """

    def rename(self, source: str, target: str) -> None:
        """Give a file another place in the same storage; `OSError` with EXDEV if it is another file system. Overwrites nothing."""

    def remove(self, place: str) -> None:
        """Delete a file."""

    def make_folder(self, folder: str) -> None:
        """Make a folder and those above it; one that is there is fine."""
