"""Moves a file and its sidecar: data first, then the sidecar, over nothing that is there, and again after a crash at any point."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from dune_prompt.checksum import adler32_of
from dune_prompt.errors import ConflictError, DataError
from dune_prompt.records import SIDECAR_SUFFIX


class MissingError(DataError):
    """The file is neither where it was nor where it was to go."""


def sidecar_of(path: Path) -> Path:
    """The sidecar `<name>.json` beside a file."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def move_with_sidecar(source: Path, target: Path, adler32: str | None = None) -> None:
    """Bring `source` and its sidecar to `target`; what is there already is fine. The folder of `target` must exist.

    By rename; to another file system by a verified copy. `adler32` is what the data must have then, if they are copied.

    Raises:
        MissingError: the data are at neither place.
        ConflictError: other data, or another sidecar, are at `target`. Nothing was moved.
        OSError: as the file system says.
    """
    beside, beyond = sidecar_of(source), sidecar_of(target)
    if source.exists() and beside.exists() and beyond.exists() and not _same_content(beside, beyond):
        raise ConflictError(f"{beyond}: there is another sidecar of that name")
    if not _move(source, target, adler32):
        raise MissingError(f"{source.name}: neither at {source.parent} nor at {target.parent}")
    if beside.exists():
        if not beyond.exists():
            _move(beside, beyond, None)
        elif _same_content(beside, beyond):
            beside.unlink()
        # else it came after the data had gone: whose it is nobody knows, and it is left alone.


def _move(source: Path, target: Path, adler32: str | None) -> bool:
    """Whether the file is at `target` now."""
    if not source.exists():
        return target.exists()
    if target.exists():
        if not _same_content(source, target):
            raise ConflictError(f"{target}: there is another file of that name; {source} stays where it is")
        source.unlink()
        return True
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target, adler32)
        source.unlink()
    return True


def _copy(source: Path, target: Path, adler32: str | None) -> None:
    before = adler32_of(source)
    if adler32 is not None and before[1] != adler32:
        raise ConflictError(f"{source}: has adler32 {before[1]} now, it was declared with {adler32}")
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    shutil.copystat(source, part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    if (after := adler32_of(part)) != before:
        part.unlink()
        raise OSError(errno.EIO, f"copy has size and adler32 {after} instead of {before}", str(part))
    part.rename(target)


def _same_content(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and adler32_of(one) == adler32_of(other)
