"""Arrival, processing and latency against a recount."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.dqm.tables import result_table
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.latency import quantile, read_latency, read_latency_by_window, read_latency_of_run
from dashboard.operations.rates import WINDOWS, read_rates

NOW = 1_718_795_403.25
times = st.floats(NOW - 90_000, NOW, allow_nan=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    content=st.lists(st.tuples(times, st.floats(0, 5000), st.one_of(st.none(), times), st.integers(0, 1), st.booleans()), max_size=30),
    window=st.sampled_from(WINDOWS),
    gaps=st.sets(st.integers(0, 30)),
)
def test_rates_count_what_arrived_and_was_processed_in_the_window(
    ledger: Any, store: Any, content: list[Any], window: Any, gaps: set[int]
) -> None:
    ledger.campaigns.clear()
    ledger.tasks.clear()
    ledger.campaign()
    # Tasks are made in the order of their ids, each some time after its file was closed.
    for i, (made, waited, done, attempts, closed_known) in enumerate(sorted(content, key=lambda item: item[0])):
        closed = made - waited if closed_known else None
        task = ledger.task(1, i, state="done" if done else "ready", done_at=done, attempts=attempts, closed_at=closed, created_at=made)
        task |= {"size_bytes": 1000 + i}
        task["id"] += sum(gap <= i for gap in gaps)
    ledger.write()
    with store.read() as connection:
        rates = read_rates(connection, counted_campaigns(connection), window, NOW)

    begin = NOW - window.length_s
    closed_at = [task["created_at"] if task["closed_at"] is None else task["closed_at"] for task in ledger.tasks]
    arrived = [task["size_bytes"] for task, at in zip(ledger.tasks, closed_at, strict=True) if begin < at <= NOW]
    processed = [task["size_bytes"] for task in ledger.tasks if task["done_at"] and task["attempts"] and begin < task["done_at"] <= NOW]
    assert (rates.arrived, rates.arrived_bytes) == (len(arrived), sum(arrived))
    assert (rates.processed, rates.processed_bytes) == (len(processed), sum(processed))
    assert rates.arrived_per_s * window.length_s == pytest.approx(len(arrived))


def test_files_that_were_closed_long_ago_and_come_in_now_are_no_arrivals(ledger: Any, store: Any) -> None:
    ledger.campaign()
    for i in range(5):
        ledger.task(1, i, closed_at=NOW - 90_000, created_at=NOW - 10)
    ledger.task(1, 5, closed_at=NOW - 20, created_at=NOW - 10)
    ledger.write()
    with store.read() as connection:
        assert read_rates(connection, counted_campaigns(connection), WINDOWS[0], NOW).arrived == 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: list[float], q: float) -> None:
    assert quantile(sorted(values), q) == pytest.approx(float(np.quantile(values, q)), abs=1e-6)


def show(store: Any, input_did: str, received_at: float, *, shown: bool = True, attempt: str = "A" * 26) -> None:
    """A record of a file as it came in."""
    values = {"campaign": "pdhd-prompt", "version": "v1", "input_did": input_did, "stage": "evaluate", "attempt": attempt, "shown": shown}
    rest = {"run": 7, "detector": "pdhd", "made_at": received_at, "received_at": received_at, "folder": "", "payload": "numpy"}
    with store.write() as connection:
        empty = {"notes": [], "pictures_missing": [], "elements": [], "scalars": b""}
        connection.execute(sa.insert(result_table).values(**values, **rest, **empty))


def test_every_hop_from_the_end_of_writing_to_the_page_is_timed(ledger: Any, store: Any) -> None:
    ledger.campaign()
    rng = np.random.default_rng(1)
    legs = rng.uniform(1, 100, (20, 6))
    received = {}
    for i, (declared, submitted, started, worked, results, shown) in enumerate(legs):
        closed = NOW - 1000 - i
        times = np.cumsum([closed + submitted, started, worked, results])
        task = ledger.task(
            7, i, state="done", closed_at=closed, **dict(zip(("submitted_at", "started_at", "reported_at", "done_at"), times, strict=True))
        )
        ledger.file(task["input_did"].partition(":")[2], closed_at=closed, declared_at=closed + declared)
        received[task["input_did"]] = times[1] + shown
    ledger.task(7, 98, state="done", attempts=0, closed_at=NOW - 9e5, done_at=NOW - 1)  # known as done when taken in: not ours
    ledger.task(7, 99, state="running", closed_at=NOW - 10, started_at=NOW - 5)
    ledger.write()
    for name, at in received.items():
        show(store, name, at)
    show(store, ledger.tasks[0]["input_did"], NOW, shown=False, attempt="0" * 26)
    with store.read() as connection:
        campaigns = counted_campaigns(connection)
        found = {row.leg: row for row in read_latency(connection, campaigns, NOW - 3600)}
        of_run = read_latency_of_run(connection, campaigns, 7)
        by_window = read_latency_by_window(connection, campaigns, WINDOWS, NOW)
    expected = {
        "declared": legs[:, 0],
        "submitted": legs[:, 1],
        "started": legs[:, 2],
        "worked": legs[:, 3],
        "results": legs[:, 4],
        "shown": legs[:, 5],
        "visible": legs[:, [1, 2, 5]].sum(axis=1),
        "total": legs[:, 1:5].sum(axis=1),
    }
    assert found.keys() == expected.keys()
    for leg, seconds in expected.items():
        row = found[leg]
        assert row.files == 20
        assert (row.p50, row.p95, row.p99) == pytest.approx(tuple(np.quantile(seconds, [0.5, 0.95, 0.99])), rel=1e-4)
        assert row.longest == pytest.approx(seconds.max(), rel=1e-4)
    assert of_run == list(found.values())
    assert by_window["1h"] == list(found.values())
    done = [task["done_at"] for task in ledger.tasks if task["attempts"] and task["done_at"]]
    assert by_window["10min"][-1].files == sum(at >= NOW - 600 for at in done)


def test_where_each_stage_is_a_job_the_first_is_submitted_and_the_last_is_done(ledger: Any, store: Any) -> None:
    ledger.campaign(layout="staged")
    for k, step in enumerate(("nf_sp", "declare", "evaluate", "dqm_upload")):
        begun = NOW - 400 + 100 * k
        times = {"submitted_at": begun, "started_at": begun + 10, "reported_at": begun + 60, "done_at": begun + 70}
        ledger.task(7, 0, step=step, state="done", closed_at=NOW - 405, **times)
    ledger.write()
    with store.read() as connection:
        found = {row.leg: row.p50 for row in read_latency(connection, counted_campaigns(connection), NOW - 3600)}
    assert found["submitted"] == pytest.approx(5)
    assert found["started"] == pytest.approx(10)
    assert found["worked"] == pytest.approx(350)
    assert found["total"] == pytest.approx(375)
    assert found["shown"] is None


def test_without_finished_files_there_is_no_latency(ledger: Any, store: Any) -> None:
    ledger.campaign()
    ledger.task(7, 0, state="running")
    ledger.write()
    with store.read() as connection:
        assert all(row.p50 is None and row.files == 0 for row in read_latency(connection, counted_campaigns(connection), NOW - 3600))
