"""The HTTP interface does for a token what its scopes say, says which one is missing, and asks the store at every request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from campaign.ledger.tables import token_table
from campaign.service import named_tokens
from campaign.service.api import create_router
from campaign.service.scopes import GRANTABLE, Scope
from campaign.service.tokens import Tokens, operator_token
from dune_prompt.records import read_json
from dune_prompt.store import event_table, open_store

NOW = 1_700_000_000.0
HTTP_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http.md"

# What only some may call; POST /launches is asked for a campaign that is not there.
LAUNCH = {"request_id": "x", "campaign": "none", "version": "v1", "step": "chain", "task_id": 1}
NEEDING: list[tuple[Scope, str, str, Any]] = [
    (Scope.OPERATE, "POST", "/commands/step", {"dry_run": True}),
    (Scope.OPERATE, "POST", "/commands/pause", {"campaign": "test-prompt", "why": "test", "dry_run": True}),
    (Scope.OPERATE, "POST", "/tasks/1/retry", {}),
    (Scope.OPERATE, "POST", "/attempts/none/heartbeat", {}),
    (Scope.OPERATE, "PUT", "/attempts/none/report", {}),
    (Scope.LAUNCH, "POST", "/launches", LAUNCH),
    (Scope.LAUNCH, "GET", "/launches/untold", None),
    (Scope.LAUNCH, "POST", "/launches/told", {"requests": []}),
    (Scope.LAUNCH, "GET", "/launches/none", None),
    (Scope.LAUNCH, "GET", "/launches/none/bundle", None),
    (Scope.LAUNCH, "PUT", "/launches/none/jobs", {"handles": {}}),
    (Scope.TOKENS, "GET", "/tokens", None),
]

Header = dict[str, str]
Give = Callable[..., Header]


@pytest.fixture
def client(house: Any) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(create_router(house.engine, Tokens(house.store, house.folder), wake=lambda: None))
    with TestClient(app, base_url="http://testserver/api/v1") as opened:
        yield opened


@pytest.fixture
def operator(house: Any) -> Header:
    return {"Authorization": f"Bearer {operator_token(house.folder)}"}


@pytest.fixture
def give(house: Any) -> Give:
    """Makes a token from another process's place, and the header with it."""

    def make(name: str, *scopes: Scope) -> Header:
        store = open_store(str(house.installation.site.store_url))
        with store.write() as connection:
            issued = named_tokens.create(connection, name, scopes, "anna", time.time())
        store.close()
        return {"Authorization": f"Bearer {issued.text}"}

    return make


@pytest.mark.parametrize(("scope", "method", "path", "content"), NEEDING, ids=[f"{item[1]} {item[2]}" for item in NEEDING])
def test_a_call_needs_its_scope_and_no_other(
    client: TestClient, give: Give, operator: Header, scope: Scope, method: str, path: str, content: Any
) -> None:
    def call(headers: Header) -> Any:
        return client.request(method, path, json=content, headers=headers)

    others = give("others", *(item for item in GRANTABLE if item is not scope))
    refused = call(others)
    assert refused.status_code == 403
    assert f"the scope {scope}" in refused.json()["detail"]
    if scope in GRANTABLE:
        assert call(give("mine", scope)).status_code not in (401, 403)
    assert call(operator).status_code not in (401, 403)


@pytest.mark.parametrize(("method", "path", "scope"), [("POST", "/commands/step", "operate"), ("GET", "/launches/untold", "launch")])
def test_without_a_valid_token_the_answer_says_which_scope_is_needed(
    client: TestClient, give: Give, method: str, path: str, scope: str
) -> None:
    good = give("good", Scope.OPERATE, Scope.LAUNCH)["Authorization"]
    for header in ("", "Bearer", "Bearer wrong", f"Basic {good[7:]}", good[:-1], f"{good}0", good.upper()):
        answer = client.request(method, path, headers={"Authorization": header}, json={} if method == "POST" else None)
        assert answer.status_code == 401
        assert f"a valid token with the scope {scope} is needed" in answer.json()["detail"]
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_command_is_given_in_the_name_of_the_token(house: Any, client: TestClient, give: Give, operator: Header) -> None:
    pause = {"campaign": "test-prompt", "why": "test"}

    def who(headers: Header, **said: str) -> str:
        assert client.post("/commands/pause", json=pause | said, headers=headers).status_code == 200
        assert client.post("/commands/resume", json={"campaign": "test-prompt"} | said, headers=headers).status_code == 200
        *_, paused, resumed = house.rows(sa.select(event_table.c.by).where(event_table.c.room == "campaign").order_by(event_table.c.id))
        assert paused == resumed
        return str(paused.by)

    shift = give("shift-crew", Scope.OPERATE)
    assert who(shift) == "shift-crew"
    assert who(shift, by="the director") == "shift-crew"
    assert who(operator) == "operator"
    # The operator's command line says who runs it.
    assert who(operator, by="anna") == "anna"


def test_the_token_of_an_attempt_has_no_scope(house: Any, client: TestClient) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    (attempt,) = house.launcher.waiting()
    token = read_json(house.launcher.jobs[attempt].assignment)["token"]
    mine = {"Authorization": f"Bearer {token}"}
    assert client.post(f"/attempts/{attempt}/heartbeat", json={}, headers=mine).status_code == 200
    for scope, method, path, content in NEEDING:
        answer = client.request(method, path, json=content, headers=mine)
        assert answer.status_code == 403, path
        assert f"the scope {scope}" in answer.json()["detail"]


def test_a_token_that_may_operate_speaks_for_any_attempt(house: Any, client: TestClient, give: Give) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    (attempt,) = house.launcher.waiting()
    heartbeat = f"/attempts/{attempt}/heartbeat"
    assert client.post(heartbeat, json={}, headers=give("crew", Scope.OPERATE)).status_code == 200
    assert client.post(heartbeat, json={}, headers=give("uploader", Scope.UPLOAD, Scope.LAUNCH)).status_code == 403


def test_made_expired_and_revoked_while_the_service_runs(house: Any, client: TestClient, give: Give) -> None:
    headers = give("poms", Scope.LAUNCH)
    assert client.get("/launches/untold", headers=headers).status_code == 200
    other = open_store(str(house.installation.site.store_url))
    with other.write() as connection:
        connection.execute(sa.update(token_table).values(expires_at=time.time() - 1))
    assert client.get("/launches/untold", headers=headers).status_code == 401
    with other.write() as connection:
        connection.execute(sa.update(token_table).values(expires_at=time.time() + 100))
    assert client.get("/launches/untold", headers=headers).status_code == 200
    with other.write() as connection:
        named_tokens.revoke(connection, "poms", "anna", time.time())
    other.close()
    assert client.get("/launches/untold", headers=headers).status_code == 401


def test_the_operator_sees_tokens_without_their_secrets(client: TestClient, give: Give, operator: Header) -> None:
    header = give("poms", Scope.LAUNCH, Scope.UPLOAD)
    answer = client.get("/tokens", headers=operator)
    (token,) = answer.json()
    assert (token["name"], token["scopes"], token["created_by"]) == ("poms", ["upload", "launch"], "anna")
    assert header["Authorization"].rpartition("_")[2] not in answer.text
    assert "hash" not in token


def test_the_page_of_the_interface_tells_of_every_scope() -> None:
    page = HTTP_PAGE.read_text("utf-8")
    for scope in Scope:
        assert f"| `{scope}` | {scope.sentence}" in page
