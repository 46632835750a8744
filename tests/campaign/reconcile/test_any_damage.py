"""Whatever happens to the ledger, reconciliation brings it back, and a second one changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.commands.exclude import ExcludeArguments, exclude
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import attempt_table, commit_table, count_table, task_table
from campaign.reconcile import reconcile
from campaign.states import IN_FLIGHT, TaskState
from campaign.versions import waiving
from declare_daemon.journal.tables import obligation_table
from dune_prompt.records import MadeBy
from dune_prompt.store import metadata
from tests.campaign.two_versions import NOW, TwoVersions
from tests.servers.postgres import Postgres

FILES = 9
EXCLUDED = 2

Snapshot = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoVersions]:
    """Files in every stage of their lives, with v1 and a canary v2, and an excluded run."""
    folder = tmp_path_factory.mktemp("house")
    with ExitStack() as stack:
        site = ""
        if request.param == "postgresql":
            postgres = stack.enter_context(Postgres(tmp_path_factory.mktemp("postgres")))
            site = f"store: {postgres.address('postgres', 'psycopg')}\n"
        opened = stack.enter_context(TwoVersions.open(folder, site=site, v2="inputs: {from_run: 1}\ncanary: {fraction: 50%}"))
        dids = opened.arrive(FILES - 2)
        opened.arrive(2, run=EXCLUDED, first=FILES - 2)
        opened.take_in()
        opened.process("v1", dids[:3])
        opened.process("v2", sorted(opened.inputs("v2") & set(dids))[:2])
        opened.begin("v1", dids[3])
        opened.end(opened.begin("v1", dids[4]))
        opened.end(opened.begin("v1", dids[5]), error_class="payload")
        exclude(opened, ExcludeArguments(run=EXCLUDED, why="bad"), NOW)
        yield opened


def tables() -> list[sa.Table]:
    return [table for table in metadata.sorted_tables if table.name not in ("event", "lease")]


def snapshot(house: TwoVersions) -> Snapshot:
    return {table.name: sorted(map(tuple, house.rows(sa.select(table))), key=repr) for table in tables()}


def restore(house: TwoVersions, saved: Snapshot) -> None:
    with house.writing() as connection:
        for table in reversed(tables()):
            connection.execute(sa.delete(table))
        for table in tables():
            names = [column.name for column in table.columns]
            if saved[table.name]:
                connection.execute(sa.insert(table), [dict(zip(names, row, strict=True)) for row in saved[table.name]])


@pytest.fixture(scope="module")
def saved(house: TwoVersions) -> Snapshot:
    return snapshot(house)


Damage = Callable[[sa.Connection, str], None]


def lose_tasks(connection: sa.Connection, did: str) -> None:
    ids = sa.select(task_table.c.id).where(task_table.c.input_did == did)
    lose_commits(connection, did)
    connection.execute(sa.delete(attempt_table).where(attempt_table.c.task_id.in_(ids)))
    connection.execute(sa.delete(task_table).where(task_table.c.input_did == did))


def lose_commits(connection: sa.Connection, did: str) -> None:
    inputs = sa.select(task_table.c.input_id).where(task_table.c.input_did == did)
    connection.execute(sa.delete(commit_table).where(commit_table.c.input_id.in_(inputs)))


def lose_attempts(connection: sa.Connection, did: str) -> None:
    lose_commits(connection, did)
    ids = sa.select(task_table.c.id).where(task_table.c.input_did == did)
    connection.execute(sa.delete(attempt_table).where(attempt_table.c.task_id.in_(ids)))


def end_attempts(connection: sa.Connection, did: str) -> None:
    ids = sa.select(task_table.c.id).where(task_table.c.input_did == did)
    connection.execute(sa.update(attempt_table).where(attempt_table.c.task_id.in_(ids)).values(ended_at=NOW))


def reopen_attempts(connection: sa.Connection, did: str) -> None:
    ids = sa.select(task_table.c.id).where(task_table.c.input_did == did)
    connection.execute(sa.update(attempt_table).where(attempt_table.c.task_id.in_(ids)).values(ended_at=None))


def forget_that_it_is_met(connection: sa.Connection, did: str) -> None:
    connection.execute(sa.update(obligation_table).where(obligation_table.c.did == did).values(met_at=None))


def lose_obligations(connection: sa.Connection, did: str) -> None:
    connection.execute(sa.delete(obligation_table).where(obligation_table.c.did == did))


def wreck_counts(connection: sa.Connection, did: str) -> None:
    connection.execute(sa.update(count_table).values(tasks=len(did)))


def lose_counts(connection: sa.Connection, did: str) -> None:
    connection.execute(sa.delete(count_table))


def other_state(state: TaskState, at: float | None) -> Damage:
    def put(connection: sa.Connection, did: str) -> None:
        connection.execute(sa.update(task_table).where(task_table.c.input_did == did).values(state=state.value, done_at=at))

    put.__name__ = f"{state}_{at}"
    return put


damages = st.one_of(
    st.sampled_from(
        [
            lose_tasks,
            lose_commits,
            lose_attempts,
            end_attempts,
            reopen_attempts,
            forget_that_it_is_met,
            lose_obligations,
            wreck_counts,
            lose_counts,
        ]
    ),
    st.builds(other_state, st.sampled_from(list(TaskState)), st.sampled_from([None, NOW])),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(damages, st.integers(0, FILES - 1)), min_size=1, max_size=8))
def test_any_damage_is_undone_and_a_second_time_changes_nothing(
    house: TwoVersions, saved: Snapshot, damage: list[tuple[Damage, int]]
) -> None:
    restore(house, saved)
    dids = sorted({task.input_did for task in house.tasks()})
    with house.writing() as connection:
        for spoil, index in damage:
            spoil(connection, dids[index])
    reconcile(house, run=None, now=NOW + 100, by="test", change=True, repair=True)
    check(house, dids)
    first = snapshot(house)
    again = reconcile(house, run=None, now=NOW + 200, by="test", change=True, repair=True)
    assert [finding for finding in again if finding.done] == []
    assert snapshot(house) == first


def test_a_dry_run_changes_nothing_whatever_is_wrong(house: TwoVersions, saved: Snapshot) -> None:
    restore(house, saved)
    with house.writing() as connection:
        for index, did in enumerate(sorted({task.input_did for task in house.tasks()})):
            other_state(list(TaskState)[index], None)(connection, did)
        wreck_counts(connection, "raw:x")
    before = snapshot(house)
    assert reconcile(house, run=None, now=NOW + 100, by="test", change=False, repair=True)
    assert snapshot(house) == before


def check(house: TwoVersions, dids: list[str]) -> None:
    """What holds of a ledger in order."""
    with house.installation.store.read() as connection:
        right = ledger_tasks.recount(connection)
    names = ("campaign_id", "run", "step", "state", "late", "tasks")
    counts = house.rows(sa.select(*(count_table.c[name] for name in names)).where(count_table.c.tasks != 0))
    assert {(row[0], row[1], row[2], row[3], bool(row[4])): row[5] for row in counts} == dict(right)
    open_attempts = house.values(sa.select(attempt_table.c.task_id).where(attempt_table.c.ended_at.is_(None)))
    committed = set(house.values(sa.select(commit_table.c.input_id).where(commit_table.c.stage == "evaluate")))
    for version in ("v1", "v2"):
        tasks = {task.input_did: task for task in house.tasks(version)}
        assert len(tasks) == len(house.tasks(version))
        declared = set(house.catalog.children_of(dids, MadeBy("prompt", version, "evaluate")))
        for did, task in tasks.items():
            assert (task.state in IN_FLIGHT) == (task.id in open_attempts), task
            assert (task.state is TaskState.DONE) == (task.done_at is not None), task
            assert task.state is not TaskState.DONE or did in declared, task
            assert did not in declared or task.state in {TaskState.DONE, TaskState.WAIVED, *IN_FLIGHT}, task
            assert task.state is not TaskState.REPORTED or task.input_id in committed, task
            assert task.run != EXCLUDED or task.state not in waiving.WAITING, task
        assert not declared & house.kept(version)
        asked = {did for did, task in tasks.items() if task.state is not TaskState.WAIVED}
        with house.installation.store.read() as connection:
            (of_version,) = ledger_versions.find(connection, "prompt", version)
            assert ledger_versions.without_obligation(connection, of_version, sorted(asked)) == []
    in_order = {task.input_did for task in house.tasks("v1") if task.run != EXCLUDED}
    assert in_order == {did for did in dids if f"run{EXCLUDED:06d}" not in did}
    assert len(open_attempts) == len(set(open_attempts))
