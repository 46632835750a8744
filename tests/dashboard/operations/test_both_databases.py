"""SQLite and PostgreSQL tell the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from dashboard.operations.history import read_history, window_named
from dashboard.operations.sampler import Sampler
from dashboard.operations.snapshot import OperationsReader
from dune_prompt.store import Store, open_store
from tests.servers.postgres import Postgres

NOW = 1_718_795_400.0


@pytest.fixture
def on_postgres(tmp_path: Any) -> Iterator[Store]:
    with Postgres(tmp_path / "postgres") as postgres:
        store = open_store(postgres.address("postgres", "psycopg"))
        yield store
        store.close()


def test_the_page_and_its_history_are_the_same(site: Any, store: Store, on_postgres: Store, ledger: Any, busy: Any) -> None:
    slots = SimpleNamespace(wanted=37, reason="r")
    busy(ledger, NOW, runs=4)
    pages, histories = [], []
    for each in (store, on_postgres):
        ledger.store = each
        ledger.write()
        sampler = Sampler(site, each, lambda: slots)
        for second in (0, 10, 70):
            sampler(NOW - 200 + second)
        page = asdict(OperationsReader(site, each, lambda: slots).read(NOW))
        page["buffer"].pop("disk")
        # Found in the same second, they have no order.
        page["declaring"]["problems"].sort(key=str)
        pages.append(page)
        with each.read() as connection:
            histories.append(asdict(read_history(connection, window_named("10min"), NOW, (0.8, 0.9))))
    assert pages[0] == pages[1]
    assert pages[0]["work"]["files"] == 240
    assert pages[0]["fill_forecast"]["bytes_per_s"] == 0
    assert histories[0] == histories[1]
    assert sum(value is not None for value in histories[0]["columns"]["backlog"]) == 3
