"""Reads the arrays that `nf_sp` gathered: `<element>/<name>.npy` in one zip file, which `stages.nf_sp.quality_file` writes."""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dune_prompt.errors import DataError

# Images are read one by one, as they are drawn.
IMAGE = "picture_"

# What zipfile, zlib and NumPy raise for a damaged file. RuntimeError: a member looks encrypted; MemoryError: its shape is absurd.
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, MemoryError)


class QualityArrays:
    """The arrays of a quality file. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DataError: it is damaged.
        """
        self._path = path
        with self._whole():
            self._zip = zipfile.ZipFile(path)

    def __enter__(self) -> QualityArrays:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def by_element(self) -> dict[str, dict[str, NDArray[Any]]]:
        """All arrays but the images, by element and name.

        Raises:
            DataError: the file is damaged.
        """
        arrays: dict[str, dict[str, NDArray[Any]]] = {}
        for member in self._zip.namelist():
            element, _, name = member.removesuffix(".npy").partition("/")
            if not name.startswith(IMAGE):
                arrays.setdefault(element, {})[name] = self._read(member)
        return arrays

    def image(self, element: str, name: str) -> NDArray[np.int8]:
        """The image `name` of `element`, [channels, pixels].

        Raises:
            DataError: the file is damaged, or has none of this name.
        """
        try:
            image = self._read(f"{element}/{name}.npy")
        except KeyError:
            raise DataError(f"{self._path}: no image {name} of {element}") from None
        if image.dtype != np.int8 or image.ndim != 2:
            raise DataError(f"{self._path}: {name} of {element} is {image.dtype} {image.shape}, no image")
        return image

    def _read(self, member: str) -> NDArray[Any]:
        with self._whole():
            # Any other method is a damaged byte, and its decompressor has errors of its own.
            if self._zip.getinfo(member).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile(f"{member}: unknown compression")
            with self._zip.open(member) as stream:
                content: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        return content

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Turns what shows that the file is damaged into `DataError`."""
        try:
            yield
        except _DAMAGED as error:
            raise DataError(f"{self._path}: not a quality file of nf_sp ({error})") from None
        except OSError as error:
            # A damaged directory of the archive makes zipfile seek before the start.
            if error.errno != errno.EINVAL:
                raise
            raise DataError(f"{self._path}: not a quality file of nf_sp (its directory is damaged)") from None
