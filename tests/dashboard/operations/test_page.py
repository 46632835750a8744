"""Every number on the page against a count of the rows that were written."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from html import unescape
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from dashboard import words
from dashboard.dqm.tables import result_table
from dashboard.operations.history import HISTORY_WINDOWS, window_named
from dashboard.operations.history_reader import HistoryReader
from dashboard.operations.routes import render_parts
from dashboard.operations.snapshot import OperationsReader
from dashboard.operations.tables import sample_table
from dashboard.quality.flags import Flag
from dashboard.rendering import Pages
from declare_daemon.journal.writer import lease_name

NOW = 1_718_795_400.0
WITHIN_S = 1800.0
GB4 = 4_000_000_000


def text_of(html: str) -> str:
    return re.sub(r"\s*[ \n]\s*", " ", unescape(re.sub(r"<[^>]+>", " ", html))).strip()


def cells(html: str) -> list[list[str]]:
    """The texts of the rows of all tables."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.DOTALL)
    return [[text_of(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


@pytest.fixture
def shift(ledger: Any, store: Any, lease: Any, site: Any) -> Any:
    """Five hours of data taking, a file every half minute; oldest first, as the engine takes them in."""
    rng = random.Random(11)
    ledger.campaign()
    for i in range(600):
        closed = NOW - (600 - i) * 30.0
        run, index = 27300 + i // 100, i % 100
        chance = rng.random()
        state = "done" if i < 560 else rng.choice(["ready", "submitted", "running", "reported", "submitting"])
        state = "parked" if chance < 0.02 else "waiting_retry" if chance < 0.03 and i > 400 else state
        submitted = closed + rng.uniform(5, 30)
        started = submitted + rng.uniform(1, 60)
        reported = started + rng.uniform(60, 120) + (4000 if chance > 0.97 else 0)
        done = reported + rng.uniform(1, 10)
        if state == "done" and done > NOW:
            state = "running"
        task = ledger.task(
            run,
            index,
            state=state,
            late=state == "parked" and i < 100,
            closed_at=closed,
            created_at=closed + 4,
            deadline=closed + 86400 / 4,
            submitted_at=submitted if state not in ("ready", "submitting") else None,
            started_at=started if state in ("done", "running", "reported") else None,
            reported_at=reported if state == "done" else None,
            done_at=done if state == "done" else None,
            message="it failed" if state in ("parked", "waiting_retry") else None,
            error_class="data" if state == "parked" else None,
        )
        name = task["input_did"].partition(":")[2]
        ledger.file(name, run=run, closed_at=closed, declared_at=closed + rng.uniform(2, 6), state="left" if i < 200 else "declared")
        if state in ("parked", "waiting_retry"):
            failed = {"error_class": "data" if state == "parked" else "memory", "message": f"it failed <{i}>", "ended_at": closed + 25}
            ledger.attempt(task, log="log", **failed)
        elif state in ("submitted", "running", "submitting"):
            ledger.attempt(task, state=state, ended_at=None)
    ledger.file("bad.hdf5", state="quarantined", reason="cut off at 1 GB")
    ledger.file("twice.hdf5", state="conflict", reason="two checksums")
    ledger.write()
    lease("engine", NOW + 3600)
    lease(lease_name(site.buffer.path), NOW + 3600)
    return ledger


@pytest.fixture
def received(shift: Any, store: Any) -> dict[str, float]:
    """When the records of the done files came."""
    at = {task["input_did"]: task["reported_at"] - 5.5 for task in shift.tasks if task["state"] == "done"}
    run_of = {task["input_did"]: task["run"] for task in shift.tasks}
    same = {"campaign": "pdhd-prompt", "version": "v1", "stage": "evaluate", "attempt": "A" * 26, "shown": True, "detector": "pdhd"}
    empty = {"folder": "", "payload": "numpy", "notes": [], "pictures_missing": [], "elements": [], "scalars": b""}
    with store.write() as connection:
        rows = [same | empty | {"input_did": name, "run": run_of[name], "made_at": when, "received_at": when} for name, when in at.items()]
        connection.execute(sa.insert(result_table), rows)
    return at


@pytest.fixture
def parts(site: Any, store: Any, shift: Any, received: Any) -> Any:
    """Draw the parts of the page as they are at NOW."""

    def draw() -> dict[str, str]:
        reader = OperationsReader(site, store, lambda: SimpleNamespace(wanted=37, reason="592 tasks wait: 37 slots"))
        return render_parts(Pages(site), reader.read(NOW))

    return draw


def decided(tasks: list[Any], since: float) -> Counter[str]:
    """The files decided after `since`, one by one."""
    counts: Counter[str] = Counter()
    for task in tasks:
        over = task["closed_at"] + WITHIN_S
        done_at = task["done_at"]
        in_time = done_at is not None and done_at <= over
        at = done_at if in_time else over
        if at <= since or (not in_time and over > NOW and task["state"] != "parked"):
            continue
        counts["in time" if in_time else "later" if done_at is not None else "stopped" if task["state"] == "parked" else "not yet"] += 1
    return counts


def test_the_fraction_prompt_now_in_this_run_and_today(parts: Any, shift: Any) -> None:
    hero = parts()["hero"]
    periods = re.findall(r"<dt>(.*?)</dt>\s*<dd[^>]*>(.*?)</dd>\s*<dd[^>]*>(.*?)</dd>", hero, re.DOTALL)
    newest = [task for task in shift.tasks if task["run"] == 27305]
    midnight = NOW - NOW % 86400
    expected = [decided(shift.tasks, NOW - 600), decided(newest, 0), decided(shift.tasks, midnight)]
    assert [text_of(title) for title, *_ in periods] == ["last 10 min", "run 27305", "today"]
    for (_, figure, detail), counts in zip(periods, expected, strict=True):
        assert text_of(figure) == words.percent(counts["in time"] / counts.total())
        assert text_of(detail).startswith(f"{counts['in time']} of {counts.total()}")
        for how in ("later", "not yet", "stopped"):
            assert (f"{counts[how]} {how}" in text_of(detail)) == bool(counts[how])
    assert expected[2]["later"]
    assert expected[2]["stopped"]


def test_all_files_and_those_still_on_disk(parts: Any, shift: Any) -> None:
    text = text_of(parts()["hero"])
    states = Counter(task["state"] for task in shift.tasks)
    late = sum(task["late"] for task in shift.tasks)
    assert late
    assert f"All files processed {words.percent(states['done'] / 600)} {states['done']} of 600" in text
    assert f"while still on disk {words.percent(states['done'] / (states['done'] + late))}" in text
    at_work = sum(states[state] for state in ("submitting", "submitted", "running", "reported"))
    waiting = states["ready"] + states["waiting_retry"]
    assert f"{states['done']} done {at_work} at work {waiting} waiting {states['parked']} parked" in text


def test_rates_and_the_time_to_drain(parts: Any, shift: Any) -> None:
    drawn = parts()
    arrived = {length: sum(NOW - length < task["closed_at"] <= NOW for task in shift.tasks) for length in (600, 3600, 86400)}
    done = {length: sum(task["done_at"] is not None and task["done_at"] > NOW - length for task in shift.tasks) for length in arrived}
    text = text_of(drawn["rates"])
    assert f"arriving {words.number(arrived[600] / 600, 2)} files/s {words.size(arrived[600] * GB4 / 600)}/s" in text
    assert f"processed {words.number(done[600] / 600, 2)} files/s {words.size(done[600] * GB4 / 600)}/s" in text
    rows = cells(drawn["rates"])
    assert rows[1:] == [
        ["files arrived", *(words.count(number) for number in arrived.values())],
        ["files processed", *(words.count(number) for number in done.values())],
    ]
    states = Counter(task["state"] for task in shift.tasks)
    backlog = states["ready"] + states["waiting_retry"]
    net = (done[600] - arrived[600]) / 600
    assert net < 0
    text = text_of(drawn["backlog"])
    assert text.startswith(f"Backlog {backlog} grows by {words.number(-net * 60, 2)} files/min")
    assert f"{states['ready']} ready, {states['waiting_retry']} to retry" in text
    assert f"parked {states['parked']} late {sum(task['late'] for task in shift.tasks)}" in text


def test_jobs_and_slots_with_the_reason(parts: Any, shift: Any) -> None:
    states = Counter(task["state"] for task in shift.tasks)
    drawn = parts()
    assert text_of(drawn["jobs"]) == (
        f"Jobs running {states['running']} {states['submitting']} starting, {states['submitted']} queued, {states['reported']} declaring "
        "slots wanted 37 of 400 592 tasks wait: 37 slots"
    )
    (local,) = [row for row in cells(drawn["outside"]) if row[0] == "local"]
    in_flight = Counter(attempt["state"] for attempt in shift.attempts if attempt["ended_at"] is None)
    assert local == ["local", "takes jobs", str(in_flight["running"]), str(in_flight["submitted"] + in_flight["submitting"])]


def test_the_buffer_with_its_forecast_and_the_first_deadline(parts: Any, shift: Any, sample: Any) -> None:
    here = [file for file in shift.files if file["origin"] == "buffer" and file["state"] not in ("left", "gone", "quarantined")]
    used = GB4 * len(here)
    text = text_of(parts()["buffer"])
    assert text.startswith(f"Buffer {words.percent(used / 200e12)} forecast after 2 min {words.size(used)} of {words.size(200e12)}")
    assert f", {len(here)} files" in text
    unprocessed = [task for task in shift.tasks if task["state"] != "done" and (task["state"] != "parked" or task["deadline"] >= NOW)]
    first = min(unprocessed, key=lambda task: task["deadline"])
    left = (first["deadline"] - NOW) // 60 * 60
    assert f"first deadline in {words.duration(left)} run {first['run']}, file {first['file_index']}" in text

    sample(NOW - 1000, buffer_bytes=used - 10**12)
    text = text_of(parts()["buffer"])
    seconds = (0.9 * 200e12 - used) / 10**9
    assert f"high water in {words.duration(seconds // 60 * 60)}" in text
    assert "+1.00\u202fGB/s" in text


def test_latencies_by_hop(parts: Any, shift: Any, received: dict[str, float]) -> None:
    declared = {file["did"]: file["declared_at"] for file in shift.files}
    rows = cells(parts()["latency"])[2:]
    assert len(rows) == 8
    for length, columns in ((3600, (1, 2, 3)), (86400, (4, 5))):
        done = [task for task in shift.tasks if task["done_at"] is not None and task["done_at"] >= NOW - length]
        legs = {
            "closed → declared": [declared[task["input_did"]] - task["closed_at"] for task in done],
            "closed → submitted": [task["submitted_at"] - task["closed_at"] for task in done],
            "submitted → running": [task["started_at"] - task["submitted_at"] for task in done],
            "running → reported": [task["reported_at"] - task["started_at"] for task in done],
            "reported → outputs declared": [task["done_at"] - task["reported_at"] for task in done],
            "running → on DQM page": [received[task["input_did"]] - task["started_at"] for task in done],
            "closed → on DQM page": [received[task["input_did"]] - task["closed_at"] for task in done],
            "closed → outputs declared": [task["done_at"] - task["closed_at"] for task in done],
        }
        assert [row[0] for row in rows] == list(legs)
        for row in rows:
            quantiles = np.quantile(legs[row[0]], (0.5, 0.95, 0.99))
            assert [row[column] for column in columns] == [words.duration(value) for value in quantiles[: len(columns)]]


def test_the_newest_runs(parts: Any, shift: Any, received: dict[str, float]) -> None:
    rows = cells(parts()["runs"])[1:]
    assert [row[0] for row in rows] == [str(run) for run in range(27305, 27299, -1)]
    for row in rows:
        states = Counter(task["state"] for task in shift.tasks if task["run"] == int(row[0]))
        at_work = sum(states[state] for state in ("submitting", "submitted", "running", "reported"))
        numbers = (100, at_work, states["ready"] + states["waiting_retry"], states["parked"], states["done"])
        assert row[2:] == [words.percent(states["done"] / 100), *(str(number) for number in numbers)]


def test_failures_by_class_with_the_log_of_the_newest(parts: Any, shift: Any) -> None:
    drawn = parts()["failures"]
    failed = [attempt for attempt in shift.attempts if attempt["error_class"]]
    classes = Counter(attempt["error_class"] for attempt in failed)
    rows = cells(drawn)[1:]
    assert [(row[0], row[1]) for row in rows] == [(name, str(number)) for name, number in classes.most_common()]
    for row in rows:
        newest = max((attempt for attempt in failed if attempt["error_class"] == row[0]), key=lambda attempt: attempt["ended_at"])
        assert row[2] == newest["message"]
        assert f'href="/attempts/{newest["id"]}/log"' in drawn
    assert "&lt;" in drawn


def test_the_journal_and_the_catalogues(parts: Any, shift: Any) -> None:
    text = text_of(parts()["outside"])
    states = Counter(file["state"] for file in shift.files)
    assert f"declared {states['declared'] + states['left']} waiting 0 quarantined 1 conflicts 1" in text
    assert "embedded answers" in text
    assert "cut off at 1 GB" in text


def test_alarms_and_the_detector_stand_on_top(parts: Any, alarm: Any, rolled: Any) -> None:
    drawn = parts()
    assert text_of(drawn["open_alarms"]) == "no open alarms"
    assert text_of(drawn["detector"]) == "Detector no data"
    alarm("alarm", "92 % full <now>", raised_at=NOW - 720)
    alarm("warning", "a", raised_at=NOW - 7200)
    alarm("warning", "b")
    rolled(27305, {"P02NL": {"noise": int(Flag.MEDIUM)}, "P01SU": {"noise": int(Flag.GOOD)}}, received_at=NOW - 200)
    drawn = parts()
    assert text_of(drawn["open_alarms"]) == "1 alarm 2 warnings buffer 92 % full <now> 12\u202fmin"
    assert 'href="/alarms"' in drawn["open_alarms"]
    assert text_of(drawn["detector"]) == "Detector run 27305 P01SU good P02NL medium 3\u202fmin ago"
    assert 'href="/quality"' in drawn["detector"]


def test_what_is_old_of_the_detector_is_grey(parts: Any, rolled: Any) -> None:
    rolled(27305, {"P02NL": {"noise": int(Flag.GOOD)}}, received_at=NOW - 7200)
    drawn = parts()["detector"]
    assert text_of(drawn) == "Detector run 27305 P02NL old 2\u202fh ago"
    assert '"element null"' in drawn
    assert '"element good"' not in drawn


def test_the_history_has_its_numbers_without_javascript(site: Any, store: Any, sample: Any) -> None:
    rng = random.Random(2)
    rows = []
    for k in range(60):
        values = {name: rng.randrange(50) for name in ("backlog", "late", "running", "queued", "slots_wanted")}
        prompt = {"in_time": rng.randrange(10), "decided": 10, "buffer_fraction": rng.random()}
        totals = {"files": 1000 + 3 * k, "done": 900 + (k * k) // 10}
        rows.append(sample(NOW - 590 + 10 * k, **values, **prompt, **totals))
    part = HistoryReader(store, site.buffer).part(Pages(site), window_named("10min"), NOW + 4)
    found = {row[0]: row[1:] for row in cells(part) if row[0]}
    columns = {
        "in time": ([row["in_time"] / 10 for row in rows], words.percent),
        "arrived": ([0.3] * 30, lambda value: words.number(value, 2)),
        "processed": ([(rows[k + 30]["done"] - rows[k]["done"]) / 300 for k in range(30)], lambda value: words.number(value, 2)),
        "waiting": ([row["backlog"] for row in rows], words.count),
        "late": ([row["late"] for row in rows], words.count),
        "running": ([row["running"] for row in rows], words.count),
        "queued": ([row["queued"] for row in rows], words.count),
        "slots wanted": ([row["slots_wanted"] for row in rows], words.count),
        "filled": ([row["buffer_fraction"] for row in rows], words.percent),
    }
    for name, (values, shown) in columns.items():
        assert found[name] == [shown(float(value)) for value in (min(values), np.median(values), max(values))], name
    assert found["water marks"] == ["", words.percent(0.8), words.percent(0.9)]
    drawn = json.loads(re.findall(r"<script[^>]*>(.*?)</script>", part)[0])
    assert drawn["columns"]["backlog"] == [row["backlog"] for row in rows]


def test_the_window_is_in_the_address_and_the_api_gives_its_columns(client: Any, ledger: Any, sample: Any) -> None:
    ledger.write()
    now = time.time() // 60 * 60
    for k in range(5):
        sample(now - 60 * k, 60, backlog=k)
    page = client.get("/?window=24h").text
    assert re.search(r'data-window="24h"[^>]* aria-current="true"', page)
    assert len(re.findall(r'data-window="\w+"[^>]* aria-current', page)) == 1
    assert re.search(r'aria-current="true">8 h<', client.get("/?window=x").text)
    for window in HISTORY_WINDOWS:
        assert client.get(f"/api/v1/operations/history?window={window.name}").json()["window"] == window.name
    assert client.get("/api/v1/operations/history?window=x").status_code == 422
    history = client.get("/api/v1/operations/history?window=24h").json()
    assert (history["window"], history["interval_s"], len(history["columns"]["backlog"])) == ("24h", 60, 1440)
    assert [value for value in history["columns"]["backlog"] if value is not None][:4] == [4, 3, 2, 1]
    assert client.get("/operations/history?window=24h").text.count("<figure") == 5


def test_the_service_takes_samples_while_it_runs(app: Any, store: Any) -> None:
    query = sa.select(sample_table.c.interval_s).distinct().order_by(sample_table.c.interval_s)
    deadline = time.monotonic() + 10
    intervals: list[int] = []
    with TestClient(app):
        while intervals != [10, 60, 600, 3600]:
            assert time.monotonic() < deadline, "no sample was taken"
            time.sleep(0.02)
            with store.read() as connection:
                intervals = list(connection.execute(query).scalars())
