"""XRootD servers, as workers reach them: by the commands `xrdcp` and `xrdfs`, or by the Python module where there are none.

A copy that was just made is checked by the server's own Adler-32; where it computes none, the copy is read back.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from dune_prompt.checksum import adler32_of
from dune_prompt.errors import CommandError, ConfigError
from dune_prompt.process import run
from stages.errors import SiteError
from stages.storage import CALL_S, CLIENT_SETTINGS, copy_limit_s, error_of, known_adler32, split_address

_SIZE = re.compile(r"^Size:\s+(\d+)$", re.MULTILINE)
# A server that computes no checksums says so with one of these: 3000, 3006, 3012, 3013.
_NO_CHECKSUMS = frozenset({errno.EIO, errno.EINVAL})


class Commands:
    """One server, by `xrdcp` and `xrdfs`."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._env = CLIENT_SETTINGS | os.environ

    def fetch(self, place: str, target: Path, size_bytes: int | None) -> None:
        expected = self._size(place) if size_bytes is None else size_bytes
        self._run(["xrdcp", "--force", "--silent", place, str(target)], place, copy_limit_s(expected))
        _must_be_whole(target, expected, place)

    def store(self, source: Path, place: str) -> None:
        self._fs(place, "mkdir", "-p", split_address(place)[1].rpartition("/")[0])
        self._run(["xrdcp", "--force", "--silent", str(source), place], place, copy_limit_s(source.stat().st_size))

    def adler32(self, place: str, scratch: Path) -> tuple[int, str]:
        path, size_bytes = split_address(place)[1], self._size(place)
        try:
            answer = self._fs(place, "query", "checksum", f"{path}?cks.type=adler32", timeout_s=copy_limit_s(size_bytes))
        except OSError as error:
            if error.errno not in _NO_CHECKSUMS:
                raise
            answer = ""
        value = known_adler32(answer)
        return (size_bytes, value) if value else _read_back(self, place, scratch, size_bytes)

    def exists(self, place: str) -> bool:
        try:
            self._fs(place, "stat", split_address(place)[1])
        except FileNotFoundError:
            return False
        return True

    def rename(self, source: str, target: str) -> None:
        self._fs(source, "mv", split_address(source)[1], split_address(target)[1])

    def remove(self, place: str) -> None:
        with suppress(FileNotFoundError):
            self._fs(place, "rm", split_address(place)[1])

    def _size(self, place: str) -> int:
        found = _SIZE.search(self._fs(place, "stat", split_address(place)[1]))
        if found is None:
            raise OSError(errno.EIO, "no size in what xrdfs stat says", place)
        return int(found[1])

    def _fs(self, place: str, *words: str, timeout_s: float = CALL_S) -> str:
        return self._run(["xrdfs", self._server, *words], place, timeout_s)

    def _run(self, command: list[str], place: str, timeout_s: float) -> str:
        try:
            done = run(command, timeout_s=timeout_s, env=self._env, check=False)
        except ConfigError as error:
            raise SiteError(f"{place}: {error}") from None
        except CommandError as error:
            raise OSError(errno.ETIMEDOUT, str(error), place) from None
        if done.returncode != 0:
            raise error_of(done.stderr or done.stdout or f"{command[0]}: exit code {done.returncode}", place)
        return done.stdout


class Module:
    """One server, by the Python module."""

    def __init__(self, server: str) -> None:
        for key, value in CLIENT_SETTINGS.items():
            os.environ.setdefault(key, value)  # read by the client when it is loaded
        self._client = importlib.import_module("XRootD.client")
        self._flags = importlib.import_module("XRootD.client.flags")
        self._system = self._client.FileSystem(server)

    def fetch(self, place: str, target: Path, size_bytes: int | None) -> None:
        expected = self._size(place) if size_bytes is None else size_bytes
        self._copy(place, str(target), place, copy_limit_s(expected))
        _must_be_whole(target, expected, place)

    def store(self, source: Path, place: str) -> None:
        self._ask(place, self._system.mkdir, split_address(place)[1].rpartition("/")[0], self._flags.MkDirFlags.MAKEPATH)
        self._copy(str(source), place, place, copy_limit_s(source.stat().st_size))

    def adler32(self, place: str, scratch: Path) -> tuple[int, str]:
        path, size_bytes = split_address(place)[1], self._size(place)
        try:
            query = self._flags.QueryCode.CHECKSUM
            status, answer = self._system.query(query, f"{path}?cks.type=adler32", timeout=int(copy_limit_s(size_bytes)))
            value = known_adler32(_checked(status, answer, place).decode("ascii", "replace"))
        except OSError as error:
            if error.errno not in _NO_CHECKSUMS:
                raise
            value = None
        return (size_bytes, value) if value else _read_back(self, place, scratch, size_bytes)

    def exists(self, place: str) -> bool:
        try:
            self._ask(place, self._system.stat, split_address(place)[1])
        except FileNotFoundError:
            return False
        return True

    def rename(self, source: str, target: str) -> None:
        self._ask(source, self._system.mv, split_address(source)[1], split_address(target)[1])

    def remove(self, place: str) -> None:
        with suppress(FileNotFoundError):
            self._ask(place, self._system.rm, split_address(place)[1])

    def _size(self, place: str) -> int:
        return int(self._ask(place, self._system.stat, split_address(place)[1]).size)

    def _ask(self, place: str, method: Any, *arguments: Any) -> Any:
        status, answer = method(*arguments, timeout=int(CALL_S))
        return _checked(status, answer, place)

    def _copy(self, source: str, target: str, place: str, limit_s: float) -> None:
        process = self._client.CopyProcess()
        process.add_job(source, target, force=True, inittimeout=int(CALL_S), cptimeout=int(limit_s))
        _checked(process.prepare(), None, place)
        status, results = process.run()
        _checked(results[0]["status"] if results else status, None, place)


def _checked(status: Any, answer: Any, place: str) -> Any:
    if not status.ok:
        raise error_of(f"[{status.errno}] {status.message}" if status.errno else str(status.message), place)
    return answer


def _must_be_whole(copy: Path, size_bytes: int, place: str) -> None:
    """`xrdcp` has been seen to end well on a full disk, with a copy that was not whole."""
    found = copy.stat().st_size
    if found != size_bytes:
        raise OSError(errno.EIO, f"{found} of {size_bytes} bytes came", place)


def _read_back(storage: Commands | Module, place: str, scratch: Path, size_bytes: int) -> tuple[int, str]:
    try:
        storage.fetch(place, scratch, size_bytes)
        return adler32_of(scratch)
    finally:
        scratch.unlink(missing_ok=True)
