"""The event table: one row for every transition of a file, a task or an attempt, and for every command of an operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from dune_prompt.store.database import metadata

event_table = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("room", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(300), nullable=False, index=True),
    sa.Column("before", sa.String(32)),
    sa.Column("after", sa.String(32), nullable=False),
    sa.Column("by", sa.String(100)),
    sa.Column("message", sa.Text),
)

_INSERT = sa.insert(event_table)


@dataclass(frozen=True, slots=True)
class Event:
    """`subject` (a DID, `task:ID`, `attempt:ID`) went from state `before` to `after`."""

    at: float
    room: str
    subject: str
    before: str | None
    after: str
    by: str | None = None
    message: str | None = None


def record_events(connection: sa.Connection, events: Sequence[Event]) -> None:
    """Write `events` in the transaction of what they tell."""
    if events:
        connection.execute(_INSERT, [asdict(event) for event in events])
