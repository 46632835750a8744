"""Alarms on PostgreSQL: the same as on SQLite, and two that write at once do not undo each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from dashboard.alarms.running import running_alarms
from dashboard.alarms.sending import Sender
from dashboard.operations.snapshot import OperationsReader
from dune_prompt.errors import DunePromptError
from dune_prompt.store import Store, open_store
from tests.servers.postgres import Postgres

NOW = 1_718_795_400.0  # 2024-06-19 11:10:00 UTC


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        store = open_store(server.address("postgres", "psycopg"))
        yield store
        store.close()


@pytest.fixture
def both(store: Store, postgres: Store) -> dict[str, Store]:
    with postgres.write() as connection:
        connection.exec_driver_sql("TRUNCATE alarm, alarm_notice, event RESTART IDENTITY CASCADE")
    return {"sqlite": store, "postgresql": postgres}


def test_the_life_of_an_alarm_is_the_same(both: dict[str, Store], desk: Any, inbox: Any, finding: Any) -> None:
    told = {}
    for name, store in both.items():
        desk.store, desk.now = store, NOW
        inbox.got.clear()
        for _ in range(3):
            desk.look(finding(), finding("conflict", rule="stopped"))
        desk.book.acknowledge(desk.open()[0].id, "anna", "known", desk.now + 40, desk.now)
        desk.look(finding(), finding("conflict", rule="stopped"))
        desk.look(finding(), finding("conflict", rule="stopped"))
        desk.look(finding())
        desk.look(finding("new"))
        assert Sender(store, inbox, clock=lambda: desk.now).send(desk.now) == 5
        told[name] = ([(notice.what, notice.alarm.key) for notice in inbox.got], [asdict(alarm) for alarm in desk.raised()])
    assert told["sqlite"] == told["postgresql"]
    assert [what for what, _ in told["sqlite"][0]] == ["raised", "raised", "returned", "cleared", "cleared"]


def test_all_rules_find_the_same(both: dict[str, Store], site: Any, ledger: Any, busy: Any, lease: Any) -> None:
    busy(ledger, NOW)
    decision = SimpleNamespace(wanted=1, reason="x")
    found = {}
    for name, store in both.items():
        ledger.store = store
        ledger.write()
        running = running_alarms(site, store, OperationsReader(site, store, lambda: decision), lambda: decision)
        changes = running.watcher.look(NOW)
        assert running.watcher.last.unanswered == {}
        found[name] = [(change.alarm.key, change.alarm.message) for change in changes]
    assert sorted(found["sqlite"]) == sorted(found["postgresql"])
    assert {key.partition(":")[0] for key, _ in found["sqlite"]} >= {"no_heartbeat_for", "parked", "stopped"}


def test_an_acknowledgement_in_the_middle_of_a_look_is_not_lost(both: dict[str, Store], desk: Any, finding: Any) -> None:
    desk.store = both["postgresql"]
    desk.look(finding())
    desk.look(finding())
    alarm = desk.open()[0].id
    stop = threading.Event()
    errors: list[DunePromptError] = []

    def look() -> None:
        while not stop.is_set():
            try:
                desk.look(finding(), after_s=0)
            except DunePromptError as error:
                errors.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for i in range(40):
        desk.book.acknowledge(alarm, f"anna {i}", "known", None, desk.now)
        assert desk.open()[0].acknowledged_by == f"anna {i}"
    stop.set()
    thread.join(10)
    assert errors == []
