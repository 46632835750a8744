"""The watcher: what a look does with rules that fail, a store that is away, and an engine that decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.rules import Look, Rule
from dashboard.alarms.running import running_alarms
from dashboard.alarms.tables import notice_table
from dashboard.alarms.watch import Watcher
from dashboard.operations.snapshot import OperationsReader
from dune_prompt.errors import TransientError

NOW = 1_718_795_400.0  # 2024-06-19 11:10:00 UTC


def rule(name: Any, find: Callable[..., Any]) -> Rule:
    return Rule(name, "x", "x.", "x.", str, find)


def finds(name: Any) -> Rule:
    def find(_connection: Any, _look: Look, limit: float) -> Iterator[Finding]:
        yield Finding(name, "x", Severity.WARNING, f"limit {limit}", "/")

    return rule(name, find)


def fails(name: Any, error: Exception) -> Rule:
    def find(*_: Any) -> Iterator[Finding]:
        raise error

    return rule(name, find)


@pytest.fixture
def watch(desk: Any, ledger: Any) -> Callable[..., Watcher]:
    ledger.write()

    def make(*rules: Rule, slots: Callable[[], Any] = lambda: SimpleNamespace(wanted=1, reason="x"), **values: Any) -> Watcher:
        reader = OperationsReader(desk.site, desk.store, slots)
        return Watcher(desk.site, desk.store, reader, slots, desk.book, rules=rules, began=NOW, **values)

    return make


def test_a_rule_with_a_fault_hides_nothing_and_clears_nothing(desk: Any, watch: Any) -> None:
    for i in range(2):
        watch(finds("parked"), finds("late")).look(NOW + i)
    watcher = watch(fails("parked", ZeroDivisionError("oops")), finds("late"), finds("stopped"))
    watcher.look(NOW + 3)
    watcher.look(NOW + 4)
    desk.now = NOW + 5
    assert {alarm.rule for alarm in desk.open()} == {"parked", "late", "stopped"}
    assert watcher.last.at == NOW + 4
    assert watcher.last.unanswered == {"parked": "ZeroDivisionError: oops"}


def test_while_the_store_is_away_nothing_changes_and_no_look_is_claimed(desk: Any, watch: Any) -> None:
    for i in range(2):
        watch(finds("parked")).look(NOW + i)
    watcher = watch(fails("parked", TransientError("store: locked")))
    with pytest.raises(TransientError):
        watcher.look(NOW + 2)
    assert watcher.last.at is None
    desk.now = NOW + 5
    assert len(desk.open()) == 1


def test_a_rule_that_is_off_is_not_asked(desk: Any, watch: Any) -> None:
    desk.set(watch={"parked": None})
    watcher = watch(fails("parked", AssertionError("asked")), finds("late"))
    watcher.look(NOW)
    watcher.look(NOW + 1)
    desk.now = NOW + 1
    assert [alarm.message for alarm in desk.open()] == ["limit 1"]
    assert watcher.last.unanswered == {}


def test_senders_are_woken_when_there_is_something_to_send_and_only_then(watch: Any) -> None:
    woken: list[int] = []
    watcher = watch(finds("parked"), told=[lambda: woken.append(1)])
    watcher.look(NOW)
    assert woken == []
    watcher.look(NOW + 1)
    watcher.look(NOW + 2)
    assert woken == [1]


def test_a_decision_is_one_that_was_made_anew_though_its_numbers_are_the_same(watch: Any) -> None:
    decided: list[float] = []

    def look_at_decision(_connection: Any, look: Look, _limit: float) -> list[Finding]:
        decided.append(look.decided_at)
        return []

    decision = [SimpleNamespace(wanted=1, reason="x")]
    watcher = watch(rule("no_decision_for", look_at_decision), slots=lambda: decision[0])
    watcher.look(NOW + 30)
    decision[0] = SimpleNamespace(wanted=1, reason="x")
    watcher.look(NOW + 60)
    watcher.look(NOW + 90)
    assert decided == [NOW, NOW + 60, NOW + 60]


def test_notices_to_a_target_that_is_no_longer_set_are_forgotten_and_sent_ones_kept(desk: Any, watch: Any, store: Any) -> None:
    for i in range(2):
        watch(finds("parked"), targets=[desk.inbox.name]).look(NOW + i)
    with store.write() as connection:
        connection.execute(sa.update(notice_table).values(sent_at=NOW))
    watch(finds("parked"), finds("late"), targets=[desk.inbox.name]).look(NOW + 2)
    watch(finds("parked"), finds("late"), targets=[desk.inbox.name]).look(NOW + 3)
    assert len(desk.notices()) == 2
    watch(targets=[]).look(NOW + 4)
    assert desk.notices() == [(1, "raised")]


def test_all_rules_of_a_service_can_be_asked_of_an_empty_store(site: Any, store: Any) -> None:
    decision = SimpleNamespace(wanted=1, reason="x")
    running = running_alarms(site, store, OperationsReader(site, store, lambda: decision), lambda: decision)
    running.watcher.look(NOW)
    assert running.watcher.last.unanswered == {}
    assert [each.name for each in running.work] == ["watch"]
