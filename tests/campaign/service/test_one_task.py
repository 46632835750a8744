"""One parked task is tried again by its id; what is not parked is left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import count_table
from campaign.service import named_tokens
from campaign.service.api import create_router
from campaign.service.scopes import Scope
from campaign.service.tokens import Tokens
from dune_prompt.store import event_table

NOW = 1_700_000_000.0


@pytest.fixture
def woken() -> list[None]:
    return []


@pytest.fixture
def client(house: Any, woken: list[None]) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(create_router(house.engine, Tokens(house.store, house.folder), wake=lambda: woken.append(None)))
    with house.store.write() as connection:
        token = named_tokens.create(connection, "shift-crew", [Scope.OPERATE], "anna", time.time()).text
    with TestClient(app, base_url="http://testserver/api/v1") as opened:
        opened.headers["Authorization"] = f"Bearer {token}"
        yield opened


@pytest.fixture
def parked(house: Any) -> Any:
    """Two parked tasks and one at work."""
    house.arrive(3)
    house.engine.step(NOW)
    for attempt in house.launcher.waiting()[:2]:
        house.launcher.finish(attempt, fail_at="nf_sp", error_class="data")
    house.engine.step(NOW + 1)
    assert house.states().count("parked") == 2
    return [task for task in house.tasks() if task.state == "parked"]


def test_one_parked_task_is_tried_again_and_the_others_stay(house: Any, client: TestClient, parked: Any, woken: list[None]) -> None:
    first, second = parked
    answer = client.post(f"/tasks/{first.id}/retry", json={})
    assert answer.status_code == 200
    assert answer.json() == {"id": first.id, "input": first.input_did, "step": "chain", "state": "ready"}
    tasks = {task.id: task for task in house.tasks()}
    assert (tasks[first.id].state, tasks[first.id].failures, tasks[second.id].state) == ("ready", 0, "parked")
    assert len(woken) == 1
    event = house.rows(sa.select(event_table).where(event_table.c.subject == f"task:{first.id}").order_by(event_table.c.id))[-1]
    assert (event.before, event.after, event.by) == ("parked", "ready", "shift-crew")
    c = count_table.c
    with house.store.read() as connection:
        recounted = ledger_tasks.recount(connection)
    counted = house.rows(sa.select(c.campaign_id, c.run, c.step, c.state, c.late, c.tasks).where(c.tasks != 0))
    assert {tuple(row[:5]): row.tasks for row in counted} == recounted


def test_what_is_not_parked_is_left_as_it_is(house: Any, client: TestClient, parked: Any, woken: list[None]) -> None:
    (at_work,) = [task for task in house.tasks() if task.state != "parked"]
    answer = client.post(f"/tasks/{at_work.id}/retry", json={})
    assert answer.status_code == 409
    assert answer.json()["detail"] == f"this task is not parked, but {at_work.state.value}"
    assert client.post("/tasks/999999/retry", json={}).status_code == 404
    assert client.post("/tasks/x/retry", json={}).status_code == 422
    assert house.tasks()[2].state == at_work.state
    assert woken == []
