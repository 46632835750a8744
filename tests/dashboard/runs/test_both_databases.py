"""The same rows give the same pages on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.ledger.tables import attempt_table
from dashboard.operations.campaigns import counted_campaigns
from dashboard.runs import jobs, parked
from dashboard.runs.file.story import read_story
from dashboard.runs.head import RunHeads
from dashboard.runs.listing import read_options, read_page
from dashboard.runs.listing_choice import COLUMNS, FLAGS, STATES, RunsChoice
from dashboard.runs.matrix import read_matrix
from dashboard.runs.medians import Medians
from dune_prompt.store import Store, metadata, open_store
from tests.servers.postgres import Postgres

NOW = 1_718_795_400.0


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        store = open_store(server.address("postgres", "psycopg"))
        yield store
        store.close()


@pytest.fixture
def both(many: Any, store: Store, postgres: Store, quality: Any) -> tuple[Store, Store]:
    """Two stores with the same rows; to those of the table of runs come jobs, logs and records."""
    for task in many.tasks[::9]:
        many.attempt(task, number=1, slice_id=None, error_class="data", ended_at=NOW - task["id"])
    for task in many.tasks[1::9]:
        many.attempt(task, 2, slice_id=None, state="running", ended_at=None, heartbeat_at=NOW - task["id"], lease_until=NOW + 5)
    with store.write() as connection:
        connection.execute(sa.insert(attempt_table), many.attempts)
    quality.record(many.tasks[0], "x" * 26, flag=3)
    with store.read() as source, postgres.write() as target:
        names = [table for table in metadata.sorted_tables if sa.inspect(source).has_table(table.name)]
        for table in reversed(names):
            target.execute(sa.delete(table))
        for table in names:
            rows = [dict(row) for row in source.execute(sa.select(table)).mappings()]
            if rows:
                target.execute(sa.insert(table), rows)
    return store, postgres


def same(both: tuple[Store, Store], read: Any) -> Any:
    answers = []
    for store in both:
        with store.read() as connection:
            answers.append(read(connection))
    assert answers[0] == answers[1]
    return answers[0]


def test_the_table_of_runs_is_the_same_in_every_order_and_filter(both: tuple[Store, Store]) -> None:
    choices = [RunsChoice(sort=sign + column) for column in COLUMNS for sign in ("", "-")]
    choices += [RunsChoice(state=state) for state in STATES] + [RunsChoice(flag=flag) for flag in FLAGS]
    for choice in choices:
        page = same(both, lambda connection, choice=choice: asdict(read_page(connection, counted_campaigns(connection), choice, 11)))
        assert page["rows"], choice
    same(both, lambda connection: asdict(read_options(connection)))


def test_so_are_the_second_pages_and_the_medians(both: tuple[Store, Store]) -> None:
    def second(connection: sa.Connection, sort: str) -> Any:
        campaigns = counted_campaigns(connection)
        first = read_page(connection, campaigns, RunsChoice(sort=sort), 11)
        page = read_page(connection, campaigns, RunsChoice(sort=sort, after=first.next), 11)
        return asdict(page), Medians().of(connection, campaigns, page.rows)

    for column in COLUMNS:
        same(both, lambda connection, column=column: second(connection, f"-{column}"))


def test_so_are_parked_tasks_and_jobs(both: tuple[Store, Store], site: Any) -> None:
    for choice in (
        parked.ParkedChoice(),
        parked.ParkedChoice(error_class=parked.UNKNOWN, run=105),
        parked.ParkedChoice(campaign="pdhd-keepup"),
    ):
        same(both, lambda connection, choice=choice: asdict(parked.read_page(connection, site.workspace, choice)))
    for sort in jobs.SORTS:
        same(both, lambda connection, sort=sort: asdict(jobs.read_page(connection, jobs.JobsChoice(sort=sort), NOW)))


def test_so_are_runs_and_files(both: tuple[Store, Store], site: Any, many: Any) -> None:
    def run(connection: sa.Connection, store: Store) -> Any:
        head = RunHeads(site, store).read(connection, 105, None, None, NOW)
        assert head is not None
        return asdict(head), [read_matrix(connection, campaign, 105) for campaign in counted_campaigns(connection).values()]

    same(both, lambda connection: run(connection, both[0]))
    for task in many.tasks[:3]:

        def story(connection: sa.Connection, did: str = task["input_did"]) -> Any:
            found = read_story(connection, site, did)
            assert found is not None
            return found.chains, found.counts, [tuple(row) for row in found.attempts], [tuple(row) for row in found.results]

        same(both, story)
