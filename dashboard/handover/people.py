"""Who did what: the commands and judgements of people in the period, from the events."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tasks import ENGINE
from dashboard.handover.period import Period
from dune_prompt.store import event_table

MOST = 100
# Names under which the system itself signs.
MACHINES = (ENGINE, "daemon", "dune-prompt", "dashboard")


@dataclass(frozen=True, slots=True)
class Deed:
    """Something a person did, to one subject or, said once, to `number` of them."""

    at: float
    by: str
    what: str
    subject: str
    number: int
    message: str | None


def read_deeds(connection: sa.Connection, period: Period) -> list[Deed]:
    """What people did, newest first; the same deed to many subjects by one person in the same moment is one."""
    e = event_table.c
    by_person = (e.at >= period.since, e.at < period.until, e.by.is_not(None), e.by.not_in(MACHINES))
    statement = (
        sa.select(sa.func.max(e.at), e.by, e.after, sa.func.min(e.subject), sa.func.count(), sa.func.min(e.message))
        .where(*by_person)
        # A command gives all its events the same time.
        .group_by(e.at, e.by, e.after)
        .order_by(sa.func.max(e.at).desc())
        .limit(MOST)
    )
    return [Deed(*row) for row in connection.execute(statement)]
