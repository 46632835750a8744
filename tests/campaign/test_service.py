"""The HTTP interface: who may call what, and operators' commands; and the loop that steps."""

from __future__ import annotations

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
