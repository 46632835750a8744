"""The HTTP interface: who may call what, slices that are handed out once, reports and heartbeats; and the loop that steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from campaign.service.api import create_router
from campaign.service.loop import StepLoop
from campaign.service.tokens import Tokens, operator_token
from dune_prompt.errors import ConfigError, TransientError

NOW = 1_700_000_000.0


@pytest.fixture
def client(house: Any) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(create_router(house.engine, Tokens(house.store, house.folder), wake=lambda: None))
    with TestClient(app) as opened:
        opened.headers["Authorization"] = f"Bearer {operator_token(house.folder)}"
        yield opened


def ask_slice(client: TestClient, request_id: str, jobs: int = 2, **changes: Any) -> Any:
    body = {"request_id": request_id, "campaign": "test-prompt", "version": "v1", "step": "chain", "jobs": jobs} | changes
    return client.post("/api/v1/slices", json=body)


def take_in(house: Any, count: int) -> None:
    """Files in the queue, and no launcher that takes them first."""
    house.arrive(count)
    house.launcher.refuse = True
    house.engine._intake.take_in(time.time())


def test_without_a_token_nothing_changes(client: TestClient) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
        assert client.post("/api/v1/commands/step", json={}, headers=headers).status_code == 401
        assert client.post("/api/v1/commands/retry", json={}, headers=headers).status_code == 401
    assert client.get("/api/v1/status", headers={"Authorization": ""}).status_code == 200


def test_the_operators_token_is_private_and_kept(house: Any) -> None:
    token = operator_token(house.folder)
    path = house.folder / "secrets" / "operator-token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert operator_token(house.folder) == token
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read it"):
        operator_token(house.folder)
    path.chmod(0o600)
    path.write_text("")
    with pytest.raises(ConfigError, match="holds no token"):
        operator_token(house.folder)


def test_a_slice_is_handed_out_once_and_again_to_the_same_request(house: Any, client: TestClient) -> None:
    take_in(house, 3)
    first = ask_slice(client, "poms-1").json()
    assert len(first["assignments"]) == 2
    assert ask_slice(client, "poms-1").json() == first
    second = ask_slice(client, "poms-2").json()
    inputs = [item["raw"]["did"] for answer in (first, second) for item in answer["assignments"]]
    assert len(inputs) == len(set(inputs)) == 3
    assert ask_slice(client, "poms-3").json() == {"slice": None, "assignments": []}


def test_overlapping_requests_never_get_the_same_file(house: Any, client: TestClient) -> None:
    take_in(house, 12)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(ask_slice(client, f"r{n}", 3).json())) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inputs = [item["raw"]["did"] for answer in answers for item in answer["assignments"]]
    assert len(inputs) == len(set(inputs)) == 12


def test_an_unknown_campaign_is_named(client: TestClient) -> None:
    answer = ask_slice(client, "x", campaign="nope")
    assert answer.status_code == 404
    assert "test-prompt v1: chain" in answer.json()["detail"]


def test_a_job_elsewhere_reports_with_its_own_token(house: Any, client: TestClient) -> None:
    take_in(house, 2)
    one, other = ask_slice(client, "r").json()["assignments"]
    mine = {"Authorization": f"Bearer {one['token']}"}
    heartbeat = f"/api/v1/attempts/{one['attempt']}/heartbeat"
    assert client.post(heartbeat, json={"host": "wn1"}, headers=mine).status_code == 200
    assert client.post(f"/api/v1/attempts/{other['attempt']}/heartbeat", json={}, headers=mine).status_code == 403
    assert client.post("/api/v1/commands/step", json={}, headers=mine).status_code == 403
    report = {key: one[key] for key in ("attempt", "task", "campaign", "version")} | {"schema": 1, "host": "wn1"}
    failed = {"name": "nf_sp", "state": "failed", "error_class": "payload", "message": "boom", "started": 1, "ended": 2, "cpu_s": 1}
    report["stages"] = [failed | {"rss_bytes": 1, "outputs": [], "metrics": {}}]
    where = f"/api/v1/attempts/{one['attempt']}/report"
    assert client.put(where, json={"schema": 1}, headers=mine).status_code == 422
    assert client.put(where, content=b"nonsense", headers=mine).status_code == 422
    assert client.put(where, json=report | {"attempt": other["attempt"]}, headers=mine).status_code == 422
    assert client.put(where, json=report, headers=mine).status_code == 200
    house.engine.step(time.time())
    states = {task.input_did: str(task.state) for task in house.tasks()}
    assert states[one["raw"]["did"]] == "waiting_retry"
    # Its attempt is over: its job is told so, and may do nothing else.
    assert client.post(heartbeat, json={}, headers=mine).status_code == 410
    assert client.put(where, json=report, headers=mine).status_code == 401
    assert client.post(heartbeat, json={}, headers={"Authorization": "Bearer other"}).status_code == 401


def test_a_silent_job_elsewhere_is_lost_when_its_lease_ends(house: Any, client: TestClient) -> None:
    take_in(house, 1)
    ask_slice(client, "r", lease_s=10)
    house.engine.step(time.time())
    assert house.states() == ["submitted"]
    house.engine.step(time.time() + 11)
    (task,) = house.tasks()
    assert (task.state, task.failures, task.error_class) == ("waiting_retry", 0, "lost")


def test_parked_tasks_are_tried_again_on_request(house: Any, client: TestClient) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    house.launcher.finish(house.launcher.waiting()[0], fail_at="nf_sp", error_class="data")
    house.engine.step(NOW + 1)
    retry = "/api/v1/commands/retry"
    assert client.post(retry, json={"run": 99}).json() == {"rows": []}
    assert client.post(retry, json={"error_class": "memory"}).json() == {"rows": []}
    assert len(client.post(retry, json={"dry_run": True}).json()["rows"]) == 1
    assert house.states() == ["parked"]
    assert client.post(retry, json={"nonsense": 1}).status_code == 422
    assert client.post("/api/v1/commands/nonsense", json={}).status_code == 404
    assert len(client.post(retry, json={}).json()["rows"]) == 1
    (task,) = house.tasks()
    assert (task.state, task.failures) == ("ready", 0)


def test_status_counts_files(house: Any, client: TestClient) -> None:
    house.arrive(3)
    house.engine.step(NOW)
    (status,) = client.get("/api/v1/status").json()["campaigns"]
    assert (status["files"], status["processed"], status["in_flight"]) == (3, 0, 3)


def test_the_loop_outlives_an_outage_and_a_fault_and_ends_when_another_takes_over(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []
    problems: list[Exception] = [TransientError("away"), RuntimeError("a fault")]

    def step(now: float) -> Any:
        calls.append(now)
        if problems:
            raise problems.pop(0)
        from dune_prompt.store import LeaseLostError

        raise LeaseLostError("taken over")

    monkeypatch.setattr(house.engine, "step", step)
    loop = StepLoop(house.engine, 0.01)
    loop.start()
    loop.join(timeout=20)
    assert len(calls) == 3
    assert loop.lost.is_set()
