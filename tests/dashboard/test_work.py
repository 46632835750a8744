"""The numbers of the operations page against a recount from the rows that were written."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaign.status import campaign_statuses
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.deadlines import read_next_deadline
from dashboard.operations.work import newest_runs, read_runs, read_work

NOW = 1_718_795_400.0
STAGES = ("nf_sp", "declare", "evaluate", "dqm_upload")
MOVING = ("ready", "submitting", "submitted", "running", "reported", "waiting_retry", "parked")
KIND = {
    "done": "done",
    "waived": "waived",
    "parked": "parked",
    "submitting": "at_work",
    "submitted": "at_work",
    "running": "at_work",
    "reported": "at_work",
}

# A file of a campaign: run, state of the step it is at, how many steps are done before (staged), late, and two times.
files = st.lists(
    st.tuples(
        st.sampled_from([27300, 27301, 27305]),
        st.sampled_from([*MOVING, "done", "waived"]),
        st.integers(0, 3),
        st.booleans(),
        st.integers(-5000, 5000),
        st.integers(-5000, 0),
        st.integers(0, 2),
    ),
    max_size=30,
)


def seed(ledger: Any, fused: list[Any], staged: list[Any]) -> None:
    ledger.campaigns.clear()
    ledger.tasks.clear()
    ledger.campaign("fused-one")
    ledger.campaign("staged-one", layout="staged")
    for i, (run, state, _, late, deadline, done, attempts) in enumerate(fused):
        values = {"late": late and state != "done", "deadline": NOW + deadline, "done_at": NOW + done if state == "done" else None}
        ledger.task(run, i, state=state, attempts=attempts, **values)
    for i, (run, state, position, late, deadline, done, attempts) in enumerate(staged):
        for k, step in enumerate(STAGES):
            of_step = "done" if k < position or state == "done" else state if k == position or state == "waived" else "blocked"
            values = {"late": late and of_step != "done", "deadline": NOW + deadline, "done_at": NOW + done if of_step == "done" else None}
            ledger.task(run, i, campaign=2, step=step, state=of_step, attempts=attempts, **values)
    ledger.write()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(fused=files, staged=files)
def test_every_number_equals_a_recount(ledger: Any, store: Any, fused: list[Any], staged: list[Any]) -> None:
    seed(ledger, fused, staged)
    with store.read() as connection:
        campaigns = counted_campaigns(connection)
        work = read_work(connection, campaigns)
        runs = read_runs(connection, campaigns, newest_runs(connection, campaigns))
        deadline = read_next_deadline(connection, campaigns, NOW)

    states = Counter(task["state"] for task in ledger.tasks)
    assert work.states == dict(states)
    assert work.files == len(fused) + len(staged)
    assert work.processed == sum(file[1] == "done" for file in fused + staged)
    assert work.running == states["submitted"] + states["running"]
    assert work.backlog == states["ready"] + states["waiting_retry"]
    assert (work.blocked, work.parked, work.reported) == (states["blocked"], states["parked"], states["reported"])
    assert work.late == sum(task["late"] for task in ledger.tasks)

    by_run: dict[tuple[int, str], Counter[str]] = {}
    for name, content in (("fused-one", fused), ("staged-one", staged)):
        for file in content:
            by_run.setdefault((file[0], name), Counter())[KIND.get(file[1], "waiting")] += 1
    assert {(row.run, row.campaign) for row in runs} == by_run.keys()
    assert [row.run for row in runs] == sorted((row.run for row in runs), reverse=True)
    for row in runs:
        expected = by_run[row.run, row.campaign]
        found = {name: getattr(row.counts, name) for name in ("done", "at_work", "waiting", "parked", "waived")}
        assert found == {name: expected[name] for name in found}
        assert row.counts.files == expected.total()
        assert row.fraction == pytest.approx(expected["done"] / expected.total())
    assert work.counts.files == sum(row.counts.files for row in runs)
    assert work.counts.waiting == sum(row.counts.waiting for row in runs)

    last = [task for task in ledger.tasks if task["step"] in ("chain", "dqm_upload")]
    assert work.in_lifetime == sum(task["state"] == "done" for task in last)
    assert work.missed == sum(task["late"] for task in last)
    assert work.on_disk == (work.in_lifetime / (work.in_lifetime + work.missed) if work.in_lifetime + work.missed else None)
    unprocessed = [task for task in last if task["state"] not in ("done", "waived")]
    ahead = [task["deadline"] for task in unprocessed if task["state"] != "parked" or task["deadline"] >= NOW]
    assert (deadline.at if deadline else None) == min(ahead, default=None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(fused=files, staged=files)
def test_the_page_and_the_command_line_tell_the_same(ledger: Any, store: Any, fused: list[Any], staged: list[Any]) -> None:
    seed(ledger, fused, staged)
    with store.read() as connection:
        work = read_work(connection, counted_campaigns(connection))
        statuses = campaign_statuses(connection)
    assert work.files == sum(status.files for status in statuses)
    assert work.processed == sum(status.processed for status in statuses)
    assert work.backlog == sum(status.backlog for status in statuses)
    assert work.parked == sum(status.parked for status in statuses)


def test_only_active_campaigns_are_counted(ledger: Any, store: Any) -> None:
    ledger.campaign("old")
    ledger.campaign("new")
    ledger.task(1, 0, campaign=1)
    ledger.task(1, 0, campaign=2, state="done")
    ledger.write()
    with store.read() as connection:
        work = read_work(connection, counted_campaigns(connection, [2]))
    assert (work.files, work.processed, work.backlog) == (1, 1, 0)


def test_an_empty_ledger_has_no_fraction(ledger: Any, store: Any) -> None:
    ledger.write()
    with store.read() as connection:
        campaigns = counted_campaigns(connection)
        assert read_work(connection, campaigns).fraction is None
        assert read_work(connection, campaigns).on_disk is None
        assert read_next_deadline(connection, campaigns, NOW) is None
