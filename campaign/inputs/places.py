"""Where an input is, as the engine is told: its places, that it has to wait, or that it is nowhere to be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from declare_daemon.journal import FileState, JournalFile
from declare_daemon.storage import path_below
from dune_prompt.settings.site import BufferSettings


@dataclass(frozen=True, slots=True)
class Places:
    """The places an input can be read from, best first, and what a copy of it must be (None: the catalogue does not say)."""

    name: str
    places: tuple[str, ...]
    size_bytes: int | None = None
    adler32: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not known yet, or being read back from tape: ask again in `again_s` seconds."""

    sentence: str
    again_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Gone:
    """Nowhere to be had, until somebody does something. `error_class` is a key of `campaign.retries.POLICIES`."""

    error_class: str
    sentence: str


Answer = Places | Waiting | Gone

# In the buffer, or on its way out of it: no catalogue has to be asked.
AT_HAND = frozenset({FileState.VERIFIED, FileState.DECLARED, FileState.LEAVING})
# Not in the buffer any more.
AWAY = frozenset({FileState.LEFT, FileState.GONE})
_AGAIN = frozenset({FileState.FOUND, FileState.RETURNING})


def of_journal(file: JournalFile, buffer: BufferSettings) -> Answer | None:
    """What the journal alone says of an input; None if it is no longer in the buffer."""
    if file.state in AT_HAND:
        return of_file(file, buffer_places(file, buffer))
    if file.state in _AGAIN:
        return Waiting(f"the input is being checked again ({file.state.value})", 10.0)
    if file.state in AWAY:
        return None
    return Gone("data", f"the input is {file.state.value}: {file.reason}")


def of_file(file: JournalFile, places: tuple[str, ...]) -> Places:
    """These places of a file of the journal."""
    return Places(file.name, tuple(dict.fromkeys(places)), file.size_bytes, file.adler32, file.metadata)


def buffer_places(file: JournalFile, buffer: BufferSettings) -> tuple[str, ...]:
    """Where a file of the buffer can be: as workers see it, where the journal has it, and where it is being moved."""
    below = path_below(file.path, buffer.path)
    as_workers_see_it = (f"{buffer.worker_url.rstrip('/')}/{below}",) if buffer.worker_url and below is not None else ()
    return (*as_workers_see_it, file.path, *([file.target] if file.target is not None else []))
