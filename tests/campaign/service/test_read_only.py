"""A service that only shows refuses what people ask for, whoever they are, and goes on listening to its jobs, launches and operator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from campaign.service import named_tokens
from campaign.service.api import create_router
from campaign.service.scopes import GRANTABLE
from campaign.service.tokens import Tokens, operator_token
from dune_prompt.records import read_json

NOW = 1_700_000_000.0
LAUNCH = {"request_id": "x", "campaign": "none", "version": "v1", "step": "chain", "task_id": 1}
WRITES: list[tuple[str, str, Any]] = [
    ("POST", "/commands/retry", {}),
    ("POST", "/commands/pause", {"campaign": "test-prompt", "why": "test", "dry_run": True}),
    ("POST", "/tasks/1/retry", {}),
]


@pytest.fixture
def house(house_tools: Any, tmp_path: Path) -> Iterator[Any]:
    house_tools.write_files(tmp_path, site=house_tools.site + "service: {read_only: true}\n")
    opened = house_tools.open_house(tmp_path)
    yield opened
    opened.store.close()


@pytest.fixture
def client(house: Any) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(create_router(house.engine, Tokens(house.store, house.folder), wake=lambda: None))
    with TestClient(app, base_url="http://testserver/api/v1") as opened:
        yield opened


def headers_of(house: Any, kind: str) -> dict[str, str]:
    if kind == "operator":
        return {"Authorization": f"Bearer {operator_token(house.folder)}"}
    with house.store.write() as connection:
        return {"Authorization": f"Bearer {named_tokens.create(connection, 'all', GRANTABLE, 'anna', time.time()).text}"}


def test_people_change_nothing_through_it(house: Any, client: TestClient) -> None:
    headers = headers_of(house, "named")
    for method, path, content in WRITES:
        answer = client.request(method, path, json=content, headers=headers)
        assert answer.status_code == 403, path
        assert "only shows" in answer.json()["detail"]
        assert client.request(method, path, json=content).status_code == 401, "without a token it says nothing of itself"


def test_the_operator_on_its_own_host_still_can(house: Any, client: TestClient) -> None:
    headers = headers_of(house, "operator")
    assert client.post("/commands/retry", json={}, headers=headers).status_code == 200


def test_launches_go_on(house: Any, client: TestClient) -> None:
    headers = headers_of(house, "named")
    assert client.post("/launches/told", json={"requests": []}, headers=headers).status_code == 200
    assert client.post("/launches", json=LAUNCH, headers=headers).status_code != 403


def test_looking_goes_on(house: Any, client: TestClient) -> None:
    headers = headers_of(house, "operator")
    for path in ("/status", "/tokens", "/launches/untold"):
        assert client.get(path, headers=headers).status_code == 200
    assert client.get("/launches/none", headers=headers).status_code == 404


def test_jobs_go_on_to_tell_how_they_are(house: Any, client: TestClient) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    (attempt,) = house.launcher.waiting()
    assignment = read_json(house.launcher.jobs[attempt].assignment)
    mine = {"Authorization": f"Bearer {assignment['token']}"}
    assert client.post(f"/attempts/{attempt}/heartbeat", json={}, headers=mine).status_code == 200
    report = {
        "schema": 1,
        "attempt": attempt,
        "task": assignment["task"],
        "campaign": "test-prompt",
        "version": "v1",
        "host": "worker",
        "stages": [],
    }
    assert client.put(f"/attempts/{attempt}/report", json=report, headers=mine).status_code == 200
    assert client.post(f"/attempts/{attempt}/heartbeat", json={}, headers=headers_of(house, "operator")).status_code == 200
