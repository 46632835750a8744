"""How the batch systems are, as the engine has last seen it: kept for the next start, and for those who ask."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from campaign.launchers.choice import LauncherState
from campaign.ledger.tables import launcher_table
from campaign.ledger.tasks import ROOM
from dune_prompt.store import Event, record_events


def out_since(connection: sa.Connection) -> dict[str, float]:
    """Since when each batch system that is out has been so."""
    c = launcher_table.c
    return {row.name: row.out_since for row in connection.execute(sa.select(c.name, c.out_since).where(c.out_since.is_not(None)))}


def keep(connection: sa.Connection, states: Sequence[LauncherState], reason: str, now: float) -> None:
    """Write down how they are; one that comes to be out, or back, leaves an event."""
    known = {row.name: row.out_since for row in connection.execute(sa.select(launcher_table.c.name, launcher_table.c.out_since))}
    events = []
    for state in states:
        was, now_out = known.get(state.name), state.out_since
        if (was is None) != (now_out is None):
            before, after = ("in", "out") if was is None else ("out", "in")
            events.append(Event(now, ROOM, f"launcher:{state.name}", before, after, None, reason))
        values = {
            "refused": state.refused_in_a_row,
            "answered_at": state.answered_at,
            "out_since": now_out,
            "message": state.last_error,
        }
        if state.name in known:
            connection.execute(sa.update(launcher_table).where(launcher_table.c.name == state.name).values(**values))
        else:
            connection.execute(sa.insert(launcher_table).values(name=state.name, **values))
    record_events(connection, events)
