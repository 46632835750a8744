"""Faults a simulated file can be given on request: what goes wrong in the data acquisition and on the way to the buffer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dune_prompt.errors import ConfigError
from stages.rawdata.structures import FRAGMENT_HEADER_BYTES
from stages.rawdata.writer import Alter, FragmentDraft

_BAD_MARKER = 0xDEADBEEF
_DATA_NOT_FOUND = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One way a file can be wrong. `usable`: some data can still be read.

    `hit` changes a fragment: one of the first record, chosen by the seed, or all of the file (`everywhere`). `closed`: the file gets its
    closing attributes. `keep`: the fraction of the file that is left of it in the end.
    """

    name: str
    summary: str
    usable: bool
    hit: Callable[[FragmentDraft], FragmentDraft | None] | None = None
    everywhere: bool = False
    closed: bool = True
    keep: float = 1.0

    def alter(self, first_record: int, source_id: int) -> Alter | None:
        """What the writer is to do to fragments, when the one that is hit is `source_id` of record `first_record`."""
        hit = self.hit
        if hit is None:
            return None
        return lambda record, draft: (
            hit(draft) if self.everywhere or (record, draft.stream.source_id) == (first_record, source_id) else draft
        )

    def damage(self, path: Path) -> None:
        """Do to the finished file what happens to files on the way."""
        if self.keep < 1:
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.truncate(int(size * self.keep))


def _missing(_draft: FragmentDraft) -> None:
    return None


def _short(draft: FragmentDraft) -> FragmentDraft:
    draft.frames = draft.frames[: len(draft.frames) // 2]
    draft.header = draft.header._replace(size=FRAGMENT_HEADER_BYTES + draft.frames.size, error_bits=0b10)
    return draft


def _lying_size(draft: FragmentDraft) -> FragmentDraft:
    # As in ProtoDUNE-VD 2025, where fragments of 1,108,872 bytes say 1,048,576.
    draft.header = draft.header._replace(size=draft.header.size * 1_048_576 // 1_108_872)
    return draft


def _bad_marker(draft: FragmentDraft) -> FragmentDraft:
    draft.header = draft.header._replace(marker=_BAD_MARKER)
    return draft


def _empty(draft: FragmentDraft) -> FragmentDraft:
    draft.frames = draft.frames[:0]
    draft.header = draft.header._replace(size=FRAGMENT_HEADER_BYTES, error_bits=_DATA_NOT_FOUND)
    return draft


_ALL = (
    Fault("missing_fragment", "one fragment of the first record is not there", usable=True, hit=_missing),
    Fault("short_fragment", "one fragment of the first record has half its frames", usable=True, hit=_short),
    Fault("lying_size", "all fragment headers tell a wrong size", usable=True, hit=_lying_size, everywhere=True),
    Fault("bad_marker", "one fragment of the first record has no valid header", usable=True, hit=_bad_marker),
    Fault("unclosed", "the file was never closed: no closing time, no recorded size", usable=True, closed=False),
    Fault("truncated", "half of the file is missing; its sidecar describes the whole", usable=False, keep=0.5),
    Fault("empty_fragments", "all fragments are headers without frames", usable=False, hit=_empty, everywhere=True),
)
FAULTS = {fault.name: fault for fault in _ALL}


def fault(name: str) -> Fault:
    """The fault called `name`.

    Raises:
        ConfigError: there is no such fault.
    """
    if name not in FAULTS:
        raise ConfigError(f"no fault {name!r}; there are: {', '.join(FAULTS)}")
    return FAULTS[name]
