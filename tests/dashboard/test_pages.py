"""The pages as they arrive: complete without JavaScript, escaped, with headers that let nothing else in."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from campaign.places import job_dir

NOW = 1_718_795_400.0
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def text_of(html: str) -> str:
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_operations_page_has_its_numbers_without_javascript(client: Any, ledger: Any) -> None:
    ledger.campaign()
    for i in range(12):
        ledger.task(27305, i, state="done" if i < 9 else "running" if i < 11 else "parked")
    ledger.write()
    page = client.get("/")
    assert page.status_code == 200
    text = text_of(page.text)
    assert "All files processed 75.0\u202f% 9 of 12" in text
    assert "37 of 400" in text
    assert "592 tasks wait, 16 to a slot: 37 slots are wanted" in text
    assert "27305" in text


def test_the_api_tells_the_numbers_of_the_page(client: Any, ledger: Any) -> None:
    ledger.campaign()
    ledger.task(27305, 0, state="done")
    ledger.task(27305, 1)
    ledger.write()
    content = client.get("/api/v1/operations").json()
    assert (content["work"]["files"], content["work"]["processed"], content["slots"]["wanted"]) == (2, 1, 37)
    assert content["runs"][0]["counts"]["done"] == 1
    assert set(content["rates"]) == {"10min", "1h", "24h"}


def test_an_empty_site_says_that_there_is_no_data(client: Any, ledger: Any) -> None:
    ledger.write()
    text = text_of(client.get("/").text)
    assert "no data" in text
    assert "100" not in text.partition("Arrival")[0].replace("of 400", "")


@pytest.mark.parametrize("path", ["/", "/runs", "/static/dashboard.css", "/health", "/nothing", "/api/v1/operations"])
def test_every_answer_has_the_security_headers(client: Any, ledger: Any, path: str) -> None:
    ledger.write()
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/runs", "/runs/27305", "/files/" + quote("hd-protodune:x.hdf5")])
def test_pages_need_nothing_from_outside_and_no_inline_code(client: Any, ledger: Any, path: str) -> None:
    ledger.campaign()
    ledger.task(27305, 0, did="hd-protodune:x.hdf5")
    ledger.write()
    html = client.get(path).text
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', html)
    assert not re.search(r"<[^>]+\son\w+=", html)
    assert not re.search(r"<[^>]+\sstyle=", html)
    for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", html, re.DOTALL):
        assert 'type="application/json"' in attributes or not body.strip()
        if body.strip():
            json.loads(body)


def test_static_files_have_addresses_that_change_with_them(client: Any, ledger: Any) -> None:
    ledger.write()
    html = client.get("/").text
    addresses = set(re.findall(r'(?:src|href)="(/static/[^"#]+)', html))
    assert len(addresses) >= 7
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert client.get("/static/dashboard.css").headers["cache-control"] == "no-cache"
    assert client.get("/static/inter/inter-latin-wght-normal.woff2").status_code == 200
    assert client.get("/static/../app.py").status_code == 404


def test_what_files_and_jobs_are_called_is_escaped_everywhere(client: Any, ledger: Any) -> None:
    ledger.campaign(name="pdhd")
    name = f"hd-protodune:{EVIL}"
    task = ledger.task(27305, 0, did=name, state="parked", error_class=EVIL[:32], message=EVIL)
    attempt = ledger.attempt(task, error_class=EVIL[:32], message=EVIL, log=f"{EVIL}\n")
    ledger.file(EVIL, did=name, state="quarantined", reason=EVIL, run=27305)
    ledger.write()
    for path in (
        "/",
        "/runs",
        "/runs/27305",
        f"/files/{quote(name, safe='')}",
        f"/attempts/{attempt['id']}/log",
        f"/runs/27305?element={quote(EVIL)}",
    ):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text, path
        assert "<img src=x" not in answer.text, path
    assert "&lt;script&gt;" in client.get(f"/attempts/{attempt['id']}/log").text


def test_an_unknown_page_is_a_page_and_an_unknown_api_is_json(client: Any, ledger: Any) -> None:
    ledger.write()
    page = client.get(f"/{quote(EVIL)}")
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "<script>alert" not in page.text
    assert client.get("/api/v1/nothing").json() == {"detail": "Not Found"}
    assert client.get("/runs/12").status_code == 404
    misunderstood = client.get("/runs/0x12")
    assert misunderstood.status_code == 422
    assert misunderstood.headers["content-type"].startswith("text/html")
    assert client.get("/api/v1/dqm/runs/0x12").json()["detail"][0]["loc"] == ["path", "run"]


def test_only_the_last_part_of_a_long_log_is_shown(client: Any, ledger: Any) -> None:
    ledger.campaign()
    attempt = ledger.attempt(ledger.task(1, 0, state="parked"), log="first line\n" + "x" * 70_000 + "\nlast line\n")
    ledger.write()
    text = client.get(f"/attempts/{attempt['id']}/log").text
    assert "last line" in text
    assert "first line" not in text
    assert len(text) < 70_000


def test_a_log_that_is_a_link_is_not_followed(client: Any, ledger: Any, tmp_path: Path) -> None:
    ledger.campaign()
    attempt = ledger.attempt(ledger.task(1, 0, state="parked"), log="x")
    (tmp_path / "secret").write_text("the operator's token")
    log = job_dir(ledger.folder / "workspace", attempt["id"]) / "job.log"
    log.unlink()
    log.symlink_to(tmp_path / "secret")
    ledger.write()
    answer = client.get(f"/attempts/{attempt['id']}/log")
    assert answer.status_code == 200
    assert "the operator's token" not in answer.text
    assert "There is no log" in answer.text


def test_a_log_that_is_a_pipe_does_not_hang_the_service(client: Any, ledger: Any) -> None:
    ledger.campaign()
    attempt = ledger.attempt(ledger.task(1, 0, state="parked"), log="x")
    log = job_dir(ledger.folder / "workspace", attempt["id"]) / "job.log"
    log.unlink()
    os.mkfifo(log)
    ledger.write()
    assert "There is no log" in client.get(f"/attempts/{attempt['id']}/log").text


@pytest.mark.parametrize("attempt", ["..", "%2e%2e%2fetc", "01J0QZ5W3V5T9H0F1N2M3P4Q5R", "x" * 27])
def test_the_log_of_an_attempt_that_the_ledger_does_not_know_is_nowhere(client: Any, ledger: Any, attempt: str) -> None:
    ledger.write()
    assert client.get(f"/attempts/{attempt}/log").status_code in (404, 422)


def test_a_run_is_found_by_its_number(client: Any, ledger: Any) -> None:
    ledger.write()
    answer = client.get("/runs?run=27305", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/27305")
    for other in ("//evil.org", "9" * 5000, "²", ""):
        assert client.get("/runs", params={"run": other}, follow_redirects=False).status_code == 200


def test_the_story_of_a_file_is_told_in_order(client: Any, ledger: Any) -> None:
    ledger.campaign()
    task = ledger.task(27305, 3, state="parked", error_class="data", message="cut off")
    attempt = ledger.attempt(task, error_class="data", message="cut off")
    ledger.file(task["input_did"].partition(":")[2], run=27305)
    for i, (subject, after) in enumerate(
        [(task["input_did"], "verified"), (f"task:{task['id']}", "parked"), (f"attempt:{attempt['id']}", "failed")]
    ):
        ledger.events.append(
            {"at": NOW + i, "room": "campaign", "subject": subject, "before": None, "after": after, "by": None, "message": None}
        )
    ledger.events.append(
        {"at": NOW, "room": "campaign", "subject": "task:999", "before": None, "after": "of-another", "by": None, "message": None}
    )
    ledger.write()
    text = text_of(client.get(f"/files/{quote(task['input_did'], safe='')}").text)
    events = text.partition("newest first")[2]
    assert events.index("failed") < events.index("parked") < events.index("verified")
    assert "of-another" not in text
    assert client.get("/files/hd:unknown").status_code == 404


def test_health_is_that_of_the_store(client: Any, store: Any, ledger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/health").json()["status"] == "ok"

    def refuse(*_: Any, **__: Any) -> Any:
        raise sa.exc.OperationalError("connect", {}, Exception("server is away"))

    monkeypatch.setattr(store.engine, "connect", refuse)
    answer = client.get("/health")
    assert answer.status_code == 503
    assert "server is away" in answer.json()["detail"]
    assert client.get("/").status_code == 503
    assert answer.headers["retry-after"]


def test_the_openapi_description_is_served_and_the_pages_of_it_are_not(client: Any) -> None:
    description = client.get("/api/openapi.json").json()
    assert "/api/v1/dqm/records" in description["paths"]
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404


def test_the_engine_interface_is_mounted(site: Any, store: Any, tokens: Any) -> None:
    from fastapi import APIRouter
    from fastapi.testclient import TestClient

    from dashboard.app import create_app

    router = APIRouter(prefix="/api/v1")

    @router.get("/status")
    def status() -> dict[str, str]:
        return {"engine": "here"}

    app = create_app(site, store, router, authenticate=tokens.authenticate, slots=lambda: None)  # type: ignore[arg-type, return-value]
    assert TestClient(app).get("/api/v1/status").json() == {"engine": "here"}
