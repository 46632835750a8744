"""What the declare daemon has done and what it is stuck at, from its journal."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.journal import FileState, counts
from declare_daemon.journal.states import WAITING
from declare_daemon.journal.tables import file_table

PROBLEMS = (FileState.CONFLICT, FileState.QUARANTINED, FileState.REJECTED, FileState.UNMATCHED)
SHOWN = 30


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that waits for a person, and why."""

    name: str
    did: str | None
    origin: str
    state: str
    reason: str
    found_at: float
    run: int | None


@dataclass(frozen=True, slots=True)
class Declaring:
    """The journal: files by origin and state, the files somebody must look at, and how many are tried again and why."""

    buffer: dict[str, int]
    outbox: dict[str, int]
    declared: int
    waiting: int
    quarantined: int
    conflicts: int
    problems: list[Problem]
    retrying: int
    retry_reason: str | None


def read_declaring(connection: sa.Connection) -> Declaring:
    """Counts over all files, raw (`buffer`) and derived (`outbox`), and the newest problems."""
    f = file_table.c
    by_origin = counts(connection)
    both = {state: sum(of_origin.get(state, 0) for of_origin in by_origin.values()) for state in FileState}
    problems = [
        Problem(row.name, row.did, row.origin, row.state, row.reason or "no reason given", row.found_at, row.run)
        for row in connection.execute(
            sa.select(f.name, f.did, f.origin, f.state, f.reason, f.found_at, f.run)
            .where(f.state.in_(PROBLEMS))
            .order_by(f.id.desc())
            .limit(SHOWN)
        )
    ]
    retried = (f.state.in_(WAITING), f.tries > 0)
    retrying = connection.execute(sa.select(sa.func.count()).select_from(file_table).where(*retried)).scalar_one()
    latest = sa.select(f.reason).where(*retried, f.reason.is_not(None)).order_by(f.next_try.desc()).limit(1)
    return Declaring(
        buffer={state.value: number for state, number in by_origin.get("buffer", {}).items()},
        outbox={state.value: number for state, number in by_origin.get("outbox", {}).items()},
        declared=sum(both[state] for state in (FileState.DECLARED, FileState.LEAVING, FileState.LEFT)),
        waiting=sum(both[state] for state in WAITING),
        quarantined=both[FileState.QUARANTINED],
        conflicts=both[FileState.CONFLICT],
        problems=problems,
        retrying=retrying,
        retry_reason=connection.execute(latest).scalar_one_or_none() if retrying else None,
    )
