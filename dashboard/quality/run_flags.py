"""What people say of a run: a flag and a comment, beside what was judged. Every word stays; the newest counts, and NULL withdraws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import count_table
from dashboard.dqm.tables import result_table
from dashboard.quality.flags import Flag
from dashboard.quality.tables import run_flag_table
from dune_prompt.errors import ConfigError
from dune_prompt.store import Event, record_events

ROOM = "dashboard"


@dataclass(frozen=True, slots=True)
class RunFlag:
    """What somebody said of a run."""

    flag: Flag
    comment: str
    set_at: float
    set_by: str


def set_run_flag(connection: sa.Connection, run: int, flag: Flag, comment: str, by: str, now: float) -> RunFlag:
    """Flag a run; NULL takes back what was said before.

    Raises:
        ConfigError: nothing is known of the run, or there is nothing to take back.
    """
    if not _is_known(connection, run):
        raise ConfigError(f"run {run}: nothing is known of it, so it cannot be flagged")
    before = read_run_flags(connection, [run]).get(run)
    if flag is Flag.NULL and before is None:
        raise ConfigError(f"run {run}: it has no flag that could be taken back")
    values = {"run": run, "flag": int(flag), "comment": comment, "set_at": now, "set_by": by}
    connection.execute(sa.insert(run_flag_table).values(values))
    event = Event(now, ROOM, f"run:{run}", before.flag.name.lower() if before else None, flag.name.lower(), by, comment)
    record_events(connection, [event])
    return RunFlag(flag, comment, now, by)


def read_run_flags(connection: sa.Connection, runs: Sequence[int]) -> dict[int, RunFlag]:
    """The flags in force of these runs; a run that has none, or whose flag was taken back, is left out."""
    c = run_flag_table.c
    newest = sa.select(sa.func.max(c.id)).where(c.run.in_(runs)).group_by(c.run)
    statement = sa.select(c.run, c.flag, c.comment, c.set_at, c.set_by).where(c.id.in_(newest), c.flag != Flag.NULL)
    return {run: RunFlag(Flag(flag), *rest) for run, flag, *rest in connection.execute(statement)}


def history(connection: sa.Connection, run: int) -> list[RunFlag]:
    """All that was said of a run, the newest first."""
    c = run_flag_table.c
    statement = sa.select(c.flag, c.comment, c.set_at, c.set_by).where(c.run == run).order_by(c.id.desc())
    return [RunFlag(Flag(flag), *rest) for flag, *rest in connection.execute(statement)]


def _is_known(connection: sa.Connection, run: int) -> bool:
    """Whether a campaign has files of the run, or a record of it came."""
    records = sa.select(result_table.c.run).where(result_table.c.run == run, result_table.c.shown)
    in_ledger = sa.select(count_table.c.run).where(count_table.c.run == run)
    return connection.execute(sa.select(sa.or_(records.exists(), in_ledger.exists()))).scalar_one()
