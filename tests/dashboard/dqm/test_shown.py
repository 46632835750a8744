"""Which attempt's record is shown: one and only one, whatever came in which order."""

from __future__ import annotations

import itertools
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaign.ledger.tables import commit_table
from dashboard.dqm import shown
from dashboard.dqm.tables import result_table

OF = shown.Input("pdhd-prompt", "v1", "hd-protodune:a.hdf5", "evaluate")


def came(connection: sa.Connection, attempt: str, made_at: float) -> None:
    """A record comes in and is settled, as storage does it."""
    values = {"run": 1, "detector": "pdhd", "received_at": made_at, "folder": "", "payload": "", "notes": [], "pictures_missing": []}
    key = {"campaign": OF.campaign, "version": OF.version, "input_did": OF.input_did, "stage": OF.stage}
    row = key | values | {"attempt": attempt, "made_at": made_at, "shown": False, "elements": [], "scalars": b""}
    connection.execute(sa.insert(result_table).values(row))
    among = shown.candidates(connection, OF)
    shown.show(connection, shown.choose(connection, OF, among), among)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)), committed=st.none() | st.integers(0, 3), commit_after=st.integers(0, 4))
def test_the_committed_one_is_shown_or_else_the_newest(ledger: Any, order: list[int], committed: int | None, commit_after: int) -> None:
    ledger.__init__(ledger.store, ledger.folder)
    ledger.campaign()
    task = ledger.task(1, 0, did=OF.input_did, state="done")
    attempts = [ledger.attempt(task, number)["id"] for number in range(4)]
    ledger.write()
    with ledger.store.write() as connection:
        for at, number in enumerate(order):
            if committed is not None and at == commit_after:
                connection.execute(sa.insert(commit_table).values(input_id=task["id"], stage="evaluate", attempt_id=attempts[committed]))
            came(connection, attempts[number], float(at))
            here = [one for one in shown.candidates(connection, OF) if one.shown]
            known = committed is not None and at >= commit_after and committed in order[: at + 1]
            assert [one.attempt for one in here] == [attempts[committed] if known else attempts[max(order[: at + 1])]]
        if committed is not None and commit_after == len(order):
            connection.execute(sa.insert(commit_table).values(input_id=task["id"], stage="evaluate", attempt_id=attempts[committed]))
            shown.settle(connection, shown.unsettled(connection, -1.0))
            assert [one.attempt for one in shown.candidates(connection, OF) if one.shown] == [attempts[committed]]


def test_of_records_made_by_hand_the_last_made_counts(store: Any) -> None:
    for order in itertools.permutations([("by-hand", 1.0), ("01J0QZ5W3V5T9H0F1N2M3P4Q5R", 2.0), ("again", 3.0)]):
        with store.write() as connection:
            connection.execute(sa.delete(result_table))
            for attempt, made_at in order:
                came(connection, attempt, made_at)
            assert [one.attempt for one in shown.candidates(connection, OF) if one.shown] == ["again"]


def test_a_record_that_is_history_is_not_looked_at_again(ledger: Any) -> None:
    ledger.campaign()
    task = ledger.task(1, 0, did=OF.input_did, state="done")
    attempts = [ledger.attempt(task, number)["id"] for number in range(2)]
    ledger.write()
    with ledger.store.write() as connection:
        connection.execute(sa.insert(commit_table).values(input_id=task["id"], stage="evaluate", attempt_id=attempts[0]))
        for number, attempt in enumerate(attempts):
            came(connection, attempt, float(number))
        assert [one.attempt for one in shown.candidates(connection, OF) if one.shown] == [attempts[0]]
        assert shown.unsettled(connection, -1.0) == []
