"""When the end of a credential is an alarm, and that each alarm is told once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from declare_daemon.checks.expiry import DAY_S, EXPIRED, HOUR_S, LEVELS, expiry_alarm
from declare_daemon.checks.result import Result, Verdict, exit_code, failed, good
from declare_daemon.checks.watch import record_changes
from dune_prompt.errors import ConfigError, DunePromptError, TransientError
from dune_prompt.store import Store, event_table, open_store

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("left_s", "alarm"),
    [
        (8 * DAY_S, None),
        (7 * DAY_S, "expires in 7 d"),
        (DAY_S + 1, "expires in 7 d"),
        (DAY_S, "expires in 24 h"),
        (HOUR_S + 1, "expires in 24 h"),
        (HOUR_S, "expires in 1 h"),
        (1, "expires in 1 h"),
        (0, "expired"),
        (-1e9, "expired"),
    ],
)
def test_alarms_come_a_week_a_day_and_an_hour_before_the_end(left_s: float, alarm: str | None) -> None:
    assert expiry_alarm(NOW + left_s, NOW) == alarm


def test_a_proxy_of_a_day_alarms_only_in_its_last_hour() -> None:
    ends = NOW + DAY_S
    assert [expiry_alarm(ends, NOW + at, DAY_S) for at in (0, 12 * HOUR_S, 22.9 * HOUR_S)] == [None, None, None]
    assert expiry_alarm(ends, NOW + 23 * HOUR_S, DAY_S) == "expires in 1 h"
    assert expiry_alarm(ends, ends, DAY_S) == EXPIRED


@given(st.floats(1, 400 * DAY_S), st.floats(0, 1))
def test_no_alarm_in_the_first_half_of_a_life(lifetime_s: float, part: float) -> None:
    alarm = expiry_alarm(NOW + lifetime_s, NOW + part * lifetime_s, lifetime_s)
    assert alarm is None or part >= 0.49 or lifetime_s < 1e-3


@given(st.lists(st.floats(0, 10 * DAY_S), min_size=2))
def test_alarms_only_get_worse_as_time_goes_by(times: list[float]) -> None:
    order = [None, *(name for _, name in reversed(LEVELS)), EXPIRED]
    found = [order.index(expiry_alarm(NOW + 9 * DAY_S, NOW + at)) for at in sorted(times)]
    assert found == sorted(found)


# ---- told once ----


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path / 'store.sqlite'}")) as store:
        yield store


def proxy(alarm: str | None) -> Result:
    verdict = Verdict.OK if alarm is None else Verdict.FAILED if alarm == EXPIRED else Verdict.SOON
    return Result("X.509 proxy", verdict, alarm or "fine", expires_at=NOW, alarm=alarm, is_credential=True)


def told(store: Store, *results: Result) -> list[tuple[str, str]]:
    return [(change.before, change.after) for change in record_changes(store, results, NOW)]


def test_each_alarm_is_told_once_until_it_is_over(store: Store) -> None:
    assert told(store, proxy(None)) == []
    assert told(store, proxy("expires in 24 h")) == [("ok", "expires in 24 h")]
    assert told(store, proxy("expires in 24 h")) == []
    assert told(store, proxy("expires in 1 h")) == [("expires in 24 h", "expires in 1 h")]
    assert told(store, proxy(EXPIRED)) == [("expires in 1 h", EXPIRED)]
    assert told(store, proxy(EXPIRED)) == []
    assert told(store, proxy(None)) == [(EXPIRED, "ok")]
    assert told(store, proxy(None)) == []
    assert told(store, proxy("expires in 24 h")) == [("ok", "expires in 24 h")]


def test_alarms_are_in_the_event_table_under_the_name_of_the_credential(store: Store) -> None:
    record_changes(store, [proxy("expires in 1 h"), failed("catalog rucio", TransientError("no answer"))], NOW)
    with store.read() as connection:
        rows = connection.execute(sa.select(event_table).order_by(event_table.c.id)).all()
    assert [(row.at, row.room, row.subject, row.before, row.after, row.message) for row in rows] == [
        (NOW, "declare", "credential:X.509 proxy", "ok", "expires in 1 h", "expires in 1 h"),
        (NOW, "declare", "check:catalog rucio", "ok", "failed", "no answer"),
    ]


def test_alarms_of_different_things_do_not_mix(store: Store) -> None:
    other = replace(proxy("expires in 1 h"), what="bearer token")
    assert told(store, proxy("expires in 1 h")) == [("ok", "expires in 1 h")]
    assert told(store, other, proxy("expires in 1 h")) == [("ok", "expires in 1 h")]


# ---- exit codes ----


def test_the_exit_code_is_that_of_the_worst_failure() -> None:
    away, wrong = failed("a", TransientError("away")), failed("b", ConfigError("no right"))
    assert exit_code([]) == 0
    assert exit_code([good("c", "fine"), proxy("expires in 1 h")]) == 0
    assert exit_code([good("c", "fine"), away]) == 20
    assert exit_code([wrong, away]) == 30
    assert exit_code([failed("d", DunePromptError("a client's own error"))]) == 1


def test_a_missing_right_is_a_setting_and_other_errors_of_a_disk_are_waited_for() -> None:
    assert failed("a", PermissionError(13, "Permission denied", "/x")).error_class == "configuration"
    found = failed("a", OSError(5, "Input/output error", "/x"))
    assert (found.error_class, found.detail) == ("transient", "/x: Input/output error")
