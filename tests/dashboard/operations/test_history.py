"""Samples: taken once a slot whatever the clock does, kept as long as they should be, shown with gaps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.operations.history import HISTORY_WINDOWS, read_history, window_named
from dashboard.operations.history_reader import HistoryReader
from dashboard.operations.sampler import KEPT_S, Sampler
from dashboard.operations.tables import sample_table
from dune_prompt.errors import TransientError

NOW = 1_718_795_400.0  # begins a slot of ten minutes
MARKS = (0.8, 0.9)


@pytest.fixture
def sampler(site: Any, store: Any) -> Sampler:
    return Sampler(site, store, lambda: SimpleNamespace(wanted=37, reason="r"))


def slots(store: Any, interval_s: int) -> list[float]:
    s = sample_table.c
    with store.read() as connection:
        return list(connection.execute(sa.select(s.at).where(s.interval_s == interval_s).order_by(s.at)).scalars())


def test_a_sample_holds_the_numbers_of_the_ledger_and_the_journal(sampler: Sampler, store: Any, ledger: Any) -> None:
    ledger.campaign()
    states = {"ready": 4, "submitted": 2, "running": 3, "parked": 1, "waiting_retry": 1}
    for state, number in states.items():
        for _ in range(number):
            ledger.task(7, len(ledger.tasks), state=state, late=state == "ready")
    for age in (60, 120, 4000):
        ledger.task(7, len(ledger.tasks), state="done", closed_at=NOW - age, done_at=NOW - 5)
    ledger.file("a.hdf5", state="verified", size_bytes=30 * 10**12)
    ledger.file("b.hdf5", state="declared", size_bytes=20 * 10**12)
    ledger.file("c.hdf5", state="left", size_bytes=10**15)
    ledger.write()
    sampler(NOW + 3)
    with store.read() as connection:
        row = connection.execute(sa.select(sample_table).where(sample_table.c.interval_s == 10)).one()
    assert (row.at, row.running, row.queued, row.slots_wanted) == (NOW, 3, 2, 37)
    assert (row.backlog, row.parked, row.late, row.files, row.done) == (5, 1, 4, 14, 3)
    # Of the done ones the oldest was decided more than ten minutes ago; the parked one counts.
    assert (row.in_time, row.decided) == (2, 3)
    assert (row.buffer_bytes, row.buffer_fraction, row.undeclared) == (50 * 10**12, 0.25, 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(
    steps=st.lists(st.one_of(st.floats(0, 15), st.floats(0, 400), st.floats(-500, 0)), max_size=12),
    restarts=st.sets(st.integers(0, 11)),
)
def test_each_slot_has_one_sample_whatever_the_clock_does(
    site: Any, store: Any, ledger: Any, steps: list[float], restarts: set[int]
) -> None:
    ledger.write()
    with store.write() as connection:
        connection.execute(sa.delete(sample_table))

    def make() -> Sampler:
        return Sampler(site, store, lambda: SimpleNamespace(wanted=1, reason="r"))

    sampler, now, expected = make(), NOW, {interval: set[float]() for interval in KEPT_S}
    for i, step in enumerate([0.0, *steps]):
        now += step
        if i in restarts:
            sampler = make()
        sampler(now)
        for interval, known in expected.items():
            slot = now // interval * interval
            expected[interval] = {at for at in known if at <= slot} | {slot}
    for interval, known in expected.items():
        assert slots(store, interval) == sorted(known)


def test_coarser_samples_are_kept_longer(sampler: Sampler, store: Any, ledger: Any, sample: Any) -> None:
    ledger.write()
    for interval, kept in KEPT_S.items():
        sample(NOW - kept, interval)
        sample(NOW - kept - interval, interval)
    sampler(NOW)
    assert KEPT_S == {10: 2 * 3600, 60: 86400, 600: 8 * 86400, 3600: 60 * 86400}
    for interval, kept in KEPT_S.items():
        slot = NOW // interval * interval
        assert slots(store, interval) == [at for at in (NOW - kept, slot) if at >= slot - kept]


def test_a_sample_that_could_not_be_kept_is_taken_again(sampler: Sampler, store: Any, ledger: Any, monkeypatch: Any) -> None:
    ledger.write()
    write, away = store.write, [True]

    def flaky() -> Any:
        if away.pop() if away else False:
            raise TransientError("store: away")
        return write()

    monkeypatch.setattr(store, "write", flaky)
    with pytest.raises(TransientError):
        sampler(NOW)
    sampler(NOW + 1)
    assert slots(store, 10) == [NOW]


@pytest.mark.parametrize("window", HISTORY_WINDOWS, ids=lambda window: window.name)
def test_the_columns_are_the_samples_in_even_steps(store: Any, sample: Any, window: Any) -> None:
    rng = np.random.default_rng(5)
    number = window.length_s // window.interval_s
    last = NOW // window.interval_s * window.interval_s
    there = {k for k in range(number) if k not in (3, 4, 9)}
    files, done = np.cumsum(rng.integers(0, 50, number)), np.cumsum(rng.integers(0, 50, number))
    rows: dict[int, dict[str, Any]] = {}
    for k in sorted(there)[-60:]:
        values = {"backlog": int(rng.integers(100)), "running": int(rng.integers(100)), "buffer_fraction": float(rng.random())}
        prompt = {"in_time": int(rng.integers(5)), "decided": int(rng.integers(2)) * 5}
        at = last - (number - 1 - k) * window.interval_s
        rows[k] = sample(at, window.interval_s, files=int(files[k]), done=int(done[k]), **values, **prompt)
    sample(last - number * window.interval_s, window.interval_s, backlog=10**6, files=10**9, done=10**9)  # before the window
    steps = {10: 30, 60: 5, 600: 1, 3600: 1}[window.interval_s]
    with store.read() as connection:
        history = read_history(connection, window, NOW + window.interval_s / 2, MARKS)

    assert (history.begin, history.interval_s) == (last - (number - 1) * window.interval_s, window.interval_s)
    for name, column in history.columns.items():
        assert len(column) == number, name
    for k in range(number):
        row, before = rows.get(k), rows.get(k - steps)
        assert history.columns["backlog"][k] == (row["backlog"] if row else None)
        assert history.columns["buffer_fraction"][k] == (row["buffer_fraction"] if row else None)
        fraction = row["in_time"] / row["decided"] if row and row["decided"] else None
        assert history.columns["fraction_in_time"][k] == fraction
        rate = (row["files"] - before["files"]) / (steps * window.interval_s) if row and before else None
        assert history.columns["arrived_per_s"][k] == rate
    backlogs = [row["backlog"] for row in rows.values()]
    spread = history.spreads["backlog"]
    assert (spread.lowest, spread.median, spread.highest) == (min(backlogs), np.median(backlogs), max(backlogs))


def test_totals_that_shrink_tell_no_rate(store: Any, sample: Any) -> None:
    for k, files in enumerate((100, 160, 40, 70)):
        sample(NOW - 1800 + 600 * k, 600, files=files)
    with store.read() as connection:
        history = read_history(connection, window_named("7d"), NOW, MARKS)
    assert history.columns["arrived_per_s"][-4:] == [None, 0.1, None, 0.05]


def test_rates_look_back_beyond_the_begin_of_the_window(store: Any, sample: Any) -> None:
    for k in range(120):
        sample(NOW - 10 * k, files=10_000 - k)
    with store.read() as connection:
        history = read_history(connection, window_named("10min"), NOW, MARKS)
    assert history.columns["arrived_per_s"] == pytest.approx([0.1] * 60)


def test_nothing_sampled_is_nothing_known(store: Any) -> None:
    with store.read() as connection:
        history = read_history(connection, window_named("1h"), NOW, MARKS)
    assert {value for column in history.columns.values() for value in column} == {None}
    assert {(spread.lowest, spread.median, spread.highest) for spread in history.spreads.values()} == {(None, None, None)}


def test_an_unknown_window_is_the_default_one() -> None:
    assert window_named("month of Sundays") == window_named(None) == window_named("8h")


def test_while_the_store_is_away_the_last_history_stays(site: Any, store: Any, sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sample(NOW, backlog=7)
    reader, window = HistoryReader(store, site.buffer), window_named("10min")
    known = reader.read(window, NOW)

    def away() -> Any:
        raise TransientError("store: away")

    monkeypatch.setattr(store, "read", away)
    assert reader.read(window, NOW + 60) is known
    with pytest.raises(TransientError):
        reader.read(window_named("7d"), NOW + 60)
