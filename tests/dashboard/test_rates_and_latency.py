"""Arrival, processing and latency against a recount."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.latency import quantile, read_latency, read_latency_of_run
from dashboard.operations.rates import WINDOWS, read_rates

NOW = 1_718_795_403.25
times = st.floats(NOW - 90_000, NOW, allow_nan=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    content=st.lists(st.tuples(times, st.one_of(st.none(), times), st.integers(0, 1), st.booleans()), max_size=30),
    window=st.sampled_from(WINDOWS),
)
def test_bins_hold_what_arrived_and_was_processed_in_them(ledger: Any, store: Any, content: list[Any], window: Any) -> None:
    ledger.campaigns.clear()
    ledger.tasks.clear()
    ledger.campaign()
    for i, (arrived, done, attempts, closed_known) in enumerate(content):
        values = {"closed_at": arrived, "created_at": NOW} if closed_known else {"closed_at": None, "created_at": arrived}
        ledger.task(1, i, state="done" if done else "ready", done_at=done, attempts=attempts, size_bytes=1000 + i, **values)
    ledger.write()
    with store.read() as connection:
        rates = read_rates(connection, counted_campaigns(connection), window, NOW)

    end = NOW // window.bin_s * window.bin_s
    assert rates.begin == end - window.length_s
    assert len(rates.arrived) == len(rates.processed) == window.length_s // window.bin_s
    arrived = [item[0] for item in content if rates.begin <= item[0] < end]
    processed = [item[1] for item in content if item[1] is not None and item[2] and rates.begin <= item[1] < end]
    assert rates.arrived == np.histogram(arrived, len(rates.arrived), (rates.begin, end))[0].tolist()
    assert rates.processed == np.histogram(processed, len(rates.processed), (rates.begin, end))[0].tolist()
    assert rates.arrived_bytes == sum(1000 + i for i, item in enumerate(content) if rates.begin <= item[0] < end)


def test_the_bins_begin_and_end_where_they_say(ledger: Any, store: Any) -> None:
    ledger.campaign()
    begin = 1_718_795_400.0 - 600
    ledger.task(1, 0, closed_at=begin)
    ledger.task(1, 1, closed_at=begin - 0.001)
    ledger.task(1, 2, closed_at=begin + 9.999)
    ledger.task(1, 3, closed_at=begin + 10)
    ledger.task(1, 4, closed_at=begin + 600)
    ledger.write()
    with store.read() as connection:
        rates = read_rates(connection, counted_campaigns(connection), WINDOWS[0], NOW)
    assert rates.begin == begin
    assert rates.arrived == [2, 1] + [0] * 58
    assert rates.arrived_bytes == 3 * 4_000_000_000


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: list[float], q: float) -> None:
    assert quantile(sorted(values), q) == pytest.approx(float(np.quantile(values, q)), abs=1e-6)


def test_latencies_run_from_the_end_of_writing_to_the_declared_result(ledger: Any, store: Any) -> None:
    ledger.campaign()
    rng = np.random.default_rng(1)
    legs = rng.uniform(1, 100, (20, 4))
    for i, (declared, started, worked, results) in enumerate(legs):
        closed = NOW - 1000 - i
        task = ledger.task(
            7,
            i,
            state="done",
            closed_at=closed,
            started_at=closed + started,
            reported_at=closed + started + worked,
            done_at=closed + started + worked + results,
        )
        ledger.file(task["input_did"].partition(":")[2], closed_at=closed, declared_at=closed + declared)
    ledger.task(7, 98, state="done", attempts=0, closed_at=NOW - 9e5, done_at=NOW - 1)  # known as done when taken in: not ours
    ledger.task(7, 99, state="running", closed_at=NOW - 10, started_at=NOW - 5)
    ledger.write()
    with store.read() as connection:
        found = {row.leg: row for row in read_latency(connection, counted_campaigns(connection), NOW - 3600)}
        of_run = read_latency_of_run(connection, counted_campaigns(connection), 7)
    expected = {
        "declared": legs[:, 0],
        "started": legs[:, 1],
        "worked": legs[:, 2],
        "results": legs[:, 3],
        "total": legs[:, 1:].sum(axis=1),
    }
    for leg, seconds in expected.items():
        row = found[leg]
        assert row.files == 20
        assert (row.p50, row.p95, row.p99) == pytest.approx(tuple(np.quantile(seconds, [0.5, 0.95, 0.99])), rel=1e-4)
        assert row.longest == pytest.approx(seconds.max(), rel=1e-4)
    assert of_run == list(found.values())


def test_without_finished_files_there_is_no_latency(ledger: Any, store: Any) -> None:
    ledger.campaign()
    ledger.task(7, 0, state="running")
    ledger.write()
    with store.read() as connection:
        assert all(row.p50 is None and row.files == 0 for row in read_latency(connection, counted_campaigns(connection), NOW - 3600))
