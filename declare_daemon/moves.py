"""Moves a file and its sidecar: data first, then the sidecar, over nothing that is there, and again after a crash at any point."""

from __future__ import annotations

import errno
from contextlib import suppress
from threading import Event

from declare_daemon.storage import copy, exists, measured, name_of, parent_of, sidecar_of, storage_of
from dune_prompt.errors import ConflictError, DataError


class MissingError(DataError):
    """The file is neither where it was nor where it was to go."""


def move_with_sidecar(source: str, target: str, adler32: str | None = None, stop: Event | None = None) -> None:
    """Bring `source` and its sidecar to `target`; what is there already is fine. The folder of `target` must exist.

    By rename; to another file system or server by a verified copy. `adler32` is what the data must have then, if they are copied.

    Raises:
        MissingError: the data are at neither place.
        ConflictError: other data, or another sidecar, are at `target`. Nothing was moved.
        TransientError: `stop` was set meanwhile, or a file is too young to be compared or copied.
        OSError: as the storage says.
    """
    near, far = sidecar_of(source), sidecar_of(target)
    if exists(source) and exists(near) and exists(far) and not _same_content(near, far, stop):
        raise ConflictError(f"{far}: there is another sidecar of that name")
    if not _move(source, target, adler32, stop):
        raise MissingError(f"{name_of(source)}: neither at {parent_of(source)} nor at {parent_of(target)}")
    if exists(near):
        if not exists(far):
            _move(near, far, None, stop)
        elif _same_content(near, far, stop):
            storage_of(near).remove(near)
        # else it came after the data had gone: whose it is nobody knows, and it is left alone.


def remove_with_sidecar(place: str) -> None:
    """Delete a file and its sidecar; what is gone already is fine. The data go first: a file without sidecar would never be seen again.

    Raises:
        OSError: as the storage says.
    """
    for each in (place, sidecar_of(place)):
        with suppress(FileNotFoundError):
            storage_of(each).remove(each)


def _move(source: str, target: str, adler32: str | None, stop: Event | None) -> bool:
    """Whether the file is at `target` now."""
    here = storage_of(source)
    if not exists(source):
        return exists(target)
    if exists(target):
        if not _same_content(source, target, stop):
            raise ConflictError(f"{target}: there is another file of that name; {source} stays where it is")
        here.remove(source)
        return True
    if here is storage_of(target):
        try:
            here.rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return True
    copy(source, target, here.adler32(source, stop) if adler32 is None else (here.stat(source).size_bytes, adler32), stop)
    here.remove(source)
    return True


def _same_content(one: str, other: str, stop: Event | None) -> bool:
    size_bytes = storage_of(one).stat(one).size_bytes
    if size_bytes != storage_of(other).stat(other).size_bytes:
        return False
    content = storage_of(one).adler32(one, stop)
    return measured(other, content, stop) == content
