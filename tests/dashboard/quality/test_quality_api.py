"""The API of judging: who may change what, that nobody overwrites what he has not seen, and what the page of the limits says."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from fastapi.testclient import TestClient

from campaign.service.scopes import Scope
from campaign.service.tokens import Principal
from dashboard.app import create_app
from dashboard.quality import limits
from dashboard.quality.limits import as_json
from dashboard.quality.tables import limits_table, reference_table, run_flag_table
from dune_prompt.settings import Site
from dune_prompt.store import Store, event_table

NOW = 1_718_795_400.0
OPERATOR = {"Authorization": "Bearer operator-token-of-the-tests"}
JUDGE = {"Authorization": "Bearer judge"}
UPLOADER = {"Authorization": "Bearer uploader"}
Check = Callable[..., Any]

WRITES: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/api/v1/quality/limits", {"after_version": 1, "why": "w", "content": {"checks": []}}),
    ("PUT", "/api/v1/quality/references", {"run": 27296, "why": "w"}),
    ("POST", "/api/v1/quality/runs/27296/flag", {"flag": "bad", "comment": "c"}),
]


@pytest.fixture(autouse=True)
def callers(tokens: Any) -> None:
    tokens.known["judge"] = Principal("token", "shift-leader", frozenset({Scope.QUALITY}))
    tokens.known["uploader"] = Principal("token", "uploader", frozenset({Scope.UPLOAD, Scope.OPERATE}))
    tokens.known["attempt"] = Principal("attempt", "01J0000000")


# The dashboard's own work writes events too.
OF_QUALITY = sa.or_(event_table.c.subject.like("quality:%"), event_table.c.subject.like("run:%"))


def rows_of(store: Store) -> dict[str, int]:
    with store.read() as connection:
        rows = {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (limits_table, reference_table, run_flag_table)
        }
        return rows | {"event": connection.execute(sa.select(sa.func.count()).select_from(event_table).where(OF_QUALITY)).scalar_one()}


@pytest.mark.parametrize(("method", "address", "body"), WRITES)
def test_whoever_may_not_is_refused_and_nothing_changes(
    client: TestClient, store: Store, keep: Check, make: Check, method: str, address: str, body: dict[str, Any]
) -> None:
    keep(make())
    before = rows_of(store)
    assert client.request(method, address, json=body).status_code == 401
    for token in ("nobody", "attempt", "uploader"):
        answer = client.request(method, address, json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == (401 if token == "nobody" else 403), token
    assert "scope quality" in answer.json()["detail"]
    assert rows_of(store) == before


@pytest.mark.parametrize(("method", "address", "body"), WRITES)
def test_a_service_that_only_shows_changes_nothing_for_anybody(
    site: Site, store: Store, tokens: Any, keep: Check, make: Check, method: str, address: str, body: dict[str, Any]
) -> None:
    keep(make())
    shown = site.model_copy(update={"service": site.service.model_copy(update={"read_only": True})})
    app = create_app(shown, store, None, authenticate=tokens.authenticate, slots=lambda: SimpleNamespace(wanted=1, reason=""))
    before = rows_of(store)
    with TestClient(app) as client:
        answer = client.request(method, address, json=body, headers=OPERATOR)
        assert answer.status_code == 403
        assert "this service only shows" in answer.json()["detail"]
        assert "data-act" not in client.get("/quality/limits").text
    assert rows_of(store) == before


@pytest.mark.parametrize(("method", "address", "body"), WRITES)
def test_every_write_is_an_event_with_who_did_it(
    client: TestClient, store: Store, keep: Check, make: Check, method: str, address: str, body: dict[str, Any]
) -> None:
    keep(make())
    answer = client.request(method, address, json=body, headers=JUDGE)
    assert answer.status_code == 200, answer.text
    assert answer.json()["set_by"] == "shift-leader"
    with store.read() as connection:
        event = connection.execute(sa.select(event_table).where(OF_QUALITY).order_by(event_table.c.id.desc()).limit(1)).one()
    assert (event.room, event.by, event.message) == ("dashboard", "shift-leader", body.get("why", body.get("comment")))


def test_limits_are_read_by_version_and_set_after_the_one_that_was_seen(client: TestClient, check: Check) -> None:
    first = client.get("/api/v1/quality/limits").json()
    assert (first["version"], first["content"]) == (1, as_json(limits.packaged()))
    body = {"after_version": 1, "why": "quieter", "content": {"checks": [check("hits")]}}
    set_ = client.put("/api/v1/quality/limits", json=body, headers=JUDGE)
    assert (set_.status_code, set_.json()["version"]) == (200, 2)
    late = client.put("/api/v1/quality/limits", json=body | {"content": {"checks": []}}, headers=OPERATOR)
    assert late.status_code == 409
    assert "version 2 is in force, set by shift-leader (quieter)" in late.json()["detail"]
    assert client.get("/api/v1/quality/limits").json() == set_.json()
    assert client.get("/api/v1/quality/limits?version=1").json() == first
    assert client.get("/api/v1/quality/limits?version=3").status_code == 404


def test_wrong_limits_are_refused_with_their_place(client: TestClient, check: Check) -> None:
    wrong = {"checks": [check("hits", {"low_warn": 5, "high_warn": 1})]}
    answer = client.put("/api/v1/quality/limits", json={"after_version": 1, "why": "w", "content": wrong}, headers=JUDGE)
    assert answer.status_code == 422
    problem = answer.json()["detail"][0]
    assert problem["loc"][:5] == ["body", "content", "checks", 0, "limits"]
    assert "low_warn (5) is above high_warn (1)" in problem["msg"]
    same = client.put("/api/v1/quality/limits", json={"after_version": 1, "why": "w", "content": as_json(limits.packaged())}, headers=JUDGE)
    assert same.status_code == 409


def test_a_reference_is_set_and_listed(client: TestClient, keep: Check, make: Check) -> None:
    assert client.get("/api/v1/quality/references").json() == []
    keep(make())
    made = client.put("/api/v1/quality/references", json={"run": 27296, "why": "quiet"}, headers=JUDGE).json()
    assert {key: made[key] for key in ("detector", "run_type", "campaign", "version", "run", "files", "in_force")} == {
        "detector": "pdhd",
        "run_type": "cosmics",
        "campaign": "pdhd-prompt",
        "version": "v1",
        "run": 27296,
        "files": 1,
        "in_force": True,
    }
    assert client.get("/api/v1/quality/references").json() == [made]
    none = client.put("/api/v1/quality/references", json={"run": 5, "why": "x"}, headers=JUDGE)
    assert (none.status_code, none.json()["detail"]) == (409, "run 5: there is no data-quality record of it")


@pytest.mark.parametrize(("flag", "number"), [("bad", 3), ("GOOD", 1), (2, 2), ("2", 2)])
def test_a_run_is_flagged_by_name_or_number(client: TestClient, keep: Check, make: Check, flag: Any, number: int) -> None:
    keep(make())
    answer = client.post("/api/v1/quality/runs/27296/flag", json={"flag": flag, "comment": "so"}, headers=JUDGE)
    assert (answer.status_code, answer.json()["flag"]) == (200, number)
    assert client.get("/api/v1/quality/runs/27296/flags").json() == [answer.json()]


@pytest.mark.parametrize(
    "body", [{"flag": "worse", "comment": "c"}, {"flag": 4, "comment": "c"}, {"flag": "bad"}, {"flag": "bad", "comment": ""}]
)
def test_a_flag_that_is_none_is_refused(client: TestClient, keep: Check, make: Check, body: dict[str, Any]) -> None:
    keep(make())
    assert client.post("/api/v1/quality/runs/27296/flag", json=body, headers=JUDGE).status_code == 422
    assert client.get("/api/v1/quality/runs/27296/flags").json() == []


def test_a_run_nobody_knows_cannot_be_flagged(client: TestClient) -> None:
    answer = client.post("/api/v1/quality/runs/99/flag", json={"flag": "bad", "comment": "c"}, headers=JUDGE)
    assert (answer.status_code, answer.json()["detail"]) == (409, "run 99: nothing is known of it, so it cannot be flagged")


def test_a_verdict_is_shown_as_it_was_given(client: TestClient, upload: Check, make: Check, store: Store, plane: Check) -> None:
    content = make()
    plane(content, "P02SU", "V")["n_dead"] = 300
    record_id = upload(content).json()["id"]
    verdict = client.get("/api/v1/quality/verdicts/1").json()
    assert (verdict["result_id"], verdict["limits_version"], verdict["reference_id"], verdict["flag"]) == (record_id, 1, None, 3)
    assert verdict["tiles"]["P02SU"] == {
        "noise": 1,
        "coherent": 1,
        "pedestal": 1,
        "channels": 3,
        "readout": 1,
        "signal": 1,
        "reference": 0,
    }
    assert [(item["check"], item["flag"], item["value"]) for item in verdict["findings"]] == [("n_dead", 3, 300)]
    assert client.get("/api/v1/quality/verdicts/2").status_code == 404


def test_the_page_shows_the_limits_their_versions_and_what_changed(client: TestClient, check: Check, keep: Check, make: Check) -> None:
    keep(make())
    packaged = as_json(limits.packaged())
    packaged["checks"][0]["limits"][0]["high_warn"] = 18.25
    body = {"after_version": 1, "why": "a <quieter> detector", "content": packaged}
    client.put("/api/v1/quality/limits", json=body, headers=JUDGE)
    client.put("/api/v1/quality/references", json={"run": 27296, "why": "all was well"}, headers=JUDGE)
    page = client.get("/quality/limits").text
    assert "version 2" in page
    assert "a &lt;quieter&gt; detector" in page
    assert "shift-leader" in page
    assert "every detector U, V: high_warn" in page
    assert ">19\u202fADC<" in page
    assert page.count(">18.25\u202fADC<") == 2  # in the table, and among what changed
    assert "/runs/27296/quality?campaign=pdhd-prompt&amp;version=v1" in page
    for item in limits.packaged().checks:
        assert f'id="{item.key}"' in page
    old = client.get("/quality/limits?version=1").text
    assert "not in force" in old
    assert "It is the first." in old
    assert client.get("/quality/limits?version=9").status_code == 404


def test_the_limits_can_be_fetched_as_a_file_that_can_be_set_again(client: TestClient) -> None:
    answer = client.get("/quality/limits.yaml")
    assert 'filename="limits_v1.yaml"' in answer.headers["content-disposition"]
    assert limits.LimitsFile.model_validate(yaml.safe_load(answer.text)) == limits.packaged()
