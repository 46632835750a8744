"""The journal: every file the daemon has seen and how far it got; the engine's side of it is `engine_side`."""

from declare_daemon.journal.engine_side import (
    HandedOver,
    all_of_stream,
    file_obligations,
    hand_over,
    meet_obligations,
    take_in,
    taken_in,
    waive_obligations,
)
from declare_daemon.journal.files import JournalFile, counts, files_by_did
from declare_daemon.journal.states import FileState

__all__ = [
    "FileState",
    "HandedOver",
    "JournalFile",
    "all_of_stream",
    "counts",
    "file_obligations",
    "files_by_did",
    "hand_over",
    "meet_obligations",
    "take_in",
    "taken_in",
    "waive_obligations",
]
