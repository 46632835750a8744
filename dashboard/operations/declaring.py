"""What the declare daemon has done, what it is stuck at, and how the catalogues are, from its own status."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.journal import FileState
from declare_daemon.journal.states import WAITING
from declare_daemon.journal.tables import file_table
from declare_daemon.registration.pauses import Pause
from declare_daemon.status import Alarm, Status, read_status
from dune_prompt.settings import Site

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
class CatalogHealth:
    """A catalogue of the site file: since when it does not answer and what it said, who paused it and why, and how much waits for it."""

    kind: str
    queued: int
    away: Alarm | None
    pause: Pause | None


@dataclass(frozen=True, slots=True)
class Declaring:
    """The journal: files by origin (raw: `buffer`, derived: `outbox`) and state, the files somebody must look at, how many are tried
    again and why, the catalogues, and what else outside does not answer (`alarms`: buffer, outboxes)."""

    buffer: dict[str, int]
    outbox: dict[str, int]
    declared: int
    waiting: int
    quarantined: int
    conflicts: int
    problems: list[Problem]
    retrying: int
    retry_reason: str | None
    catalogs: list[CatalogHealth]
    alarms: list[Alarm]


def read_declaring(connection: sa.Connection, site: Site, now: float) -> Declaring:
    """Counts over all files, the newest problems, the open alarms."""
    f = file_table.c
    status = read_status(connection, site, now, limit=SHOWN)
    both = {state: sum(of_origin.get(state, 0) for of_origin in status.counts.values()) for state in FileState}
    retried = (f.state.in_(WAITING), f.tries > 0)
    retrying = connection.execute(sa.select(sa.func.count()).select_from(file_table).where(*retried)).scalar_one()
    latest = sa.select(f.reason).where(*retried, f.reason.is_not(None)).order_by(f.next_try.desc()).limit(1)
    return Declaring(
        buffer={state.value: number for state, number in status.counts["buffer"].items()},
        outbox={state.value: number for state, number in status.counts["outbox"].items()},
        declared=sum(both[state] for state in (FileState.DECLARED, FileState.LEAVING, FileState.LEFT)),
        waiting=sum(both[state] for state in WAITING),
        quarantined=both[FileState.QUARANTINED],
        conflicts=both[FileState.CONFLICT],
        problems=[
            Problem(file.name, file.did, file.origin, file.state.value, file.reason or "no reason given", file.found_at, file.run)
            for file in status.stopped
        ],
        retrying=retrying,
        retry_reason=connection.execute(latest).scalar_one_or_none() if retrying else None,
        catalogs=[_health(settings.kind, status, now) for settings in site.catalogs],
        alarms=[alarm for alarm in status.alarms if not alarm.subject.startswith(("catalog:", "storage:"))],
    )


def _health(kind: str, status: Status, now: float) -> CatalogHealth:
    away = {alarm.subject: alarm for alarm in status.alarms}
    pauses = [pause for pause in status.pauses if pause.catalog == kind and (pause.until is None or pause.until > now)]
    return CatalogHealth(
        kind=kind,
        queued=sum(files for (catalog, _), files in status.queued.items() if catalog == kind),
        away=away.get(f"catalog:{kind}") or away.get(f"storage:{kind}"),
        pause=pauses[0] if pauses else None,
    )
