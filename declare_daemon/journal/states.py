"""The states of a file in the journal, and which state may follow which."""

from __future__ import annotations

from dune_prompt.errors import ConflictError
from dune_prompt.state import State


class FileState(State):
    """How far the daemon got with a file; `sentence` says it."""

    FOUND = "found", "Closed and seen in the buffer, or handed over by the engine; metadata, size and checksum are not checked yet."
    VERIFIED = "verified", "Metadata are complete and size and checksum agree with the file; the catalogues do not all know it yet."
    DECLARED = "declared", "Every catalogue has confirmed it, or a person has waived the one that has not."
    IGNORED = "ignored", "Its stream is not declared; it is counted and left alone."
    UNMATCHED = "unmatched", "It fits no stream of the site file; an operator must say what it is."
    REJECTED = "rejected", "Its data or metadata are bad; its move into the quarantine is not finished."
    QUARANTINED = "quarantined", "It lies in the quarantine, with the reason beside it."
    RETURNING = "returning", "An operator wants it tried again; its move out of the quarantine is not finished."
    CONFLICT = "conflict", "Two truths about one name; the file stays where it is until a person has looked."
    LEAVING = "leaving", "Proven safe to release; its move or deletion is not finished."
    LEFT = "left", "Out of the buffer by release: moved, or deleted after its copy was verified."
    GONE = "gone", "Vanished from the buffer, moved by somebody else."


_S = FileState

TRANSITIONS: dict[FileState | None, frozenset[FileState]] = {
    None: frozenset({_S.FOUND, _S.UNMATCHED}),
    _S.FOUND: frozenset({_S.VERIFIED, _S.IGNORED, _S.UNMATCHED, _S.REJECTED, _S.CONFLICT, _S.GONE}),
    _S.VERIFIED: frozenset({_S.DECLARED, _S.FOUND, _S.REJECTED, _S.CONFLICT, _S.GONE}),
    _S.DECLARED: frozenset({_S.LEAVING, _S.FOUND, _S.GONE}),
    _S.IGNORED: frozenset({_S.FOUND, _S.GONE}),
    _S.UNMATCHED: frozenset({_S.FOUND, _S.GONE}),
    _S.REJECTED: frozenset({_S.QUARANTINED, _S.GONE}),
    _S.QUARANTINED: frozenset({_S.RETURNING, _S.FOUND}),
    _S.RETURNING: frozenset({_S.FOUND, _S.QUARANTINED}),
    _S.CONFLICT: frozenset({_S.FOUND, _S.GONE}),
    _S.LEAVING: frozenset({_S.LEFT, _S.CONFLICT}),
    _S.LEFT: frozenset({_S.FOUND}),
    _S.GONE: frozenset({_S.FOUND, _S.UNMATCHED}),
}

# Where the scanner expects to see the file in the buffer; it may be absent in all other states.
PRESENT = frozenset({_S.FOUND, _S.VERIFIED, _S.DECLARED, _S.IGNORED, _S.UNMATCHED, _S.CONFLICT})

# Waiting for the daemon, as against settled or waiting for a person.
WAITING = frozenset({_S.FOUND, _S.VERIFIED, _S.REJECTED, _S.RETURNING, _S.LEAVING})


def check_transition(subject: str, before: FileState | None, after: FileState) -> None:
    """Raise `ConflictError` unless a file may go from `before` (None: not journaled yet) to `after`."""
    if after not in TRANSITIONS[before]:
        raise ConflictError(f"{subject}: a file cannot go from {before or 'nothing'} to {after}")
