"""The hand-over: each number against a recount from the rows that were written, and the same in page, text and JSON."""

from __future__ import annotations

import re
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from dashboard.alarms.tables import alarm_table
from dashboard.dqm.tables import result_table
from dashboard.handover.files import QUESTIONS, rows_of
from dashboard.handover.period import LONGEST_S, SHIFT_S, Period, period_of
from dashboard.handover.report import HandOver, asked_of, hand_over
from dashboard.handover.text import as_text
from dashboard.operations.campaigns import counted_campaigns
from dune_prompt.store import Event, record_events

NOW = 1_718_795_400.0
SINCE = NOW - SHIFT_S
TARGET_S = 1800.0


@pytest.fixture
def shift(ledger: Any, store: Any) -> Any:
    """Eight hours with everything in them, and the same before and after, which does not count."""
    ledger.campaign()
    inside, before = NOW - 3600, SINCE - 60
    for index in range(12):
        closed = inside - 600 * index
        ledger.task(27300, index, state="done", closed_at=closed, done_at=inside, deadline=inside + (1 if index < 10 else -1))
    ledger.task(27299, 0, state="done", closed_at=before - 60, done_at=before)
    ledger.task(27298, 0, state="done", closed_at=before, done_at=inside, attempts=0)  # was processed when it was taken in
    failed = ledger.task(27300, 12, state="done", closed_at=inside - 60, done_at=inside)
    parked = ledger.task(27300, 13, state="parked", message="no disk", error_class="Data", deadline=NOW - 100)
    ledger.task(27300, 14, state="ready", deadline=NOW - 50, late=True)
    ledger.task(27300, 15, state="ready", deadline=NOW + 7200)
    ledger.attempt(failed, 1, error_class="Transient", message="XRootD: [3011]\nno such file", ended_at=inside)
    ledger.attempt(parked, 1, error_class="Data", message="truncated", ended_at=inside + 10)
    ledger.attempt(parked, 2, error_class="Data", message="truncated again", ended_at=inside + 20)
    ledger.attempt(parked, 3, error_class="Data", message="long ago", ended_at=before)
    for index in range(5):
        ledger.file(f"a{index}.hdf5", closed_at=inside + index, found_at=inside + index)
    ledger.file("b.hdf5", closed_at=before)
    ledger.file("c.hdf5", state="quarantined", reason="not HDF5", did=None, closed_at=before, found_at=inside)
    ledger.write()
    with store.write() as connection:
        deed = Event(inside, "campaign", "", "parked", "ready", "anna", "operate: disk is back")
        by_machine = Event(inside, "campaign", "task:9", "ready", "submitted", "engine")
        record_events(connection, [*(replace(deed, subject=f"task:{number}") for number in range(3)), by_machine])
    return ledger


def report(store: Any, site: Any, since: float = SINCE, until: float = NOW) -> HandOver:
    with store.read() as connection:
        return hand_over(connection, site, counted_campaigns(connection), Period(since, until), NOW)


def test_the_numbers_are_those_of_the_period(shift: Any, store: Any, site: Any) -> None:
    inside = [task for task in shift.tasks if task["done_at"] and SINCE <= task["done_at"] < NOW and task["attempts"]]
    numbers = {name: number.number for name, number in report(store, site).numbers.items()}
    assert numbers == {
        "arrived": 5,
        "processed": len(inside),
        "too-late": sum(task["done_at"] > task["deadline"] for task in inside),
        "overdue": sum(task["done_at"] is None and SINCE <= task["deadline"] < NOW for task in shift.tasks),
        "failed": sum(bool(attempt["error_class"]) and SINCE <= attempt["ended_at"] < NOW for attempt in shift.attempts),
        "parked": 1,
        "judged": 0,
        "not-good": 0,
        "stopped": 1,
    }
    assert numbers["processed"] == 13
    assert report(store, site).numbers["processed"].size_bytes == 13 * 4_000_000_000


def test_each_number_has_its_rows(shift: Any, store: Any, site: Any) -> None:
    found = report(store, site)
    with store.read() as connection:
        asked = asked_of(site, counted_campaigns(connection), found.period)
        for name, number in found.numbers.items():
            rows = rows_of(connection, QUESTIONS[name], asked)
            assert len(rows) == number.number
            assert sum(row.size_bytes or 0 for row in rows) == number.size_bytes


def test_latency_is_against_the_time_a_file_may_take(shift: Any, store: Any, site: Any) -> None:
    took = [task["done_at"] - task["closed_at"] for task in shift.tasks if task["done_at"] and task["done_at"] > SINCE and task["attempts"]]
    latency = report(store, site).latency
    assert (latency.target_s, latency.files) == (TARGET_S, len(took))
    assert latency.within == sum(one <= TARGET_S for one in took)
    assert latency.p50 == median(took)
    # Interpolated, as everywhere else.
    assert latency.p95 == pytest.approx(np.quantile(took, 0.95))
    assert latency.longest == max(took)


def test_failures_are_counted_by_class_with_the_newest(shift: Any, store: Any, site: Any) -> None:
    first, second = report(store, site).failures
    assert (first.error_class, first.attempts, first.files, first.done_since, first.message) == ("Data", 2, 1, 0, "truncated again")
    assert (second.error_class, second.attempts, second.files, second.done_since) == ("Transient", 1, 1, 1)


def test_a_deed_done_to_many_is_said_once_and_machines_are_left_out(shift: Any, store: Any, site: Any) -> None:
    (deed,) = report(store, site).deeds
    assert (deed.by, deed.what, deed.number, deed.message) == ("anna", "ready", 3, "operate: disk is back")


def test_runs_are_those_in_which_something_was_processed(shift: Any, store: Any, site: Any) -> None:
    found = report(store, site)
    (run,) = found.runs
    assert (run.run, run.processed, run.counts.files, run.counts.done, run.counts.parked) == (27300, 13, 16, 13, 1)
    assert found.runs_in_all == 1


def test_what_was_judged_is_counted(shift: Any, store: Any, site: Any, upload: Any, record: Any) -> None:
    for index in range(4):
        upload(record(27300, index, elements=1))
    with store.write() as connection:
        for index, flag in enumerate((1, 2, 3, 0)):
            row = result_table.c.file_index == index
            connection.execute(sa.update(result_table).where(row).values(flag=flag, received_at=NOW - 100))
    numbers = report(store, site).numbers
    assert (numbers["judged"].number, numbers["not-good"].number) == (3, 2)


def test_open_alarms_come_first_in_what_to_watch(shift: Any, store: Any, site: Any) -> None:
    common = {"rule": "x", "severity": "warning", "subject": "", "owner": "", "link": "/", "seen": 3, "first_seen_at": 0, "last_seen_at": 0}
    with store.write() as connection:
        for key, values in {
            "open": {"message": "no file for 20 min", "raised_at": NOW - 600},
            "over": {"message": "over", "raised_at": NOW - 600, "cleared_at": NOW - 10},
            "not yet": {"message": "once only", "raised_at": None},
        }.items():
            connection.execute(sa.insert(alarm_table).values(key=key, **common, **values))
    words = [item.words for item in report(store, site).watch]
    assert words[0] == "alarm since 10\u202fmin: no file for 20 min"
    assert "run 27300, file 14" in words[1]
    assert words[2].startswith("1 task is parked")
    assert not any("over" in one or "once only" in one for one in words[:1] + words[3:])


def test_page_text_and_json_say_the_same(shift: Any, client: Any, store: Any, site: Any) -> None:
    query = {"since": SINCE, "until": NOW}
    content = client.get("/api/v1/handover", params=query).json()
    text = client.get("/handover.txt", params=query)
    page = client.get("/handover", params=query).text
    assert text.headers["content-type"].startswith("text/plain")
    for name, number in content["numbers"].items():
        assert re.search(rf"^ +{number['number']}  {re.escape(number['words'])}", text.text, re.MULTILINE)
        shown = f'href="{number["query"].replace("&", "&amp;")}">{number["number"]}</a>'
        assert shown in page or (name in ("too-late", "overdue") and not number["number"])
        rows = client.get(f"/api/v1/handover/{name}", params=query).json()
        assert (rows["total"], len(rows["rows"])) == (number["number"], number["number"])
        assert client.get(number["query"]).status_code == 200
    for words in ("truncated again", "anna", "disk is back", "27300"):
        assert words in text.text
        assert words in page


def test_a_quiet_shift_says_so(client: Any, ledger: Any) -> None:
    ledger.campaign()
    ledger.write()
    text = client.get("/handover.txt").text
    assert "nobody anything" in text
    assert "nothing special" in text
    assert client.get("/handover").status_code == 200
    assert client.get("/api/v1/handover").json()["runs"] == []


def test_lines_that_end_or_script_in_a_message_do_no_harm(shift: Any, client: Any, store: Any, site: Any) -> None:
    message = "<script>alert(1)</script>\nWhat to watch"
    with store.write() as connection:
        record_events(connection, [Event(NOW - 1, "campaign", "<b>run</b>", None, "noted", "<i>eve</i>", message)])
    assert "<script>alert" not in client.get("/handover", params={"since": SINCE, "until": NOW}).text
    found = as_text(report(store, site), "http://here")
    assert found.count("\nWhat to watch\n") == 1


@pytest.mark.parametrize(
    ("address", "status"),
    [("/handover?since=9&until=5", 422), ("/handover?since=nan", 422), ("/handover/nothing", 404), ("/api/v1/handover/nothing", 404)],
)
def test_what_cannot_be_asked_is_refused(client: Any, address: str, status: int) -> None:
    assert client.get(address).status_code == status


@given(st.none() | st.floats(0, 2 * NOW), st.none() | st.floats(0, 2 * NOW))
def test_a_period_is_never_in_the_future_nor_longer_than_a_week(since: float | None, until: float | None) -> None:
    try:
        period = period_of(since, until, NOW)
    except ValueError:
        assert min(NOW if until is None else until, NOW) <= (SHIFT_S if since is None else since)
    else:
        assert period.since < period.until <= NOW
        assert period.length_s <= LONGEST_S
        assert period.before().until == period.since
