"""Unpacks archives the tests have made themselves, on all Pythons: before 3.11.4 there are no filters, from 3.12 on one must be named."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpack_all(archive: tarfile.TarFile, folder: str | Path) -> None:
    """Unpack everything into `folder`."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="tar")
    else:
        archive.extractall(folder)
