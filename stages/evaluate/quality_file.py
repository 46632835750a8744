"""Reads the arrays that `nf_sp` gathered: `<element>/<name>.npy` in one zip file, which `stages.nf_sp.quality_file` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.npz import NpzFile

# Images are read one by one, as they are drawn.
IMAGE = "picture_"


class QualityArrays(NpzFile):
    """The arrays of a quality file. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DataError: it is damaged.
        """
        super().__init__(path, "quality file of nf_sp")

    def by_element(self) -> dict[str, dict[str, NDArray[Any]]]:
        """All arrays but the images, by element and name.

        Raises:
            DataError: the file is damaged.
        """
        arrays: dict[str, dict[str, NDArray[Any]]] = {}
        for member in self.names:
            element, _, name = member.partition("/")
            if not name.startswith(IMAGE):
                arrays.setdefault(element, {})[name] = self.read(member)
        return arrays

    def image(self, element: str, name: str) -> NDArray[np.int8]:
        """The image `name` of `element`, [channels, pixels].

        Raises:
            DataError: the file is damaged, or has none of this name.
        """
        if f"{element}/{name}" not in self.names:
            raise DataError(f"{self.path}: no image {name} of {element}")
        image = self.read(f"{element}/{name}")
        if image.dtype != np.int8 or image.ndim != 2:
            raise DataError(f"{self.path}: {name} of {element} is {image.dtype} {image.shape}, no image")
        return image
