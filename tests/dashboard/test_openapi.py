"""The API against its own description, and the page made of it."""

from __future__ import annotations

from typing import Any

from dashboard.api_page import calls_by_tag
from tests.dashboard.described import not_as_described

OPERATOR = "operator-token-of-the-tests"


def test_every_call_answers_as_it_is_described(app: Any, ledger: Any, busy: Any, upload: Any, record: Any) -> None:
    busy(ledger, 1_718_795_400.0)
    ledger.write()
    upload(record(27304, 0))
    assert not_as_described(app, OPERATOR) == []


def test_the_page_of_the_api_lists_every_call(app: Any, client: Any) -> None:
    page = client.get("/api").text
    paths = client.get("/api/openapi.json").json()["paths"]
    assert sum(len(methods) for methods in paths.values()) == page.count("<details>")
    for path in paths:
        assert f"<code>{path}</code>" in page


def test_a_call_that_changes_something_says_that_it_needs_a_token(app: Any) -> None:
    calls = [call for calls in calls_by_tag(app.openapi()).values() for call in calls]
    assert {call.method for call in calls if call.needs_token} == {"PUT", "POST"}
    assert all(call.needs_token for call in calls if call.method != "GET")


def test_what_is_sent_and_answered_is_named(app: Any) -> None:
    (upload,) = [call for calls in calls_by_tag(app.openapi()).values() for call in calls if call.path == "/api/v1/dqm/records"]
    assert [field.name for field in upload.body] == ["record", "picture"]
    assert {"id", "attempt", "shown", "pictures_missing"} <= {field.name for field in upload.answer}
