"""Which of the attempts at one input is shown: the one that the ledger committed, or before that is known the newest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, campaign_table, commit_table, task_table
from dashboard.dqm.tables import result_table

ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


@dataclass(frozen=True, slots=True)
class Input:
    """What may have one record shown: a stage of an input of a campaign's version."""

    campaign: str
    version: str
    input_did: str
    stage: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record of an input that came in."""

    id: int
    attempt: str
    made_at: float
    shown: bool


_OF_INPUT = sa.select(*(result_table.c[name] for name in Candidate.__slots__)).where(
    *(result_table.c[name] == sa.bindparam(name) for name in Input.__slots__)
)


def candidates(connection: sa.Connection, of: Input) -> list[Candidate]:
    """The records of an input."""
    return [Candidate(*row) for row in connection.execute(_OF_INPUT, asdict(of))]


def choose(connection: sa.Connection, of: Input, among: Sequence[Candidate]) -> Candidate:
    """The one to show. The ledger is asked only when there are several."""
    if len(among) == 1:
        return among[0]
    committed = _committed(connection, of)
    return next((one for one in among if one.attempt == committed), None) or _newest(among)


def show(connection: sa.Connection, one: Candidate, among: Sequence[Candidate]) -> bool:
    """Make `one` the record that is shown; whether it was another before."""
    if one.shown:
        return False
    d = result_table.c
    # In this order, because no two may be shown even in between.
    if others := [other.id for other in among if other.shown]:
        connection.execute(sa.update(result_table).where(d.id.in_(others)).values(shown=False))
    connection.execute(sa.update(result_table).where(d.id == one.id).values(shown=True))
    return True


def unsettled(connection: sa.Connection, since: float) -> list[tuple[Input, int]]:
    """Inputs, with their runs, that do not show the record they should: it came after `since`, and its commit after it."""
    d, a, t, c = result_table.c, attempt_table.c, task_table.c, commit_table.c
    statement = (
        sa.select(d.campaign, d.version, d.input_did, d.stage, d.run)
        .join_from(result_table, attempt_table, a.id == d.attempt)
        .join(task_table, t.id == a.task_id)
        .join(commit_table, sa.and_(c.input_id == t.input_id, c.stage == d.stage, c.attempt_id == a.id))
        .where(sa.not_(d.shown), d.received_at > since)
    )
    return [(Input(*row[:4]), row.run) for row in connection.execute(statement)]


def settle(connection: sa.Connection, inputs: Iterable[tuple[Input, int]]) -> set[tuple[str, str, int]]:
    """Show what they should. Returns the (campaign, version, run) in which another record is shown now."""
    changed = set()
    for of, run in inputs:
        among = candidates(connection, of)
        if show(connection, choose(connection, of, among), among):
            changed.add((of.campaign, of.version, run))
    return changed


def _committed(connection: sa.Connection, of: Input) -> str | None:
    t, k, c = task_table.c, campaign_table.c, commit_table.c
    statement = (
        sa.select(c.attempt_id)
        .join_from(commit_table, task_table, t.id == c.input_id)
        .join(campaign_table, k.id == t.campaign_id)
        .where(k.name == of.campaign, k.version == of.version, t.input_did == of.input_did, c.stage == of.stage)
    )
    return connection.execute(statement).scalar_one_or_none()


def _newest(among: Sequence[Candidate]) -> Candidate:
    """Attempt ids are ULIDs, whose order is that of time; where one was made by hand they are ordered by when they were made."""
    if all(ULID.fullmatch(one.attempt) for one in among):
        return max(among, key=lambda one: one.attempt)
    return max(among, key=lambda one: (one.made_at, one.id))
