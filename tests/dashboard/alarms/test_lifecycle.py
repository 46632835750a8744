"""How an alarm comes, is acknowledged, comes back and goes; and a property that holds whatever happens in whatever order."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dashboard.alarms.alarm import Alarm, AlarmState, alarm_of, open_alarms, pending_alarms
from dashboard.alarms.book import Book
from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.sending import Sender
from dashboard.alarms.tables import alarm_table, notice_table
from dashboard.alarms.transitions import Looked
from dune_prompt.errors import ConfigError, ConflictError, TransientError
from dune_prompt.settings.alarms import AlarmSettings, WatchSettings
from dune_prompt.store import event_table, open_store

NOW = 1_718_795_400.0  # Wednesday, 2024-06-19 11:10:00 UTC


def events(store: Any) -> list[tuple[str, str | None, str, str | None]]:
    e = event_table.c
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(sa.select(e.subject, e.before, e.after, e.by).order_by(e.id))]


def test_it_is_raised_at_the_second_look_in_a_row_and_told_once(desk: Any, finding: Any) -> None:
    desk.look(finding())
    assert desk.open() == []
    desk.look(finding(message="10 are parked"))
    (alarm,) = desk.open()
    assert (alarm.state, alarm.raised_at, alarm.first_seen_at, alarm.seen) == (AlarmState.RAISED, NOW + 60, NOW + 30, 2)
    assert (alarm.message, alarm.owner, alarm.link) == ("10 are parked", "shifter", "/jobs")
    desk.look(finding())
    desk.look(finding())
    assert desk.notices() == [(alarm.id, "raised")]
    assert events(desk.store) == [("alarm:parked:tasks", "pending", "raised", None)]


def test_one_that_is_gone_before_it_is_raised_leaves_nothing(desk: Any, finding: Any) -> None:
    desk.look(finding())
    desk.look()
    desk.look(finding())
    assert desk.raised() == []
    assert desk.notices() == []
    with desk.store.read() as connection:
        (pending,) = pending_alarms(connection)
    assert pending.seen == 1


def test_the_number_of_looks_is_that_of_the_rule(desk: Any, finding: Any) -> None:
    desk.set(watch={"after": {"parked": 1}})
    desk.look(finding(), finding(rule="behind", subject="backlog"))
    assert [alarm.rule for alarm in desk.open()] == ["parked"]
    for _ in range(9):
        desk.look(finding(), finding(rule="behind", subject="backlog"))
    assert {alarm.rule: alarm.seen for alarm in desk.open()} == {"parked": 10, "behind": 10}


def test_when_it_is_gone_it_is_cleared_and_coming_again_it_is_a_new_one(desk: Any, finding: Any) -> None:
    desk.look(finding())
    desk.look(finding())
    desk.look()
    assert desk.open() == []
    desk.look(finding())
    desk.look(finding())
    new, old = desk.raised()
    assert (old.state, old.cleared_at, old.cleared_by, old.lasted_s) == (AlarmState.CLEARED, NOW + 90, "the rule", 30)
    assert new.id != old.id
    assert new.raised_at == NOW + 150
    assert desk.notices() == [(old.id, "raised"), (old.id, "cleared"), (new.id, "raised")]


def test_an_acknowledged_one_is_not_told_again_until_the_time_is_over(desk: Any, finding: Any) -> None:
    desk.look(finding())
    desk.look(finding())
    (alarm,) = desk.open()
    desk.book.acknowledge(alarm.id, "anna", "known", desk.now + 100, desk.now)
    for _ in range(3):
        desk.look(finding())
    assert [each.state for each in desk.open()] == [AlarmState.ACKNOWLEDGED]
    assert desk.notices() == [(alarm.id, "raised")]
    desk.look(finding())
    (back,) = desk.open()
    assert (back.state, back.id, back.acknowledged_by) == (AlarmState.RAISED, alarm.id, None)
    assert desk.notices() == [(alarm.id, "raised"), (alarm.id, "returned")]
    assert [event[1:] for event in events(desk.store)] == [
        ("pending", "raised", None),
        ("raised", "acknowledged", "anna"),
        ("acknowledged", "raised", None),
    ]


def test_an_acknowledgement_without_an_end_holds_as_long_as_the_alarm(desk: Any, finding: Any) -> None:
    desk.look(finding())
    desk.look(finding())
    (alarm,) = desk.open()
    desk.book.acknowledge(alarm.id, "anna", "known", None, desk.now)
    desk.look(finding(), after_s=1e7)
    assert [each.acknowledged_why for each in desk.open()] == ["known"]
    desk.look()
    (over,) = desk.raised()
    assert (over.state, over.acknowledged_by) == (AlarmState.CLEARED, "anna")
    assert desk.notices() == [(alarm.id, "raised"), (alarm.id, "cleared")]


def test_an_acknowledgement_can_be_changed_and_both_are_events(desk: Any, finding: Any) -> None:
    desk.look(finding())
    desk.look(finding())
    (alarm,) = desk.open()
    desk.book.acknowledge(alarm.id, "anna", "known", desk.now + 60, desk.now)
    desk.book.acknowledge(alarm.id, "ben", "still known", None, desk.now)
    (known,) = desk.open()
    assert (known.acknowledged_by, known.acknowledged_until) == ("ben", None)
    assert [event[3] for event in events(desk.store)] == [None, "anna", "ben"]


def test_only_what_is_raised_can_be_acknowledged(desk: Any, finding: Any) -> None:
    desk.look(finding())
    with desk.store.read() as connection:
        (pending,) = pending_alarms(connection)
    with pytest.raises(ConflictError, match="is pending"):
        desk.book.acknowledge(pending.id, "anna", "x", None, desk.now)
    with pytest.raises(ConfigError, match="there is no alarm 77"):
        desk.book.acknowledge(77, "anna", "x", None, desk.now)
    desk.look(finding())
    desk.look()
    with pytest.raises(ConflictError, match="is cleared"):
        desk.book.acknowledge(pending.id, "anna", "x", None, desk.now)


def test_a_muted_one_is_counted_but_not_raised_and_comes_when_the_window_ends(desk: Any, finding: Any) -> None:
    desk.set(alarms={"mute": [{"rule": "park*", "until": "2024-06-19T11:12:00", "why": "repair"}]})
    for _ in range(3):
        desk.look(finding(), finding("conflict", rule="stopped"))
    assert [alarm.rule for alarm in desk.open()] == ["stopped"]
    desk.look(finding(), finding("conflict", rule="stopped"))
    assert {alarm.rule: alarm.raised_at for alarm in desk.open()}["parked"] == NOW + 120


def test_a_raised_one_is_cleared_when_a_window_begins_and_is_a_new_one_afterwards(desk: Any, finding: Any) -> None:
    desk.set(alarms={"mute": [{"from": "11:12", "to": "11:14", "why": "repair"}]})
    for _ in range(4):
        desk.look(finding())
    with desk.store.read() as connection:
        assert [alarm.first_seen_at for alarm in pending_alarms(connection)] == [NOW + 120]
    for _ in range(8):
        desk.look(finding())
    new, old = desk.raised()
    assert (old.raised_at, old.cleared_at, old.cleared_by) == (NOW + 60, NOW + 120, "a mute window")
    assert new.raised_at == NOW + 240
    assert desk.notices() == [(old.id, "raised"), (old.id, "cleared"), (new.id, "raised")]


def test_what_a_rule_cannot_tell_leaves_its_alarms_as_they_are(desk: Any, finding: Any) -> None:
    desk.look(finding(), finding("conflict", rule="stopped"))
    desk.look(finding(), finding("conflict", rule="stopped"))
    desk.look(unanswered={"parked"})
    assert [alarm.rule for alarm in desk.open()] == ["parked"]


def test_a_rule_that_is_switched_off_clears_its_alarms_and_says_who_did(desk: Any, finding: Any) -> None:
    desk.look(finding())
    desk.look(finding())
    desk.set(watch={"parked": None})
    desk.look()
    assert [alarm.cleared_by for alarm in desk.raised()] == ["the settings"]


def test_of_two_findings_of_one_thing_the_worse_counts(desk: Any, finding: Any) -> None:
    desk.set(watch={"after": {"parked": 1}})
    desk.look(finding(severity=Severity.ALARM, message="bad"), finding(message="less bad"))
    (alarm,) = desk.open()
    assert (alarm.severity, alarm.message) == (Severity.ALARM, "bad")


def test_open_alarms_are_in_the_order_somebody_should_look(desk: Any, finding: Any) -> None:
    desk.set(watch={"after": dict.fromkeys(("parked", "stopped", "late", "away_for"), 1)})
    seen = [finding("old")]
    desk.look(*seen)
    seen += [finding("urgent", rule="away_for", severity=Severity.ALARM), finding("known", rule="late", severity=Severity.ALARM)]
    desk.look(*seen)
    desk.look(*seen, finding("new", rule="stopped"))
    known = next(alarm for alarm in desk.open() if alarm.subject == "known")
    desk.book.acknowledge(known.id, "anna", "x", None, desk.now)
    assert [alarm.subject for alarm in desk.open()] == ["urgent", "old", "new", "known"]


def test_nothing_is_written_while_nothing_is_wrong(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.store, "write", lambda: pytest.fail("a transaction for nothing"))
    desk.look()


SUBJECTS = ("a", "b")
TARGETS = ("webhook:one", "mail")


class AnyOrder(RuleBasedStateMachine):
    """Looks, acknowledgements, mute windows, and deliveries that fail, in any order, against a model that knows nothing of the code."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="alarms-"))
        shutil.copyfile(self.template, self.folder / "store.sqlite")
        self.store = open_store(f"sqlite:///{self.folder / 'store.sqlite'}", migrate=False)
        self.now = NOW
        self.got: Counter[tuple[str, int, str]] = Counter()
        self.refuses = dict.fromkeys(TARGETS, False)
        self.targets = [self._target(name) for name in TARGETS]
        self.in_a_row: Counter[str] = Counter()
        self.muted = False
        self.k = 1
        self.acknowledged: set[int] = set()

    def _target(self, name: str) -> Any:
        def send(notice: Any) -> None:
            if self.refuses[name]:
                raise TransientError("no")
            assert notice.what != "returned" or notice.alarm.id in self.acknowledged
            self.got[name, notice.alarm.id, notice.what] += 1

        return SimpleNamespace(name=name, events=("raised", "returned", "cleared"), send=send)

    @initialize(k=st.integers(1, 3))
    def begin(self, k: int) -> None:
        self.k = k

    def _book(self) -> Book:
        mute = [{"until": "2100-01-01", "why": "planned"}] if self.muted else []
        site = SimpleNamespace(
            watch=WatchSettings.model_validate({"after": {"parked": self.k}}), alarms=AlarmSettings.model_validate({"mute": mute})
        )
        return Book(self.store, site, self.targets)  # type: ignore[arg-type]

    def _rows(self) -> list[Alarm]:
        with self.store.read() as connection:
            return [alarm_of(row) for row in connection.execute(sa.select(alarm_table))]

    @rule()
    def look_without_an_answer(self) -> None:
        self.now += 30
        before = self._rows()
        self._book().enter(Looked(self.now, [], {"parked"}))
        assert self._rows() == before

    @rule(subjects=st.sampled_from([set(SUBJECTS), {"a"}, set(SUBJECTS), set()]), times=st.integers(1, 3))
    def look_several_times(self, subjects: set[str], times: int) -> None:
        for _ in range(times):
            self._look(subjects)

    def _look(self, subjects: set[str]) -> None:
        self.now += 30
        before = {alarm.id: alarm for alarm in self._rows()}
        self._book().enter(Looked(self.now, [Finding("parked", subject, Severity.WARNING, "x", "/") for subject in sorted(subjects)]))
        for subject in SUBJECTS:
            self.in_a_row[subject] = self.in_a_row[subject] + 1 if subject in subjects else 0
        raised = {alarm.subject for alarm in self._rows() if alarm.cleared_at is None and alarm.raised_at is not None}
        expected = {subject for subject in SUBJECTS if self.in_a_row[subject] >= self.k and not self.muted}
        # A window that ended is made up for at the next look; one that began starts the count anew.
        assert raised == expected
        if self.muted:
            was_raised = {alarm.subject for alarm in before.values() if alarm.cleared_at is None and alarm.raised_at is not None}
            for subject in was_raised & subjects:
                self.in_a_row[subject] = 1

    @rule(which=st.integers(0, 1), lasts_s=st.sampled_from([20.0, 45.0, None]))
    def acknowledge(self, which: int, lasts_s: float | None) -> None:
        with self.store.read() as connection:
            alarms = open_alarms(connection, self.now)
        if which < len(alarms):
            until = None if lasts_s is None else self.now + lasts_s
            self._book().acknowledge(alarms[which].id, "anna", "known", until, self.now)
            self.acknowledged.add(alarms[which].id)

    @rule()
    def a_window_begins_or_ends(self) -> None:
        self.muted = not self.muted

    @rule(name=st.sampled_from(TARGETS), refuses=st.booleans())
    def target(self, name: str, refuses: bool) -> None:
        self.refuses[name] = refuses

    @rule(wait_s=st.sampled_from([0.0, 20.0, 1000.0]))
    def send(self, wait_s: float) -> None:
        self.now += wait_s
        for target in self.targets:
            Sender(self.store, target, clock=lambda: self.now).send(self.now)

    @invariant()
    def of_one_thing_there_is_one_open_alarm(self) -> None:
        open_keys = [alarm.key for alarm in self._rows() if alarm.cleared_at is None]
        assert len(open_keys) == len(set(open_keys))

    @invariant()
    def nothing_is_raised_before_it_was_seen_often_enough(self) -> None:
        assert all(alarm.seen >= self.k for alarm in self._rows() if alarm.raised_at is not None)

    @invariant()
    def each_change_is_told_to_each_target_exactly_once(self) -> None:
        n = notice_table.c
        with self.store.read() as connection:
            rows = connection.execute(sa.select(n.target, n.alarm_id, n.what, sa.func.count()).group_by(n.target, n.alarm_id, n.what))
            told = Counter({(target, alarm, what): number for target, alarm, what, number in rows if what != "returned"})
        owed = Counter(
            (target, alarm.id, what)
            for alarm, target in itertools.product(self._rows(), TARGETS)
            for what, at in (("raised", alarm.raised_at), ("cleared", alarm.raised_at and alarm.cleared_at))
            if at is not None
        )
        assert told == owed

    @rule()
    def everything_arrives_in_the_end(self) -> None:
        self.refuses = dict.fromkeys(TARGETS, False)
        for _ in range(3):
            self.now += 1000
            for target in self.targets:
                while Sender(self.store, target, clock=lambda: self.now).send(self.now):
                    pass
        n = notice_table.c
        with self.store.read() as connection:
            rows = connection.execute(sa.select(n.target, n.alarm_id, n.what, sa.func.count()).group_by(n.target, n.alarm_id, n.what)).all()
        assert self.got == Counter({(target, alarm, what): number for target, alarm, what, number in rows})

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


@pytest.fixture
def machine(empty_store: Path) -> type[AnyOrder]:
    AnyOrder.template = empty_store
    return AnyOrder


def test_whatever_happens_in_whatever_order_every_alarm_is_told_once(machine: type[AnyOrder]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=80, stateful_step_count=30, deadline=None))
