"""Says in words what keeps a file in the buffer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from declare_daemon.journal.files import JournalFile
from declare_daemon.journal.states import FileState
from declare_daemon.release.candidates import Obligation
from dune_prompt.settings import StreamSettings


def what_keeps(file: JournalFile, stream: StreamSettings | None, obligations: Sequence[Obligation], now: float) -> str:
    """Why a file that has no proof is still here, by what the journal knows."""
    if file.origin != "buffer":
        return "it is an output: only files of the buffer are released"
    if file.state is not FileState.DECLARED:
        return f"it is {file.state}: {file.reason or file.state.sentence}"
    if stream is None or not stream.release.any:
        return f"stream {file.stream} has no release rule: its files stay"
    if file.reason is not None:
        return file.reason
    over = (file.closed_at or file.found_at) + stream.lifetime
    if over > now:
        return f"its time in the buffer ends at {datetime.fromtimestamp(over, UTC):%Y-%m-%dT%H:%M:%SZ}, earlier if space is short"
    if still := [f"{item.campaign} {item.version}" for item in obligations if item.is_open]:
        return f"not processed yet by {', '.join(still)}"
    if stream.process and not obligations:
        return "its stream is processed, and no campaign has asked for it yet"
    return "its checklist is filled in at the daemon's next pass"
