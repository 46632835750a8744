"""The sequence numbers of a run's raw files: every writer of the data acquisition counts its own files, from 0."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dune_prompt.errors import DataError
from stages.rawdata.file_name import RawFileName


@dataclass(frozen=True, slots=True)
class WriterSequence:
    """The files of one application and writer of a run. `missing` are ranges of numbers from 0 to the last one seen that no file has,
    `twice` the names that share a number. `kind` is raw or tp."""

    kind: str
    writer: str
    files: int
    first: int
    last: int
    missing: tuple[tuple[int, int], ...]
    twice: tuple[tuple[int, tuple[str, ...]], ...]

    @property
    def holes(self) -> int:
        """How many numbers are missing."""
        return sum(last - first + 1 for first, last in self.missing)


def sequences(names: Iterable[str]) -> tuple[list[WriterSequence], list[str]]:
    """The sequences of these files of one run, in order of kind and writer, and the names that are not the data acquisition's.

    A number after the last one seen cannot be known to be missing.
    """
    numbers: dict[tuple[str, str], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    strange = []
    for name in names:
        try:
            parsed = RawFileName.parse(name)
        except DataError:
            strange.append(name)
            continue
        numbers[parsed.kind, parsed.writer][parsed.index].append(name)
    found = []
    for (kind, writer), by_number in sorted(numbers.items()):
        seen = sorted(by_number)
        twice = tuple((number, tuple(sorted(by_number[number]))) for number in seen if len(by_number[number]) > 1)
        files = sum(len(names) for names in by_number.values())
        found.append(WriterSequence(kind, writer, files, seen[0], seen[-1], tuple(_missing(seen)), twice))
    return found, sorted(strange)


def _missing(seen: Sequence[int]) -> Iterable[tuple[int, int]]:
    expected = 0
    for number in seen:
        if number > expected:
            yield expected, number - 1
        expected = number + 1


def spelled(ranges: Sequence[tuple[int, int]]) -> str:
    """Ranges of numbers as people write them: `3, 7-9`."""
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)
