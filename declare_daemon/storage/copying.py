"""Copies a file between any two places, verified from end to end, over nothing that is there, and again after a kill at any point."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from threading import Event

from declare_daemon.storage.choice import exists, storage_of
from declare_daemon.storage.places import is_xrootd, part_of
from declare_daemon.storage.protocol import Storage
from dune_prompt.checksum import Adler32
from dune_prompt.errors import ConflictError, TransientError


def copy(source: str, target: str, expected: tuple[int, str], stop: Event | None = None) -> None:
    """Bring a copy of `source`, of which size and Adler-32 are `expected`, to `target`. The folder of `target` must exist.

    The content goes to a hidden name beside the target, is verified there, and then gets its name.

    Raises:
        ConflictError: `source` has other content now, or something else is at `target`. Nothing was changed.
        TransientError: `stop` was set meanwhile, or a file is too young to be judged.
        OSError: as the storages say.
    """
    here, there = storage_of(source), storage_of(target)
    if exists(target):
        if (found := measured(target, expected, stop)) != expected:
            raise ConflictError(f"{target}: there is another file of that name, {_words(found)}; {source} stays where it is")
        return
    size_bytes = here.stat(source).size_bytes
    if size_bytes != expected[0]:
        raise ConflictError(f"{source}: has {size_bytes} bytes now, not {expected[0]}")
    part = part_of(target)
    sent = Adler32()
    there.receive(part, _passing(here, source, sent, stop))
    if sent.result != expected:
        there.remove(part)
        raise ConflictError(f"{source}: has {_words(sent.result)} now, not {_words(expected)}")
    if (arrived := there.adler32(part, stop, new=True)) != expected:
        there.remove(part)
        raise OSError(errno.EIO, f"the copy has {_words(arrived)}, not {_words(expected)}", part)
    if not is_xrootd(source) and not is_xrootd(target):
        shutil.copystat(source, part)
    there.rename(part, target)


def measured(place: str, expected: tuple[int, str | None], stop: Event | None = None) -> tuple[int, str]:
    """Size and Adler-32 of a file of which these, as far as they are known, are expected.

    An answer of another checksum is checked against the bytes: a server may remember a wrong one.

    Raises:
        TransientError: `stop` was set meanwhile, or the file is too young to be judged.
        OSError: as the storage says.
    """
    storage = storage_of(place)
    found = storage.adler32(place, stop)
    if expected[1] in (None, found[1]) or found[0] != expected[0] or not is_xrootd(place):
        return found
    return storage.adler32_of_content(place, stop)


def _passing(storage: Storage, source: str, total: Adler32, stop: Event | None) -> Iterator[memoryview]:
    """The pieces of `source`, added up in `total` as they pass."""
    for piece in storage.pieces(source):
        total.add(piece)
        yield piece
        if stop is not None and stop.is_set():
            raise TransientError(f"{source}: stopped while copying")


def _words(content: tuple[int, str]) -> str:
    return f"{content[0]} bytes with adler32 {content[1]}"
