"""XRootD servers, EOS among them, through the client's Python module.

Numbers of errors: XRootD's `XProtocol.hh` (the server's) and `XrdClStatus.hh` (the client's).
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from io import SEEK_CUR, SEEK_END, SEEK_SET
from threading import Event, Lock
from typing import Any

from declare_daemon.storage.places import ascii_name, name_of, parent_of, part_of, split_address
from declare_daemon.storage.protocol import SETTLE_S, Status
from dune_prompt.checksum import Adler32
from dune_prompt.errors import ConfigError, TransientError

# Longest waits for an answer: anything about names, one piece of data, and a checksum the server may have to compute (plus its reading).
CALL_S = 15
DATA_S = 120
CHECKSUM_S = 60
SLOWEST_BYTES_PER_S = 20e6

PIECE_BYTES = 8 << 20
MAX_ERROR_TEXT = 300

# The client's own defaults make a thread wait minutes for a server that is down, and then refuse to try it for half an hour. Its fork
# handlers stop its threads, and wait for ever for one that is just closing a file; children of ours never use its connections.
# What the operator has set in the environment (XRD_CONNECTIONWINDOW, …) stays.
CLIENT_SETTINGS = {"ConnectionWindow": 15, "ConnectionRetry": 1, "StreamErrorWindow": 0, "TimeoutResolution": 1, "RunForkHandler": 0}

_ERROR_RESPONSE, _EXPIRED, _PARTIAL = 400, 206, 2
_AUTHENTICATION = frozenset({203, 204})
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
# A server that computes none says so with one of these: 3006 invalid request, 3013 unsupported, 3000 argument invalid, 3012 server error.
_NO_CHECKSUMS = frozenset({3000, 3006, 3012, 3013})
_MODE_OF_FILES, _MODE_OF_FOLDERS = 0o644, 0o755
_SAID = re.compile(r"^\[\w+\] (?:Server responded with an error: \[\d+\] )?")


@cache
def _client() -> Any:
    """The module `XRootD.client`, with settings for a daemon."""
    try:
        client = importlib.import_module("XRootD.client")
    except ImportError:
        raise ConfigError("storage at root:// needs the Python module XRootD: pip install 'dune-prompt[dune]'") from None
    for key, value in CLIENT_SETTINGS.items():
        client.EnvPutInt(key, value)
    return client


# Size and time of last change of a file, and since when, by our clock, they are so.
Seen = tuple[int, int, float]


class XRootDStorage:
    """Files of one server `root://host[:port]`.

    A server remembers the checksum it gave by the second of the file's last change. It is trusted only when we have seen size and
    time of last change stay the same for `SETTLE_S` by our own monotonic clock: so that second is over whatever the server's clock
    says, and a later change gives the file another time. The listing sees every file of a folder, so in practice nobody waits.
    """

    def __init__(self, server: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """No connection is made yet.

        Raises:
            ConfigError: the client is not installed.
        """
        client = _client()
        self._flags = client.flags
        self._server, self._clock = server, clock
        self._system = client.FileSystem(server)
        self._lock = Lock()
        # What was seen of the files of listed folders, by name, and of other files we wait for, by place.
        self._listed: dict[str, dict[str, Seen]] = {}
        self._waited_for: dict[str, Seen] = {}

    def listing(self, folder: str) -> dict[str, int]:
        try:
            entries = self._ask(folder, self._system.dirlist, self._flags.DirListFlags.STAT)
        except (SystemError, UnicodeDecodeError):
            # Nothing the client's module does helps: the file must be renamed on the server.
            raise OSError(errno.EILSEQ, "a name in it is not UTF-8: the XRootD module cannot list such a folder", folder) from None
        listing: dict[str, int] = {}
        now = self._clock()
        with self._lock:
            before = self._listed.get(folder, {})
            seen = self._listed[folder] = {}
            for entry in entries:
                name, info = entry.name if entry.name.isascii() else ascii_name(entry.name), entry.statinfo
                if info is None:  # it vanished while the server listed
                    continue
                listing[name] = hash((info.size, info.modtime, info.id))
                seen[name] = _still(info, now, before.get(name))
        return listing

    def stat(self, place: str) -> Status:
        info = self._info(place)
        is_folder, is_other = info.flags & self._flags.StatInfoFlags.IS_DIR, info.flags & self._flags.StatInfoFlags.OTHER
        return Status(info.size, float(info.modtime), not (is_folder or is_other), bool(is_folder))

    def read(self, place: str, limit_bytes: int) -> bytes:
        with self.open(place) as file:
            return file.read(limit_bytes) or b""

    def open(self, place: str) -> XRootDFile:
        return XRootDFile(place)

    def pieces(self, place: str) -> Iterator[memoryview]:
        with self.open(place) as file:
            while piece := file.read(PIECE_BYTES):
                yield memoryview(piece)

    def write(self, place: str, content: bytes) -> None:
        part = part_of(place)
        self.receive(part, [memoryview(content)])
        try:
            self._move(part, place)
        except FileExistsError:
            # Not every server renames over a file; then there is none for an instant.
            self.remove(place)
            self._move(part, place)

    def receive(self, place: str, pieces: Iterable[memoryview]) -> None:
        # A new file, so that a late write to the old one, which the server still has in hand after a timeout, cannot reach it.
        with suppress(FileNotFoundError):
            self.remove(place)
        client = _client()
        file = client.File()
        _check(file.open(place, self._flags.OpenFlags.NEW, _MODE_OF_FILES, timeout=CALL_S), place)
        try:
            offset = 0
            for piece in pieces:
                _check(file.write(bytes(piece), offset, timeout=DATA_S), place)
                offset += len(piece)
            _check(file.sync(timeout=DATA_S), place)
            # Some servers accept a file only now.
            _check(file.close(timeout=DATA_S), place)
        finally:
            if file.is_open():
                file.close(timeout=CALL_S)

    def adler32(self, place: str, stop: Event | None = None, *, new: bool = False) -> tuple[int, str]:
        info = self._info(place)
        if not new:
            self._must_be_settled(place, info)
        value = self._known_adler32(place, info.size)
        if value is None:
            return self.adler32_of_content(place, stop)
        after = self._info(place)
        if (after.size, after.modtime, after.id) != (info.size, info.modtime, info.id):
            raise TransientError(f"{place}: changed while its checksum was asked for")
        with self._lock:
            self._waited_for.pop(place, None)
        return info.size, value

    def adler32_of_content(self, place: str, stop: Event | None = None) -> tuple[int, str]:
        total = Adler32()
        for piece in self.pieces(place):
            total.add(piece)
            if stop is not None and stop.is_set():
                raise TransientError(f"{place}: stopped while reading")
        return total.result

    def rename(self, source: str, target: str) -> None:
        # Servers on a plain disk rename over what is there without a word.
        try:
            self._info(target)
        except FileNotFoundError:
            self._move(source, target)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)

    def remove(self, place: str) -> None:
        self._ask(place, self._system.rm)

    def make_folder(self, folder: str) -> None:
        self._ask(folder, self._system.mkdir, self._flags.MkDirFlags.MAKEPATH, _MODE_OF_FOLDERS)

    def _ask(self, place: str, method: Callable[..., tuple[Any, Any]], *arguments: Any) -> Any:
        return _check(method(split_address(place)[1], *arguments, timeout=CALL_S), place)

    def _info(self, place: str) -> Any:
        return self._ask(place, self._system.stat)

    def _move(self, source: str, target: str) -> None:
        self._ask(source, self._system.mv, split_address(target)[1])

    def _must_be_settled(self, place: str, info: Any) -> None:
        now = self._clock()
        with self._lock:
            listed = self._listed.get(parent_of(place), {}).get(name_of(place))
            seen = self._waited_for[place] = _still(info, now, listed, self._waited_for.get(place))
        if now - seen[2] < SETTLE_S:
            raise TransientError(f"{place}: changed a moment ago, its checksum is asked for when it has stayed the same for {SETTLE_S:g} s")

    def _known_adler32(self, place: str, size_bytes: int) -> str | None:
        """The server's Adler-32; None if it gives none."""
        path = split_address(place)[1]
        timeout = CHECKSUM_S + int(size_bytes / SLOWEST_BYTES_PER_S)
        status, answer = self._system.query(self._flags.QueryCode.CHECKSUM, f"{path}?cks.type=adler32", timeout=timeout)
        if not status.ok and status.code == _ERROR_RESPONSE and status.errno in _NO_CHECKSUMS:
            return None
        kind, _, value = _check((status, answer), place).rstrip(b"\0").decode("ascii", "replace").partition(" ")
        # Another kind than was asked for is what a server gives that knows no other.
        return value.strip().lower().zfill(8) if kind == "adler32" and value.strip() else None


class XRootDFile(io.RawIOBase):
    """A file of a server, open for reading. `failure` holds number, text and place of the last read that failed.

    Not the error itself, which would keep alive all that was in hand: the HDF5 library crashes at the end of the process over that.
    """

    def __init__(self, place: str) -> None:
        super().__init__()
        client = _client()
        self.name = place
        self.failure: tuple[int, str, str] | None = None
        self._offset = 0
        self._file = client.File()
        _check(self._file.open(place, client.flags.OpenFlags.READ, timeout=CALL_S), place)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        if whence == SEEK_END:
            offset += int(_check(self._file.stat(timeout=CALL_S), self.name).size)
        elif whence == SEEK_CUR:
            offset += self._offset
        self._offset = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return self.readall()
        try:
            content = bytes(_check(self._file.read(self._offset, size, timeout=DATA_S), self.name))
        except OSError as error:
            self.failure = (error.errno or errno.EIO, error.strerror or str(error), self.name)
            raise
        self._offset += len(content)
        return content

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed and self._file.is_open():
            self._file.close(timeout=CALL_S)
        super().close()


def _still(info: Any, now: float, *earlier: Seen | None) -> Seen:
    """What is seen of a file now: the earlier sight if nothing has changed since."""
    seen = (info.size, info.modtime)
    return next((before for before in earlier if before is not None and before[:2] == seen), (*seen, now))


def _check(outcome: tuple[Any, Any], place: str) -> Any:
    """The answer of a call that went well.

    Raises:
        OSError: it did not, of the class that says how.
    """
    status, answer = outcome
    if status.ok and status.code != _PARTIAL:
        return answer
    said = _SAID.sub("", " ".join(str(status.message).split()))[:MAX_ERROR_TEXT]
    if status.ok:
        number, said = errno.EIO, "only a part of the answer came"
    elif status.code == _ERROR_RESPONSE:
        # What the server's own file system says has no number of its own here.
        number = errno.EXDEV if "cross-device" in said.lower() else _ERRNO_OF.get(status.errno, errno.EIO)
    elif status.code == _EXPIRED:
        number, said = errno.ETIMEDOUT, "no answer in time"
    else:
        number = errno.EACCES if status.code in _AUTHENTICATION else errno.EIO
    raise OSError(number, said or os.strerror(number), place)
