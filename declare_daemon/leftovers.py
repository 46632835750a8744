"""Clears the outbox of what attempts left there that never counted: failed and lost ones, and logs and scraps beside outputs that did.

A folder goes only when nothing in it has changed for the grace time, and neither the journal nor the ledger needs it. It is set aside
under a hidden name in the transaction that has looked, and deleted after it, so that no lock is held while files are deleted.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
import structlog

from declare_daemon.journal.files import BATCH, ROOM, files_by_id
from declare_daemon.journal.rows import batches
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table
from declare_daemon.journal.writer import Journal
from declare_daemon.outbox import ATTEMPTS, SENTINEL, root_of
from dune_prompt.settings import Site
from dune_prompt.store import Event, record_events

log = structlog.get_logger(__name__)

EVERY_S = 3600.0
# So many folders are looked at in one step of the daemon; the rest of a sweep follows in the next steps.
FOLDERS_A_STEP = 50
SET_ASIDE = ".removed"

# An output in one of these is no longer needed where its attempt has left it.
_SETTLED = frozenset({FileState.DECLARED, FileState.LEFT, FileState.QUARANTINED, FileState.GONE})
_NOT_THERE = frozenset({FileState.LEFT, FileState.QUARANTINED, FileState.GONE})

# The ledger is the engine's, in the same store; of it this room knows these columns.
_attempt = sa.table("attempt", sa.column("id"), sa.column("task_id"), sa.column("ended_at"))
_task = sa.table("task", sa.column("id"), sa.column("campaign_id"), sa.column("input_did"), sa.column("input_id"), sa.column("state"))
_commit = sa.table("stage_commit", sa.column("input_id"), sa.column("attempt_id"))
_DONE = "done"


class Leftovers:
    """Looks through the outbox roots once an hour."""

    def __init__(self, site: Site, journal: Journal) -> None:
        self._default_root, self._grace_s, self._journal = site.workspace / "outbox", site.daemon.outbox_grace, journal
        self._next_sweep = 0.0
        self._waiting: deque[Path] = deque()

    def sweep(self, now: float) -> list[Path]:
        """Do a part of what is due; the folders that were removed. What cannot be removed now is tried again in an hour.

        Raises:
            TransientError: the store is away.
            LeaseLostError: another daemon took over.
        """
        if not self._waiting:
            if now < self._next_sweep:
                return []
            self._next_sweep = now + EVERY_S
            self._waiting.extend(self._folders())
        removed = []
        for _ in range(min(FOLDERS_A_STEP, len(self._waiting))):
            folder = self._waiting.popleft()
            try:
                if self._remove(folder, now):
                    removed.append(folder)
            except OSError as error:
                log.warning("leftovers cannot be removed", folder=str(folder), error=error.strerror, at=error.filename)
        return removed

    # -- what there is -------------------------------------------------------------------------------------------------

    def _folders(self) -> list[Path]:
        """The folders of attempts in all roots that are there, set-aside ones included."""
        found = []
        for root in self._roots():
            try:
                if (root / SENTINEL).exists():
                    found += _folders_in(root / ATTEMPTS)
            except OSError as error:
                log.warning("the outbox cannot be looked through", root=str(root), error=error.strerror)
        return found

    def _roots(self) -> list[Path]:
        """The workspace's root, and those the newest output of each dataset is in."""
        c = file_table.c
        newest = sa.select(sa.func.max(c.id)).where(c.origin == "outbox").group_by(c.dataset)
        with self._journal.read() as connection:
            files = files_by_id(connection, list(connection.execute(newest).scalars()))
        return list(dict.fromkeys([self._default_root, *(root_of(file, self._default_root) for file in files.values())]))

    # -- what goes -----------------------------------------------------------------------------------------------------

    def _remove(self, folder: Path, now: float) -> bool:
        aside = folder
        if not _is_set_aside(folder):
            if not self._is_old(folder, now):
                return False
            aside = folder.with_name(f".{folder.name}{SET_ASIDE}")
            with self._journal.write() as connection:
                if _is_needed(connection, folder):
                    return False
                message = f"{folder}: never counted, or no longer needed"
                record_events(connection, [Event(now, ROOM, f"attempt:{folder.name}", None, "removed", None, message)])
                folder.rename(aside)
        self._journal.check_lease()
        # Files first, then the folder; symbolic links are removed, not followed.
        shutil.rmtree(aside)
        log.info("leftovers of an attempt removed", folder=str(folder))
        return True

    def _is_old(self, folder: Path, now: float) -> bool:
        """Whether everything in the folder is older than the grace time."""
        before = now - self._grace_s
        return folder.lstat().st_mtime <= before and all(entry.stat(follow_symlinks=False).st_mtime <= before for entry in _entries(folder))


def _folders_in(attempts: Path) -> list[Path]:
    if attempts.is_symlink():
        return []
    try:
        with os.scandir(attempts) as entries:
            found = [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return sorted(folder for folder in found if not folder.name.startswith(".") or _is_set_aside(folder))


def _is_set_aside(folder: Path) -> bool:
    return folder.name.startswith(".") and folder.name.endswith(SET_ASIDE)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder; symbolic links are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry))


def _is_needed(connection: sa.Connection, folder: Path) -> bool:
    """Whether the journal or the ledger still needs an attempt's folder, as they are in this transaction."""
    return _ledger_needs(connection, folder.name) or _journal_needs(connection, folder)


def _journal_needs(connection: sa.Connection, folder: Path) -> bool:
    c = file_table.c
    settled = [state.value for state in _SETTLED]
    if connection.execute(sa.select(c.id).where(c.attempt == folder.name, c.state.not_in(settled)).limit(1)).first() is not None:
        return True
    # An attempt may hand over what an earlier one has made: look for every file by its name too.
    there = sa.select(c.path, c.target).where(c.origin == "outbox", c.state.not_in([state.value for state in _NOT_THERE]))
    here = f"/{ATTEMPTS}/{folder.name}/"
    for names in batches((entry.name for entry in _entries(folder)), BATCH):
        if any(here in (place or "") for places in connection.execute(there.where(c.name.in_(names))) for place in places):
            return True
    return False


def _ledger_needs(connection: sa.Connection, attempt: str) -> bool:
    """Whether the attempt is in flight, or counts for an input that is still worked on: a later stage reads its outputs here."""
    a, t, s = _attempt.c, _task.c, _commit.c
    # The engine writes this row when the attempt ends: on PostgreSQL the lock keeps that out until we are through.
    row = connection.execute(sa.select(a.task_id, a.ended_at).where(a.id == attempt).with_for_update()).first()
    if row is None:
        return False
    if row.ended_at is None:
        return True
    of_input = sa.select(t.campaign_id, t.input_did, t.input_id).where(t.id == row.task_id).subquery().c
    same_input = (t.campaign_id == of_input.campaign_id) & (t.input_did == of_input.input_did)
    counts = sa.exists().where(s.input_id == of_input.input_id, s.attempt_id == attempt)
    query = sa.select(t.id).where(same_input, t.state != _DONE, counts)
    return connection.execute(query.limit(1)).first() is not None
