"""An operator's wish that stopped files are tried again. Only the journal is written here; the daemon moves the files."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from declare_daemon.journal.files import Change, JournalFile, change, fetch, files_by_did, files_by_name, select_files
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table
from declare_daemon.outbox import place_of
from declare_daemon.storage import within
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site

RETRIED = (FileState.QUARANTINED, FileState.CONFLICT)


def stopped_files(connection: sa.Connection, names: Sequence[str]) -> list[JournalFile]:
    """The quarantined and conflicting files of these names or DIDs.

    Raises:
        ConfigError: there is none of a name.
    """
    by_name = files_by_name(connection, "outbox", names) | files_by_name(connection, "buffer", names)
    found = by_name | files_by_did(connection, names)
    for name in names:
        if name not in found:
            raise ConfigError(f"{name}: the journal knows no such file")
        if found[name].state not in RETRIED:
            raise ConfigError(f"{name} is {found[name].state}: only quarantined files and conflicts are tried again")
    return [found[name] for name in names]


def quarantined_files(connection: sa.Connection) -> list[JournalFile]:
    """All quarantined files."""
    c = file_table.c
    return fetch(connection, select_files().where(c.state == FileState.QUARANTINED.value).order_by(c.id))


def ask_again(connection: sa.Connection, files: Sequence[JournalFile], site: Site, now: float, by: str) -> None:
    """Journal that the daemon shall try `files` again: quarantined ones are on their way back, conflicts as good as new."""
    changes = []
    for file in files:
        fresh = {"reason": None, "tries": 0, "next_try": 0.0}
        if file.state is FileState.QUARANTINED:
            changes.append(Change(file, FileState.RETURNING, fresh | {"target": _home(file, site)}, "to be tried again", by))
        else:
            changes.append(Change(file, FileState.FOUND, fresh, "to be tried again", by))
    change(connection, changes, now)


def _home(file: JournalFile, site: Site) -> str:
    return within(site.buffer.path, file.name) if file.origin == "buffer" else str(place_of(file, site.workspace / "outbox"))
