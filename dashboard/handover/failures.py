"""What failed in the period and why: attempts by class, with the newest message and its log."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, task_table
from dashboard.handover.files import Asked, failed_in


@dataclass(frozen=True, slots=True)
class FailureLine:
    """A class of failures: attempts, files, how many of the files are done all the same by now, and the newest attempt of it."""

    error_class: str
    attempts: int
    files: int
    done_since: int
    attempt: str
    at: float
    run: int
    input_did: str
    message: str


def read_failure_lines(connection: sa.Connection, asked: Asked) -> list[FailureLine]:
    """The most frequent first."""
    a, t = attempt_table.c, task_table.c
    number = sa.func.count()
    done = sa.func.count(sa.distinct(sa.case((t.done_at.is_not(None), t.id))))
    classes = (
        # Attempt ids are ULIDs: the greatest is the latest.
        sa.select(
            a.error_class,
            number.label("attempts"),
            sa.func.count(sa.distinct(t.input_id)).label("files"),
            done.label("done"),
            sa.func.max(a.id).label("newest"),
        )
        .join_from(attempt_table, task_table, t.id == a.task_id)
        .where(*failed_in(asked))
        .group_by(a.error_class)
        .subquery()
    )
    k = classes.c
    statement = (
        sa.select(k.error_class, k.attempts, k.files, k.done, a.id, a.ended_at, t.run, t.input_did, a.message)
        .join_from(classes, attempt_table, a.id == k.newest)
        .join(task_table, t.id == a.task_id)
        .order_by(k.attempts.desc(), k.error_class)
    )
    return [FailureLine(*row[:-1], row.message or "no message") for row in connection.execute(statement)]
