"""Adler-32 of large files, the checksum of MetaCat, SAM and Rucio. Several run side by side: reading and adding up release the GIL."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from dune_prompt.errors import TransientError

if TYPE_CHECKING:
    from threading import Event

try:
    _adler32 = importlib.import_module("zlib_ng.zlib_ng").adler32  # vectorised, several times faster
except ImportError:
    from zlib import adler32 as _adler32

CHUNK_BYTES = 1 << 20


def adler32_of(path: Path, stop: Event | None = None) -> tuple[int, str]:
    """Size in bytes and Adler-32 (8 lower-case hexadecimal digits) of a file, read once in 1 MiB pieces.

    Raises:
        TransientError: `stop` was set meanwhile. OSError passes.
    """
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    value, size = 1, 0
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            value = _adler32(view[:got], value)
            size += got
            if stop is not None and stop.is_set():
                raise TransientError(f"{path}: stopped while reading")
    return size, f"{value:08x}"
