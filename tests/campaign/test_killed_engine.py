"""The engine is killed at each transaction of the ledger, before and after it; its disk is full; its clock jumps; PostgreSQL."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, commit_table
from campaign.ledger.tasks import recount
from declare_daemon.journal.tables import file_table
from dune_prompt.store import Store
from tests.servers.postgres import Postgres

NOW = 1_700_000_000.0


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


class Transactions:
    """Counts the writing transactions of a store, and kills at one of them, before or after it is kept."""

    def __init__(self, store: Store, at: int, after: bool) -> None:
        self.count, self.at, self.after, self._write = 0, at, after, store.write

    @property
    def through(self) -> Any:
        """The way to write without being counted."""
        return self._write

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        self.count += 1
        mine = self.count == self.at
        with self._write() as connection:
            yield connection
            if mine and not self.after:
                raise Killed
        if mine:
            raise Killed


def run_through(house: Any, now: float, rounds: int = 40) -> float:
    """Jobs go well, but the first one of the first file, which fails; outputs are declared; until all is done."""
    for _ in range(rounds):
        now += 10
        house.engine.step(now)
        for attempt in house.launcher.waiting():
            fail = house.launcher.assignment(attempt).raw.name.endswith("_0000.hdf5") and len(house.launcher.jobs) <= 2
            house.launcher.finish(attempt, fail_at="evaluate" if fail else None)
        house.engine.step(now + 1)
        house.declare_outputs()
        house.engine.step(now + 2)
        if house.states() and set(house.states()) == {"done"}:
            return now
    raise AssertionError(f"not done: {house.states()}")


def check_books(house: Any, files: int, layout: str) -> None:
    steps = 1 if layout == "fused" else 4
    assert house.states() == ["done"] * files * steps
    commits = house.rows(sa.select(commit_table.c.input_id, commit_table.c.stage))
    assert len(commits) == len(set(commits)) == files * 4
    outputs = house.rows(sa.select(file_table.c.name).where(file_table.c.origin == "outbox"))
    assert len(outputs) == len(set(outputs)) == files * 2
    assert not house.rows(sa.select(attempt_table.c.id).where(attempt_table.c.ended_at.is_(None)))
    with house.store.read() as connection:
        counts = {key: number for key, number in recount(connection).items() if number}
    assert sum(counts.values()) == files * steps


@pytest.mark.parametrize("layout", ["fused", "staged"])
def test_a_kill_at_any_transaction_loses_and_doubles_nothing(tmp_path: Path, house_tools: Any, layout: str) -> None:
    killed, at = True, 0
    while killed:
        at += 1
        for after in (False, True):
            folder = tmp_path / f"{at}-{after}"
            folder.mkdir()
            house_tools.write_files(folder, layout)
            house = house_tools.open_house(folder)
            house.arrive(2)
            transactions = Transactions(house.store, at, after)
            house.store.write = transactions.write
            try:
                run_through(house, NOW)
                killed = False
            except Killed:
                house.store.write = transactions.through
                house = house.restart()
                run_through(house, NOW + 1000)
            check_books(house, 2, layout)
            assert all(task.failures <= 1 for task in house.tasks())
            house.store.close()
    assert at > 10


def test_a_full_disk_costs_no_try(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house.arrive(2)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("campaign.engine.launch.write_json", full)
        for seconds in range(0, 3000, 300):
            house.engine.step(NOW + seconds)
    assert all(task.failures == 0 and task.error_class == "launch" for task in house.tasks())
    assert "No space left on device" in house.tasks()[0].message
    run_through(house, NOW + 10_000)


def test_a_clock_that_jumps_loses_no_job(house: Any) -> None:
    house.arrive(3)
    house.engine.step(NOW)
    running = house.launcher.waiting()
    for now in (NOW + 86400 * 365, NOW - 86400 * 365, NOW + 5):
        house.engine.step(now)
        assert house.launcher.waiting() == running
    assert all(task.attempts == 1 for task in house.tasks())
    run_through(house, NOW + 10)
    assert len(house.launcher.jobs) <= 4


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("pg")) as server:
        yield server


@pytest.mark.parametrize("layout", ["fused", "staged"])
def test_the_ledger_may_be_in_postgresql(tmp_path: Path, house_tools: Any, postgres: Postgres, layout: str) -> None:
    name = f"ledger_{layout}"
    database = sa.create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    with database.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    database.dispose()
    url = sa.make_url(postgres.url).set(database=name).render_as_string(hide_password=False)
    house_tools.write_files(tmp_path, layout, site=house_tools.site + f'store: "{url}"\n')
    house = house_tools.open_house(tmp_path)
    house.arrive(5)
    run_through(house, NOW)
    check_books(house, 5, layout)
    house.store.close()
