"""Repair: what is missing in a catalogue is registered again by the daemon, the way it was registered first.

Only the journal is written: the steps are no longer confirmed, so the daemon looks, compares, writes and looks again. A declared file stays
declared, but may not leave before they are confirmed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.audit.journal_side import TAKES_STEPS, as_now
from declare_daemon.audit.report import Finding, Report
from declare_daemon.journal import queue
from declare_daemon.journal.files import ROOM, JournalFile
from declare_daemon.journal.rows import batches
from declare_daemon.journal.tables import step_table
from declare_daemon.registration.steps import CONFIRM, METADATA, REPLICA
from dune_prompt.store import Event, Store, record_events

BATCH = 500
# Copies are never made again here: a declared file may have no other copy left to make one of.
_AGAIN = frozenset({METADATA, REPLICA, CONFIRM})


@dataclass(frozen=True, slots=True)
class Done:
    """The daemon has been told to do `steps` of a file in a catalogue again."""

    subject: str
    catalog: str
    steps: tuple[str, ...]


def repair(report: Report, store: Store, *, by: str, now: float) -> list[Done]:
    """Have the daemon register again what an audit found missing; what was asked of it. May be repeated.

    Nothing is changed or taken away in any catalogue. Files the journal does not know are left to the scanner.

    Raises:
        TransientError: the store is away.
    """
    wanted: dict[int, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        if finding.repairable and finding.file_id is not None:
            wanted[finding.file_id].append(finding)
    done: list[Done] = []
    for ids in batches(wanted, BATCH):
        with store.write() as connection:
            files = [file for _, file in sorted(as_now(connection, ids).items()) if file.state in TAKES_STEPS]
            again = {file.id: _again(file, wanted[file.id]) for file in files}
            _forget(connection, again)
            queue.plan(connection, again)
            record_events(connection, [_event(again[file.id], file, by, now) for file in files])
        done += [item for items in again.values() for item in items]
    return done


def _again(file: JournalFile, findings: Iterable[Finding]) -> list[Done]:
    steps: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        steps[finding.where] |= _AGAIN & set(finding.steps)
    return [Done(file.subject, catalog, tuple(sorted(kinds))) for catalog, kinds in sorted(steps.items())]


def _forget(connection: sa.Connection, again: Mapping[int, Sequence[Done]]) -> None:
    """The catalogues have not confirmed these steps any more."""
    c = step_table.c
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for file_id, items in again.items():
        for item in items:
            groups[item.catalog, item.steps].append(file_id)
    for (catalog, kinds), ids in groups.items():
        connection.execute(sa.delete(step_table).where(c.catalog == catalog, c.step.in_(kinds), c.file_id.in_(ids)))


def _event(items: Sequence[Done], file: JournalFile, by: str, now: float) -> Event:
    message = "; ".join(f"{item.catalog}: {', '.join(item.steps)}" for item in items)
    return Event(now, ROOM, file.subject, None, "to be registered again", by, message)
