"""The page of a file: every attempt with log and report, the chain of outputs, the catalogues' records, the results, the events."""

from __future__ import annotations

import json
import re
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import sqlalchemy as sa

from campaign.ledger.tables import commit_table
from campaign.places import job_dir
from declare_daemon.journal.tables import queue_table, step_table, waiver_table

NOW = 1_718_795_400.0
RUN = 27305


def text_of(html: str) -> str:
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", html))


def part(html: str, name: str) -> str:
    return html.partition(f'id="{name}"')[2].partition("</section>")[0]


class Story:
    """A file that failed once and succeeded then, with two declared outputs."""

    def __init__(self, ledger: Any, store: Any, leave_report: Any, make_stage: Any) -> None:
        ledger.campaign()
        ledger.campaigns[0]["content"] = {"stages": {"nf_sp": {"payload": "wirecell", "memory": "3GB"}, "evaluate": {}}}
        self.task = ledger.task(RUN, 3, state="done", attempts=2)
        self.did = self.task["input_did"]
        self.name = self.did.partition(":")[2]
        self.stem = self.name.removesuffix(".hdf5")
        self.first = ledger.attempt(
            self.task, 1, log="no answer\n", error_class="transient", message="xrootd: no answer", ended_at=NOW - 700, started_at=NOW - 760
        )
        self.second = ledger.attempt(
            self.task,
            2,
            state="succeeded",
            launcher="htcondor",
            handle="8812.3",
            host="b7g42.cern.ch",
            started_at=NOW - 600,
            ended_at=NOW - 520,
        )
        self.outputs = [f"{self.stem}_pdhd-prompt_v1_gauss.npz", f"{self.stem}_pdhd-prompt_v1_metrics.json"]
        self.raw = ledger.file(self.name, run=RUN, metadata={"core.run_type": "hd-protodune", "dune.x": "<b>"})
        self.made = [
            ledger.file(
                name,
                origin="outbox",
                did=f"hd-protodune-det-reco:{name}",
                run=RUN,
                attempt=self.second["id"],
                size_bytes=size,
                parents=[self.did],
                metadata={
                    "core.application.name": stage,
                    "dune.workflow": {"code_version": "0.9.1+g8a7b6c", "campaign_file_sha256": "ab" * 32},
                },
            )
            for name, stage, size in zip(self.outputs, ("nf_sp", "evaluate"), (180_000_000, 53_000), strict=True)
        ]
        ledger.write()
        rows = {
            "nf_sp": [["~_pdhd-prompt_v1_gauss.npz", 180_000_000, "0a1b2c3d", True], ["~_pdhd-prompt_v1_log.txt", 900, "00000002", False]],
            "declare": [["~_pdhd-prompt_v1_gauss.npz", 180_000_000, "0a1b2c3d", True]],
            "evaluate": [["~_pdhd-prompt_v1_metrics.json", 53_000, "00000003", True]],
            "dqm_upload": None,
        }
        with store.write() as connection:
            for stage, outputs in rows.items():
                values = {"input_id": self.task["id"], "stage": stage, "attempt_id": self.second["id"], "outputs": outputs}
                connection.execute(sa.insert(commit_table).values(**values))
        self.report = leave_report(
            self.second["id"],
            [
                make_stage("nf_sp", took_s=61.0, outputs=(self.outputs[0],), metrics={"mb_per_s": 2.13, "note": "<i>"}),
                make_stage("declare"),
            ],
            host="b7g42.cern.ch",
        )


@pytest.fixture
def story(ledger: Any, store: Any, leave_report: Any, make_stage: Any) -> Story:
    return Story(ledger, store, leave_report, make_stage)


@pytest.fixture
def html(client: Any, story: Story) -> str:
    answer = client.get(f"/files/{quote(story.did, safe='')}")
    assert answer.status_code == 200
    return str(answer.text)


def test_every_attempt_is_told_with_where_it_ran_and_how_it_ended(html: str, story: Story) -> None:
    attempts = part(html, "attempts")
    newest, oldest = (text_of(item) for item in attempts.split("<article")[1:])
    for words in ("Attempt 2", "succeeded", "htcondor", "8812.3", "b7g42.cern.ch", "1\u202fmin 20\u202fs"):
        assert words in newest
    assert "counts for nf_sp, declare, evaluate, dqm_upload" in newest
    for words in ("Attempt 1", "failed", "worker-7", "1\u202fmin", "transient xrootd: no answer"):
        assert words in oldest
    assert "counts for" not in oldest
    for attempt in (story.first, story.second):
        assert f'href="/attempts/{attempt["id"]}/log"' in attempts
    assert f'href="/attempts/{story.second["id"]}/report"' in attempts
    assert f'href="/attempts/{story.first["id"]}/report"' not in attempts


def test_the_report_is_a_table_and_the_json_is_as_it_was_written(client: Any, html: str, story: Story) -> None:
    rows = [text_of(row) for row in part(html, "attempts").partition('class="list report"')[2].partition("<tbody>")[2].split("</tr>")[:2]]
    assert "nf_sp" in rows[0]
    assert "1\u202fmin 1\u202fs" in rows[0]
    assert "412\u202fMB" in rows[0]
    assert "…_pdhd-prompt_v1_gauss.npz" in rows[0]
    assert "mb_per_s 2.13" in rows[0]
    assert "&lt;i&gt;" in rows[0]
    assert "declare" in rows[1]
    answer = client.get(f"/attempts/{story.second['id']}/report")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == story.report
    assert client.get(f"/attempts/{story.first['id']}/report").status_code == 404
    assert client.get("/attempts/nobody/report").status_code == 404


def test_a_report_that_cannot_be_read_is_told_of(client: Any, ledger: Any, tmp_path: Path) -> None:
    ledger.campaign()
    task = ledger.task(RUN, 0, state="parked")
    attempts = [ledger.attempt(task, number, log="x") for number in (1, 2, 3)]
    ledger.write()
    folders = [job_dir(tmp_path / "workspace", attempt["id"]) for attempt in attempts]
    (folders[0] / "report.json").write_text('{"schema": 1')
    (folders[1] / "report.json").write_text(json.dumps({"schema": 99}))
    (tmp_path / "secret").write_text('{"token": "swordfish"}')
    (folders[2] / "report.json").symlink_to(tmp_path / "secret")
    page = client.get(f"/files/{quote(task['input_did'], safe='')}")
    assert page.status_code == 200
    assert page.text.count("the report cannot be read") == 2
    assert "swordfish" not in page.text
    assert client.get(f"/attempts/{attempts[2]['id']}/report").status_code == 404


def test_the_chain_shows_who_counts_for_each_stage_and_what_it_made(html: str, story: Story) -> None:
    chain = part(html, "chain")
    links = [text_of(item) for item in chain.split("<li")[1:]]
    assert [link.split(">")[-1].split()[0] for link in links] == ["raw", "nf_sp", "declare", "evaluate", "dqm_upload"]
    assert "payload wirecell memory 3GB" in links[1]
    assert all("number 2 counts" in link for link in links[1:])
    assert "…_pdhd-prompt_v1_gauss.npz 180\u202fMB, declared" in links[1]
    assert "…_pdhd-prompt_v1_log.txt 900\u202fB, not declared" in links[1]
    assert "gauss" not in links[2], "declare made nothing of its own"
    assert "…_pdhd-prompt_v1_metrics.json 53.0\u202fkB, declared" in links[3]
    assert "code 0.9.1+g8a7b6c" in text_of(chain)
    assert "abababababab" in chain
    assert "it is another now" in chain
    assert f'href="/files/hd-protodune-det-reco%3A{story.outputs[0]}"' in chain


def test_the_records_of_the_catalogues_stand_side_by_side(client: Any, store: Any, story: Story) -> None:
    with store.write() as connection:
        steps = [("sam", "metadata", 1), ("metacat", "metadata", 2), ("rucio", "replica", 3)]
        for catalogue, step, after in steps:
            connection.execute(sa.insert(step_table).values(file_id=story.raw["id"], catalog=catalogue, step=step, done_at=NOW + after))
        connection.execute(sa.insert(queue_table).values(file_id=story.made[0]["id"], catalog="metacat", step="metadata"))
        values = {"file_id": story.made[1]["id"], "catalog": "embedded", "at": NOW, "by": "anna", "why": "<lost>"}
        connection.execute(sa.insert(waiver_table).values(**values))
    tables = part(client.get(f"/files/{quote(story.did, safe='')}").text, "catalogues").split("<table")[1:]
    assert len(tables) == 3
    raw, gauss, metrics = tables
    assert re.findall(r'<th scope="col">([a-z]+)</th>', raw) == ["embedded", "metacat", "rucio", "sam"]
    confirmed = re.findall(r"<td>(.*?)</td>", raw.partition(">confirmed<")[2].partition("</tr>")[0], re.DOTALL)
    assert [text_of(cell).strip() for cell in confirmed] == [
        "–",
        "metadata 2024-06-19 11:10:02",
        "replica 2024-06-19 11:10:03",
        "metadata 2024-06-19 11:10:01",
    ]
    identity = re.findall(r"<td[^>]*>(.*?)</td>", raw.partition(">identity<")[2].partition("</tr>")[0], re.DOTALL)
    assert identity == ["–", story.did, story.did, story.name]
    assert "2 fields" in raw
    assert "&lt;b&gt;" in raw
    assert "<b></dd>" not in raw
    assert "waived by anna: &lt;lost&gt;" in text_of(metrics)
    assert "next" not in text_of(raw)
    assert "metadata next" not in text_of(gauss), "a catalogue that is not listed and has confirmed nothing is not shown"


def test_what_waits_for_a_catalogue_says_why(client: Any, ledger: Any, store: Any) -> None:
    ledger.campaign()
    row = ledger.file("raw.hdf5", state="verified", run=RUN, tries=2, next_try=NOW + 30, reason="metacat: no answer")
    ledger.write()
    with store.write() as connection:
        connection.execute(sa.insert(queue_table).values(file_id=row["id"], catalog="embedded", step="metadata"))
    catalogues = text_of(part(client.get("/files/hd-protodune:raw.hdf5").text, "catalogues"))
    assert "metadata next" in catalogues
    assert "try 3 at 11:10:30: metacat: no answer" in catalogues


def test_the_results_of_all_attempts_are_listed_and_the_shown_one_is_marked(client: Any, story: Story, quality: Any) -> None:
    quality.record(story.task, story.first["id"], shown=False, flag=3)
    quality.record(story.task, story.second["id"], shown=True, flag=2, pictures_missing=["a", "b"])
    page = client.get(f"/files/{quote(story.did, safe='')}").text
    newest, oldest = (text_of(row) for row in part(page, "results").partition("<tbody>")[2].split("</tr>")[:2])
    assert "medium" in newest
    assert "shown" in newest
    assert story.second["id"] in newest
    assert "bad" in oldest
    assert "history" in oldest
    link = f"/runs/{RUN}/quality?campaign=pdhd-prompt&amp;version=v1&amp;file={story.name}"
    assert part(page, "results").count(f'href="{link}"') == 1
    assert f'href="{link}"' in part(page, "chain")


def test_an_output_has_a_page_that_leads_back_to_its_raw_file(client: Any, story: Story) -> None:
    page = client.get(f"/files/hd-protodune-det-reco:{story.outputs[0]}").text
    assert f'href="/files/{quote(story.did)}"' in page
    assert f'href="/attempts/{story.second["id"]}/log"' in page
    how = text_of(part(page, "chain"))
    assert f"made from {story.did} by pdhd-prompt v1, stage nf_sp (payload wirecell)" in how
    assert f"attempt {story.second['id']} (number 2 of its task), job 8812.3 of htcondor, on b7g42.cern.ch" in how
    assert "the campaign file has changed since" in how


ODD = [
    "hd:a b.hdf5",
    "hd:50%.hdf5",
    "hd:a?b#c.hdf5",
    "hd:run/1/2.hdf5",
    "hd:ä€.hdf5",
    "hd:a&b=c;d.hdf5",
    "hd:..",
    "hd:a+b.hdf5",
    'hd:"x"',
]


@pytest.mark.parametrize("did", ODD)
def test_a_file_is_found_whatever_its_name(client: Any, ledger: Any, did: str) -> None:
    ledger.campaign()
    ledger.task(RUN, 0, did=did, state="parked", error_class="data")
    ledger.write()
    for page in (client.get(f"/runs/{RUN}"), client.get("/parked"), client.get("/")):
        link = re.search(r'href="(/files/[^"]+)"', page.text)
        assert link is not None
        answer = client.get(link[1].replace("&amp;", "&"))
        assert answer.status_code == 200
        assert "The journal does not know this file." in answer.text
    assert client.get("/files", params={"did": did}).status_code == 200


def test_a_real_server_decodes_a_name_once(served: str, ledger: Any) -> None:
    ledger.campaign()
    ledger.task(RUN, 0, did="hd:%2e%2e%41.hdf5")
    ledger.write()
    address = urlsplit(served)
    for path in ("/files/hd%3A%252e%252e%2541.hdf5", "/files?did=hd:%252e%252e%2541.hdf5"):
        with closing(HTTPConnection(address.hostname or "", address.port, timeout=30)) as connection:
            connection.request("GET", path)
            assert connection.getresponse().status == 200


def test_a_file_is_found_by_its_name_alone(client: Any, ledger: Any) -> None:
    ledger.file("raw.hdf5", run=RUN)
    ledger.file("gauss.npz", origin="outbox", did="hd-reco:gauss.npz")
    ledger.write()
    for name, did in (("raw.hdf5", "hd-protodune:raw.hdf5"), ("gauss.npz", "hd-reco:gauss.npz")):
        answer = client.get("/files", params={"did": name}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/files/{quote(did, safe='')}")


@pytest.mark.parametrize(
    "path", ["/files", "/files?did=nothing.hdf5", "/files?did=hd:nothing.hdf5", "/files/hd:nothing.hdf5", "/files/nothing"]
)
def test_a_file_nobody_knows_is_a_page_that_says_so(client: Any, ledger: Any, path: str) -> None:
    ledger.write()
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
