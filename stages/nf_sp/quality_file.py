"""Writes the arrays that `nf_sp` gathers: `<element>/<name>.npy` in one zip file, which `stages.evaluate.quality_file` reads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from stages.frames import COMPRESSION_LEVEL


class QualityWriter:
    """Writes arrays as they come. The file has its name only when it is complete; after an error nothing is left. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(path.name + ".tmp")
        self._zip = zipfile.ZipFile(self._draft, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL)

    def __enter__(self) -> QualityWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        try:
            self._zip.close()
            if kind is None:
                self._draft.replace(self._path)
        finally:
            self._draft.unlink(missing_ok=True)

    def write(self, element: str, name: str, content: NDArray[Any]) -> None:
        """Add the array `name` of `element`."""
        with self._zip.open(f"{element}/{name}.npy", "w") as member:
            npy.write_array(member, content, allow_pickle=False)
