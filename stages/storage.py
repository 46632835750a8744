"""The places files are copied from and to: mounted file systems, and XRootD servers (EOS, dCache) by command or by Python module.

A place is a path or a `root://host[:port]//path` address. Whatever the storage, what goes wrong is an `OSError` of the kind that says how.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any, Protocol

from dune_prompt.checksum import adler32_of
from stages.errors import SiteError

# Longest waits: for anything about names, and for content, which may come slowly.
CALL_S = 60.0
SLOWEST_BYTES_PER_S = 2e6
LONGEST_COPY_S = 2 * 3600.0
MAX_ERROR_TEXT = 300

# The client's defaults wait minutes for a server that is down and then half an hour before it is tried again. What the site has set stays.
CLIENT_SETTINGS = {"XRD_CONNECTIONWINDOW": "20", "XRD_CONNECTIONRETRY": "2", "XRD_STREAMERRORWINDOW": "0", "XRD_TIMEOUTRESOLUTION": "1"}

# Numbers of errors: XRootD's XProtocol.hh.
_ERRNO_OF = {
    3003: errno.EBUSY,
    3009: errno.ENOSPC,
    3010: errno.EACCES,
    3011: errno.ENOENT,
    3016: errno.EISDIR,
    3018: errno.EEXIST,
    3021: errno.EDQUOT,
    3025: errno.EROFS,
    3030: errno.EACCES,
}
_NUMBER = re.compile(r"\[(3\d{3})\]")
_ADDRESS = re.compile(r"(?P<server>x?roots?://[^/\s]+)/(?P<path>.+)")


class Storage(Protocol):
    """One kind of storage. Every method raises `OSError`, or `SiteError` when this worker has no means to reach it."""

    def fetch(self, place: str, target: Path, size_bytes: int | None) -> None:
        """Copy a file to the local `target`, in place of what is there. `size_bytes`, if known, sets how long it may take."""

    def store(self, source: Path, place: str) -> None:
        """Copy the local file `source` to `place`, in place of what is there, and make its folder."""

    def adler32(self, place: str, scratch: Path) -> tuple[int, str]:
        """Size and Adler-32 of what the storage holds now. `scratch` names a file that may be used meanwhile."""

    def exists(self, place: str) -> bool:
        """Whether there is a file."""

    def rename(self, source: str, target: str) -> None:
        """Give a file its final name in the same folder, in place of what is there."""

    def remove(self, place: str) -> None:
        """Delete a file; one that is gone already is fine."""


def storage_of(place: str) -> Storage:
    """The storage a place is on.

    Raises:
        SiteError: it is none we know, or this worker has nothing to reach it with.
    """
    if "://" not in place:
        return Mounted()
    server, _ = split_address(place)
    if shutil.which("xrdcp") and shutil.which("xrdfs"):
        from stages.xrootd import Commands

        return Commands(server)
    from importlib.util import find_spec

    if find_spec("XRootD") is None:
        raise SiteError(f"{place}: this worker has neither the commands xrdcp and xrdfs nor the Python module XRootD")
    from stages.xrootd import Module

    return Module(server)


def split_address(place: str) -> tuple[str, str]:
    """Server and absolute path of `root://host[:port]//path`.

    Raises:
        SiteError: it is no such address.
    """
    if (found := _ADDRESS.fullmatch(place)) is None:
        raise SiteError(f"{place}: neither a path nor a root:// address")
    return found["server"], "/" + found["path"].lstrip("/")


def copy_limit_s(size_bytes: int | None) -> float:
    """How long copying so many bytes may take."""
    return LONGEST_COPY_S if size_bytes is None else CALL_S + size_bytes / SLOWEST_BYTES_PER_S


def error_of(text: str, place: str) -> OSError:
    """What an XRootD client said, as the error of the operating system that means the same."""
    said = " ".join(text.replace("\0", "").split())[:MAX_ERROR_TEXT]
    if number := _NUMBER.search(said):
        code = _ERRNO_OF.get(int(number[1]), errno.EIO)
    else:
        code = errno.EACCES if "auth failed" in said.lower() else errno.EIO
    return OSError(code, said or os.strerror(code), place)


class Mounted:
    """A mounted file system."""

    def fetch(self, place: str, target: Path, size_bytes: int | None) -> None:
        shutil.copyfile(place, target)

    def store(self, source: Path, place: str) -> None:
        path = Path(place)
        # Not all folders above: on a worker without the mount, files would go to its own disk and nobody would notice.
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(exist_ok=True)
        with source.open("rb") as content, path.open("wb") as copy:
            shutil.copyfileobj(content, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
            # So that checking the copy reads what is stored, not what is still in memory.
            os.posix_fadvise(copy.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def adler32(self, place: str, scratch: Path) -> tuple[int, str]:
        return adler32_of(Path(place))

    def exists(self, place: str) -> bool:
        try:
            Path(place).stat()
        except FileNotFoundError:
            return False
        return True

    def rename(self, source: str, target: str) -> None:
        Path(source).replace(target)

    def remove(self, place: str) -> None:
        Path(place).unlink(missing_ok=True)


def known_adler32(answer: Any) -> str | None:
    """The Adler-32 in a server's answer `adler32 0a1b2c3d`; None if it gave another kind, or none."""
    kind, _, value = str(answer).replace("\0", "").strip().partition(" ")
    value = value.strip().lower().zfill(8)
    return value if kind == "adler32" and re.fullmatch(r"[0-9a-f]{8}", value) else None
