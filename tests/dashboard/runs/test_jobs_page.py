"""The pages of jobs in flight and of parked tasks against the rows that were written."""

from __future__ import annotations

import re
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from campaign.ledger.tables import task_table
from dashboard.app import create_app
from dashboard.runs.jobs import A_PAGE, SORTS, STALE_S, JobsChoice, read_page
from dashboard.runs.parked import ParkedChoice
from dune_prompt.settings.site import ServiceSettings

NOW = 1_718_795_400.0
SLOTS = SimpleNamespace(wanted=1, reason="one task waits")
EVIL = '<script>alert("x")</script>'


def text_of(html: str) -> str:
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", html))


def rows_of(html: str, table: str) -> list[str]:
    body = html.partition(f"list {table}")[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [text_of(row) for row in body.split("</tr>")[:-1]]


@pytest.fixture
def jobs(ledger: Any) -> Any:
    """Jobs of two launchers and two campaigns: running, silent, queued, past their lease, ended."""
    ledger.campaign()
    ledger.campaign("pdhd-keepup", "v2", "staged")
    now = time.time()
    for i in range(12):
        running = i % 3 != 0
        task = ledger.task(5, i, state="running" if running else "submitted", deadline=now + 1000 - i)
        ledger.attempt(
            task,
            state="running" if running else "submitted",
            ended_at=None,
            started_at=now - 1000 - i if running else None,
            submitted_at=now - 2000 - 7 * (i % 5),
            heartbeat_at=(now - 900 if i in (4, 7) else now - 10 - i) if running else None,
            lease_until=now - 60 if i == 3 else now + 600 + 11 * (i % 4),
            launcher="htcondor" if i % 2 else "jobsub",
            host=f"b7g{i % 4}.cern.ch" if running else None,
        )
    staged = ledger.task(6, 0, campaign=2, step="evaluate", state="running")
    ledger.attempt(
        staged,
        state="running",
        ended_at=None,
        stages="evaluate",
        started_at=now - 5,
        heartbeat_at=None,
        lease_until=now + 600,
        launcher="local",
    )
    ended = ledger.task(7, 0, state="done")
    ledger.attempt(ended, state="succeeded", ended_at=now - 1)
    ledger.write()
    return ledger


def numbers(html: str) -> list[int]:
    return [int(row.split("file ")[1].split()[0]) for row in rows_of(html, "jobs-table")]


def test_only_what_is_in_flight_is_listed_and_the_stale_come_first(client: Any, jobs: Any) -> None:
    html = client.get("/jobs").text
    rows = rows_of(html, "jobs-table")
    in_flight = [attempt for attempt in jobs.attempts if attempt["ended_at"] is None]
    assert len(rows) == len(in_flight) == 13
    assert "13 in flight, 3 stale" in text_of(html)
    assert ["stale" in row for row in rows] == [True] * 3 + [False] * 10
    # 4 and 7 are silent; 3 waits in the queue past its lease, and was never heard of.
    assert numbers(html)[:3] == [7, 4, 3] or numbers(html)[:3] == [4, 7, 3]
    assert "15\u202fmin" in rows[0]


def test_each_launcher_is_counted_by_state(client: Any, jobs: Any) -> None:
    counted = Counter((attempt["launcher"], attempt["state"]) for attempt in jobs.attempts if attempt["ended_at"] is None)
    text = text_of(client.get("/jobs").text.partition('id="launchers"')[2].partition("</div>")[0])
    for launcher in ("htcondor", "jobsub", "local"):
        assert f"{launcher} {counted[launcher, 'running']} running {counted[launcher, 'submitted']} queued" in text


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("launcher=jobsub", lambda task, attempt: attempt["launcher"] == "jobsub"),
        ("state=submitted", lambda task, attempt: attempt["state"] == "submitted"),
        ("host=b7g1.cern.ch", lambda task, attempt: attempt["host"] == "b7g1.cern.ch"),
        ("campaign=pdhd-keepup", lambda task, attempt: task["campaign_id"] == 2),
        ("campaign=pdhd-keepup+v2", lambda task, attempt: task["campaign_id"] == 2),
        ("step=evaluate", lambda task, attempt: "evaluate" in attempt["stages"]),
        ("step=chain&state=running", lambda task, attempt: task["step"] == "chain" and attempt["state"] == "running"),
    ],
)
def test_filters_leave_what_they_say(client: Any, jobs: Any, query: str, fits: Any) -> None:
    tasks = {task["id"]: task for task in jobs.tasks}
    expected = [attempt for attempt in jobs.attempts if attempt["ended_at"] is None and fits(tasks[attempt["task_id"]], attempt)]
    assert expected
    html = client.get(f"/jobs?{query}").text
    assert len(rows_of(html, "jobs-table")) == len(expected)
    assert {f"/attempts/{attempt['id']}/log" for attempt in expected} == set(re.findall(r'href="(/attempts/[^"]+)"', html))


@pytest.mark.parametrize("sort", SORTS)
def test_within_stale_and_others_the_chosen_order_holds(jobs: Any, store: Any, sort: str) -> None:
    now = time.time()
    with store.read() as connection:
        page = read_page(connection, JobsChoice(sort=sort), now)
    for stale in (True, False):
        mine = [job for job in page.jobs if job.is_stale(now) is stale]
        times: list[float] = {
            "heartbeat": [max((at for at in (job.heartbeat_at, job.started_at) if at), default=float("inf")) for job in mine],
            "age": [(job.started_at if job.state == "running" else job.submitted_at) or 0.0 for job in mine],
            "lease": [job.lease_until for job in mine],
            "deadline": [job.deadline for job in mine],
        }[sort]
        assert times == sorted(times)


def test_what_waits_in_a_queue_is_silent_and_not_stale(ledger: Any, store: Any) -> None:
    ledger.campaign()
    for i, (state, heard) in enumerate([("submitted", None), ("running", NOW - STALE_S + 1), ("running", NOW - STALE_S - 1)]):
        ledger.attempt(
            ledger.task(5, i, state=state), state=state, ended_at=None, started_at=None, heartbeat_at=heard, lease_until=NOW + 60
        )
    ledger.write()
    with store.read() as connection:
        page = read_page(connection, JobsChoice(), NOW)
    assert [(job.file_index, job.is_stale(NOW)) for job in page.jobs] == [(2, True), (1, False), (0, False)]


def test_jobs_are_read_a_hundred_at_a_time(client: Any, ledger: Any) -> None:
    ledger.campaign()
    now = time.time()
    for i in range(A_PAGE + 20):
        ledger.attempt(
            ledger.task(5, i, state="running"),
            state="running",
            ended_at=None,
            started_at=now,
            heartbeat_at=now - i / 10,
            lease_until=now + 99,
        )
    ledger.write()
    first, second, beyond = (numbers(client.get(f"/jobs?page={page}").text) for page in (1, 2, 9))
    assert (len(first), len(second)) == (A_PAGE, 20)
    assert sorted(first + second) == list(range(A_PAGE + 20))
    assert beyond == second


@pytest.fixture
def parked(ledger: Any) -> Any:
    """Parked tasks of three classes in two campaigns, some with logs, and others that are not parked."""
    ledger.campaign()
    ledger.campaign("pdhd-keepup", "v2")
    for i in range(9):
        error_class = ("data", "data", "memory")[i % 3]
        task = ledger.task(
            5 + i % 2,
            i,
            campaign=1 + (i == 8),
            state="parked",
            error_class=error_class,
            message=f"<{error_class}> {i}",
            late=i % 4 == 0,
            failures=4,
        )
        if i < 6:
            for number in (1, 2):
                ledger.attempt(
                    task,
                    number,
                    log="".join(f"line {n} of {i}.{number} {EVIL}\n" for n in range(20)),
                    error_class=error_class,
                    ended_at=NOW - 100 + i,
                )
    ledger.task(7, 0, state="parked", error_class=None, message=None)
    ledger.task(7, 1, state="done")
    ledger.task(7, 2, state="waiting_retry", error_class="data")
    ledger.write()
    return ledger


def test_classes_are_counted_with_the_newest_log(client: Any, parked: Any, store: Any) -> None:
    with store.read() as connection:
        query = "SELECT error_class, count(*), count(DISTINCT run), sum(late) FROM task WHERE state = 'parked' GROUP BY error_class"
        counted = {row[0]: row[1:] for row in connection.execute(sa.text(query))}
    html = client.get("/parked").text
    articles = {re.findall(r'aria-label="(\w+)"', item)[0]: text_of(item.partition("</article>")[0]) for item in html.split("<article")[1:]}
    assert set(articles) == {"data", "memory", "unknown"}
    for name, (tasks, runs, late) in counted.items():
        article = articles[name or "unknown"]
        assert f"{tasks} parked in {runs} run" in article
        assert ("late" in article) == bool(late)
        assert not late or f"{late} late" in article
    assert "line 19 of 4.2" in articles["data"], "task 4 has the latest attempt of its class"
    assert "line 12 of 4.2" in articles["data"]
    assert "line 11 of 4.2" not in articles["data"]
    assert "&lt;data&gt; 4" in articles["data"]
    assert "no log" in articles["unknown"]
    assert f"{sum(row[0] for row in counted.values())} wait for a person" in text_of(html)


def test_the_list_is_filtered(client: Any, parked: Any) -> None:
    def listed(query: str) -> set[int]:
        return {int(row.split("file ")[1].split()[0]) for row in rows_of(client.get(f"/parked?{query}").text, "parked-table")}

    tasks = [task for task in parked.tasks if task["state"] == "parked"]
    assert listed("") == {task["file_index"] for task in tasks}
    assert listed("class=memory") == {task["file_index"] for task in tasks if task["error_class"] == "memory"}
    assert listed("class=unknown") == {0}
    assert listed("run=6") == {task["file_index"] for task in tasks if task["run"] == 6}
    assert listed("campaign=pdhd-keepup") == {8}
    assert listed("class=memory&run=5") == {task["file_index"] for task in tasks if (task["error_class"], task["run"]) == ("memory", 5)}
    assert "Nothing that fits is parked." in client.get("/parked?run=999").text


def test_pages_of_parked_tasks_have_each_once(client: Any, ledger: Any, store: Any) -> None:
    ledger.campaign()
    for i in range(230):
        ledger.task(5, i, state="parked", error_class="data", message="cut off")
    ledger.write()
    path, seen = "/parked", []
    while path:
        html = client.get(path).text
        seen += [int(row.split("file ")[1].split()[0]) for row in rows_of(html, "parked-table")]
        found = re.search(r'href="(/parked[^"]*after=\d+)"', html)
        path = found[1].replace("&amp;", "&") if found else ""
    with store.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(task_table)).scalar() == len(seen) == len(set(seen)) == 230


def test_actions_name_what_they_are_about(client: Any, parked: Any) -> None:
    html = client.get("/parked?run=5&campaign=pdhd-prompt").text
    of_data = html.partition('aria-label="data"')[2].partition("</article>")[0]
    assert dict(re.findall(r'name="(\w+)" value="([^"]*)"', of_data)) == {"error_class": "data", "campaign": "pdhd-prompt", "run": "5"}
    assert "Retry all 3" in text_of(of_data)
    ids = {str(task["id"]) for task in parked.tasks if task["state"] == "parked" and task["run"] == 5 and task["campaign_id"] == 1}
    assert set(re.findall(r'data-act="/api/v1/tasks/(\d+)/retry"', html)) == ids
    assert len(re.findall("data-waives=", html)) == len(ids)
    unknown = client.get("/parked?run=7").text
    assert "Retry all" not in unknown, "a class without a name cannot be asked for"


def test_a_service_that_only_shows_has_no_actions(site: Any, store: Any, tokens: Any, parked: Any) -> None:
    showing = site.model_copy(update={"service": ServiceSettings(read_only=True)})
    app = create_app(showing, store, None, authenticate=tokens.authenticate, slots=lambda: SLOTS)
    html = TestClient(app).get("/parked").text
    assert "data-act=" not in html
    assert "data-opens" not in html
    assert "token-dialog" not in html
    assert "act.js" not in html
    assert len(rows_of(html, "parked-table")) == 10


def test_names_from_outside_are_escaped(client: Any, ledger: Any) -> None:
    ledger.campaign(name=EVIL)
    now = time.time()
    ledger.attempt(
        ledger.task(5, 0, state="running", did=f"hd:{EVIL}"),
        state="running",
        ended_at=None,
        host=EVIL,
        handle=EVIL,
        launcher=EVIL,
        lease_until=now,
    )
    ledger.attempt(ledger.task(5, 1, state="parked", error_class=EVIL, message=EVIL), host=EVIL, log=EVIL)
    ledger.write()
    for path in (
        "/jobs",
        f"/jobs?host={quote(EVIL)}&launcher={quote(EVIL)}",
        "/parked",
        f"/parked?class={quote(EVIL)}&campaign={quote(EVIL)}",
    ):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text


def test_addresses_keep_the_choice() -> None:
    assert JobsChoice(launcher="jobsub", host="a b", page=3).link(page=2) == "/jobs?launcher=jobsub&host=a+b&page=2"
    assert JobsChoice(page=3).link(state="running") == "/jobs?state=running"
    assert ParkedChoice(error_class="data", run=5, after=7).link() == "/parked?class=data&run=5"
    assert ParkedChoice(error_class="data").link(after=7) == "/parked?class=data&after=7"


def test_nothing_in_flight_and_nothing_parked_is_said(client: Any, ledger: Any) -> None:
    ledger.write()
    assert "Nothing is in flight." in client.get("/jobs").text
    text = text_of(client.get("/parked").text)
    assert "nothing waits for a person" in text
    assert "Nothing is parked." in text
