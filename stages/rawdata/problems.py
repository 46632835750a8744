"""Collects what is wrong with a record: what many fragments share becomes one line."""

from __future__ import annotations

from collections.abc import Iterable


class Problems:
    """Messages in the order they were found, each with the datasets it is about."""

    def __init__(self) -> None:
        self._datasets: dict[str, list[tuple[str, int]]] = {}

    def add(self, message: str) -> None:
        """Note a message that is about no dataset in particular."""
        self._datasets.setdefault(message, [])

    def of(self, dataset: str, source_id: int, message: str) -> None:
        """Note a message about the dataset called `dataset`."""
        self._datasets.setdefault(message, []).append((dataset, source_id))

    def lines(self) -> tuple[str, ...]:
        """One line a message, such as `Detector_Readout_0x00000064_WIBEth and 3 more (source ids 100, 105-107): …`."""
        return tuple(_line(message, datasets) for message, datasets in self._datasets.items())


def _line(message: str, datasets: list[tuple[str, int]]) -> str:
    if not datasets:
        return message
    name = datasets[0][0]
    if len(datasets) == 1:
        return f"{name}: {message}"
    return f"{name} and {len(datasets) - 1} more (source ids {ranges(source_id for _, source_id in datasets)}): {message}"


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in short: `100-103, 107`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
