"""Writes the arrays that `nf_sp` gathers: `<element>/<name>.npy` in one zip file, which `stages.evaluate.quality_file` reads."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from stages.npz import NpzWriter


class QualityWriter(NpzWriter):
    """Writes the arrays of elements as they come."""

    def add(self, element: str, name: str, content: NDArray[Any]) -> None:
        """Add the array `name` of `element`."""
        self.write(f"{element}/{name}", content)
