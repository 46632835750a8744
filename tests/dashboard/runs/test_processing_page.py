"""The processing page of a run: its head, its files by stages in the table and on the canvas, its certificate."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from campaign.certificate.certificate import certify
from campaign.ledger.tables import task_table
from campaign.states import TaskState
from dashboard import words
from dashboard.operations.campaigns import CountedCampaign
from dashboard.quality.flags import Flag
from dashboard.runs.matrix import KINDS, STATES, MatrixFile, in_columns, of_chain

NOW = 1_718_795_400.0
RUN = 27296
STAGES = ("nf_sp", "declare", "evaluate", "dqm_upload")


def text_of(html: str) -> str:
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", html))


def rows_of(html: str) -> list[list[str]]:
    body = html.partition("files-table")[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [[text_of(cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)] for row in body.split("</tr>")[:-1]]


@pytest.fixture
def fused(ledger: Any) -> Any:
    """One file in each state."""
    ledger.campaign()
    for i, state in enumerate(TaskState):
        error = {"error_class": "data", "message": "cut <off>"} if state in ("parked", "waiting_retry") else {}
        ledger.task(RUN, i, state=state.value, late=state == "parked", **error)
    ledger.task(RUN - 6, 0, state="done")
    ledger.task(RUN + 3, 0)
    ledger.write()
    return ledger


def test_every_file_has_a_row_with_its_stages_in_words(client: Any, fused: Any) -> None:
    rows = rows_of(client.get(f"/runs/{RUN}").text)
    assert len(rows) == len(TaskState)
    for row, state in zip(rows, TaskState, strict=True):
        word = words.SIGNS[state].word
        if state is TaskState.DONE:
            assert row[1:5] == ["done"] * 4
        elif state is TaskState.REPORTED:
            assert row[1:5] == ["done", "declaring", "done", "done"]
        elif state is TaskState.WAIVED:
            assert row[1:5] == ["waived"] * 4
        else:
            assert row[1:5] == [word, "waiting", "waiting", "waiting"]
    parked = rows[list(TaskState).index(TaskState.PARKED)]
    assert "data cut &lt;off&gt;" in parked[-1]
    assert "late" in parked[-2]


def test_a_retry_begins_at_the_first_stage_that_does_not_count(client: Any, ledger: Any) -> None:
    ledger.campaign()
    task = ledger.task(RUN, 0, state="parked")
    attempt = ledger.attempt(task)
    ledger.commits += [
        {"input_id": task["input_id"], "stage": stage, "attempt_id": attempt["id"], "outputs": None} for stage in ("nf_sp", "declare")
    ]
    ledger.write()
    assert rows_of(client.get(f"/runs/{RUN}").text)[0][1:5] == ["done", "done", "parked", "waiting"]


@given(st.sampled_from(list(TaskState)), st.integers(0, 4))
def test_a_chain_has_each_stage_in_one_state_and_never_goes_back(state: TaskState, committed: int) -> None:
    stages = of_chain(state, frozenset(STAGES[:committed]))
    assert len(stages) == 4
    if state not in (TaskState.DONE, TaskState.REPORTED):
        assert stages.count(TaskState.DONE) == min(committed, 3)
        assert state in stages
        assert sorted(stages, key=lambda item: item is not TaskState.DONE) == list(stages)


def test_a_staged_file_has_the_state_of_each_task(client: Any, ledger: Any) -> None:
    ledger.campaign(layout="staged")
    states = ("done", "parked", "blocked", "blocked")
    for step, state in zip(STAGES, states, strict=True):
        ledger.task(RUN, 0, step=step, state=state)
        ledger.task(RUN, 1, step=step, state="done")
    ledger.write()
    html = client.get(f"/runs/{RUN}").text
    assert [row[1:5] for row in rows_of(html)] == [["done", "parked", "waiting", "waiting"], ["done"] * 4]
    assert "2 files , 1 done , 1 parked" in text_of(html).replace(",", " ,").replace("  ", " ")


def test_files_are_filtered_by_kind_and_read_a_hundred_at_a_time(client: Any, ledger: Any, store: Any) -> None:
    ledger.campaign()
    for i in range(230):
        ledger.task(RUN, i, state="parked" if i % 10 == 0 else "running" if i % 10 == 1 else "done")
    ledger.write()
    with store.read() as connection:
        counted = Counter(connection.execute(sa.select(task_table.c.state)).scalars())
    pages = [rows_of(client.get(f"/runs/{RUN}?page={page}").text) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [100, 100, 30]
    assert [int(row[0]) for page in pages for row in page] == list(range(230))
    html = client.get(f"/runs/{RUN}?state=parked").text
    assert [int(row[0]) for row in rows_of(html)] == list(range(0, 230, 10))
    kinds = dict(re.findall(r"(all|done|at work|waiting|parked|waived) <b>(\d+)</b>", html.partition('class="choice kinds"')[2]))
    assert kinds == {
        "all": "230",
        "done": str(counted["done"]),
        "at work": str(counted["running"]),
        "waiting": "0",
        "parked": str(counted["parked"]),
        "waived": "0",
    }
    assert rows_of(client.get(f"/runs/{RUN}?page=99").text) == pages[2]
    assert rows_of(client.get(f"/runs/{RUN}?page=x&state=nonsense").text) == pages[0]
    assert "No file of this kind." in client.get(f"/runs/{RUN}?state=waived").text


def test_the_columns_are_the_rows_of_the_table(client: Any, fused: Any, quality: Any) -> None:
    done = next(task for task in fused.tasks if task["state"] == "done" and task["run"] == RUN)
    quality.record(done, "x" * 26, flag=3)
    quality.record(done, "w" * 26, flag=1, shown=False)
    read = client.get(f"/api/v1/runs/{RUN}/matrix?campaign=pdhd-prompt&version=v1").json()
    rows = rows_of(client.get(f"/runs/{RUN}").text)
    tasks = [task for task in fused.tasks if task["run"] == RUN]
    assert read["files"] == len(tasks) == len(rows)
    for i, (task, row) in enumerate(zip(tasks, rows, strict=True)):
        assert read["prefix"] + read["names"][i] + read["suffix"] == task["input_did"]
        assert [read["words"][int(read["stages"][stage][i])] for stage in STAGES] == row[1:5]
        assert (i in read["late"]) == task["late"]
        assert read["quality"][i] == ("3" if task is done else "-")
    assert rows[tasks.index(done)][5] == "bad"
    assert read["messages"] == {str(i): f"data: {task['message']}" for i, task in enumerate(tasks) if task["error_class"]}
    assert [read["kinds"][i] for i in range(len(TaskState))] == [words.SIGNS[state].kind for state in TaskState]
    assert set(read["kinds"]) == set(KINDS)


@given(st.lists(st.text(max_size=12), max_size=8, unique=True), st.randoms(use_true_random=False))
def test_names_are_shortened_without_loss(names: list[str], rng: Any) -> None:
    files = [
        MatrixFile(
            input_did=f"hd:{name}",
            file_index=None,
            stages=tuple(rng.choice(STATES) for _ in STAGES),
            state=TaskState.READY,
            late=rng.random() < 0.5,
            attempts=0,
            failures=0,
            deadline=NOW,
            error_class=None,
            message=None,
            flag=rng.choice([None, *Flag]),
        )
        for name in names
    ]
    read = in_columns(1, CountedCampaign(1, "a", "v1", "fused", "pdhd", "chain"), files)
    assert [read.prefix + name + read.suffix for name in read.names] == [file.input_did for file in files]
    assert [tuple(STATES[int(read.stages[stage][i])] for stage in STAGES) for i in range(len(files))] == [file.stages for file in files]
    assert [None if flag == "-" else Flag(int(flag)) for flag in read.quality] == [file.flag for file in files]


def test_the_head_tells_of_the_run_and_links_both_tabs(client: Any, fused: Any, quality: Any) -> None:
    for i in range(3):
        fused.file(f"raw{i}.hdf5", run=RUN, size_bytes=10**9, closed_at=NOW - 7200 + i)
    fused.write()
    quality.run(RUN, bad=1, medium=2, good=40, null=3)
    quality.people(RUN, 3, by="anna", comment="HV <trip>")
    quality.excluded(RUN)
    html = client.get(f"/runs/{RUN}").text
    head = text_of(html.partition('id="run-head"')[2].partition("</section>")[0])
    assert "3 , 3.00\u202fGB" in head
    assert "closed 2024-06-19 09:10:02" in head
    assert "43 of 46 records judged" in head
    assert "anna, 2024-06-19 11:10:00" in head
    assert "excluded by ben: test run" in head
    assert "not complete" in head
    assert re.search(rf'href="/runs/{RUN - 6}\?campaign=pdhd-prompt&amp;version=v1" rel="prev"', html)
    assert re.search(rf'href="/runs/{RUN + 3}\?campaign=pdhd-prompt&amp;version=v1" rel="next"', html)
    assert f'href="/runs/{RUN}/quality?campaign=pdhd-prompt&amp;version=v1"' in html
    assert "HV &lt;trip&gt;" in html
    assert "<trip>" not in html


def test_a_run_is_seen_by_the_newest_campaign_unless_another_is_chosen(client: Any, ledger: Any) -> None:
    ledger.campaign(version="v1")
    ledger.campaign(version="v2")
    ledger.task(RUN, 0, campaign=1, state="done")
    ledger.task(RUN, 0, campaign=2)
    ledger.write()
    assert "0 of 1 files" in text_of(client.get(f"/runs/{RUN}").text)
    assert "1 of 1 files" in text_of(client.get(f"/runs/{RUN}?version=v1").text)
    assert client.get(f"/runs/{RUN}?version=v9").status_code == 404
    assert client.get(f"/api/v1/runs/{RUN}/matrix?version=v9").status_code == 404
    assert client.get(f"/api/v1/runs/{RUN}/matrix?version=v1").json()["stages"]["nf_sp"] == str(STATES.index(TaskState.DONE))


def test_a_run_that_only_data_quality_knows_has_a_page(client: Any, ledger: Any, quality: Any) -> None:
    ledger.write()
    quality.run(RUN, good=2, campaign="by-hand")
    html = client.get(f"/runs/{RUN}").text
    assert "not in the ledger" in html
    assert "The ledger has no file of this run." in html
    assert client.get(f"/api/v1/runs/{RUN}/matrix").status_code == 404


def test_the_certificate_is_the_one_the_command_line_prints(client: Any, ledger: Any, store: Any, site: Any) -> None:
    ledger.campaign()
    for i in range(2):
        task = ledger.task(RUN, i, state="done")
        ledger.file(task["input_did"].partition(":")[2], run=RUN, file_index=i, closed_at=NOW - 7200)
    ledger.write()
    answer = client.get(f"/api/v1/runs/{RUN}/certificate").json()
    with store.read() as connection:
        truth = certify(connection, site, RUN, NOW)
    assert (answer["sha256"], answer["certificate"]) == (truth.sha256, truth.content)
    html = client.get(f"/runs/{RUN}").text
    assert truth.sha256 in html
    assert truth.content["complete"]
    assert truth.headline in text_of(html)
    ledger.files[0]["state"] = "quarantined"
    ledger.task(RUN, 2, state="done")
    ledger.write()
    with store.read() as connection:
        missing = certify(connection, site, RUN, NOW).content["missing"]
    told = re.findall(r"<li>(.*?)</li>", client.get(f"/runs/{RUN}").text.partition('id="certificate"')[2].partition("</section>")[0])
    assert missing
    assert told[: len(missing)] == missing
    assert client.get("/api/v1/runs/1/certificate").status_code == 404


@pytest.mark.parametrize("path", ["/runs/12", f"/runs/{2**31}", "/runs/-1", "/runs/x", "/api/v1/runs/12/matrix"])
def test_what_is_not_there_is_a_page_that_says_so(client: Any, fused: Any, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"].startswith("application/json" if path.startswith("/api") else "text/html")


def test_what_is_in_the_address_or_in_names_is_escaped(client: Any, ledger: Any) -> None:
    evil = '<script>alert("x")</script>'
    ledger.campaign(name=evil)
    ledger.task(RUN, 0, did=f"hd:{evil}", state="parked", error_class=evil, message=evil)
    ledger.write()
    for path in (f"/runs/{RUN}", f"/runs/{RUN}?campaign={quote(evil)}", f"/runs/{RUN}?state={quote(evil)}"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text


def test_latencies_follow_the_files_that_are_done(client: Any, ledger: Any) -> None:
    def longest() -> str:
        row = re.search(r"closed → outputs declared.*?</tr>", client.get(f"/runs/{RUN}").text, re.DOTALL)
        assert row is not None
        return text_of(row[0]).replace("\u202f", " ")

    ledger.campaign()
    for i in range(2):
        ledger.task(RUN, i, state="done", attempts=1, closed_at=NOW - 900, done_at=NOW)
    ledger.write()
    before = longest()
    assert "15 min" in before
    assert longest() == before
    ledger.task(RUN, 2, state="done", attempts=1, closed_at=NOW - 7200, done_at=NOW)
    ledger.write()
    assert "2 h" in longest()
