"""The page of alarms, the same as JSON, and who may acknowledge one."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from campaign.service.scopes import Scope
from campaign.service.tokens import Principal
from dashboard.alarms.finding import Severity
from dashboard.alarms.page import CLOSED_A_PAGE, words_of
from dashboard.alarms.tables import alarm_table
from dashboard.app import create_app
from dune_prompt.settings import Site
from dune_prompt.settings.alarms import MuteSettings
from dune_prompt.store import event_table

OPERATOR = {"Authorization": "Bearer operator-token-of-the-tests"}
EVIL = '<script>alert("x")</script>'


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\u202f", " ")


def section(html: str, name: str) -> str:
    """The text of a section of the page."""
    return text_of(html.partition(f'id="{name}"')[2].partition("</section>")[0])


@pytest.fixture
def open_site(site: Site, store: Any, ledger: Any, tokens: Any) -> Callable[..., TestClient]:
    """A client of a service that looks at nothing by itself."""
    ledger.write()

    def make(**parts: Any) -> TestClient:
        content = {"site": "test-np04", "workspace": site.workspace, "buffer": {"path": site.buffer.path}}
        streams = [{"name": "physics", "pattern": "*.hdf5", "process": True}]
        changed = Site.model_validate(content | {"streams": streams} | parts)
        slots = SimpleNamespace(wanted=37, reason="x")
        return TestClient(create_app(changed, store, None, authenticate=tokens.authenticate, slots=lambda: slots))

    return make


@pytest.fixture
def now_desk(desk: Any) -> Any:
    """A book whose looks have just been made."""
    desk.now = time.time() - 600
    return desk


def test_the_page_has_what_is_wrong_what_it_means_and_what_to_do(now_desk: Any, finding: Any, open_site: Any) -> None:
    for _ in range(2):
        now_desk.look(
            finding(message="9 tasks are parked"), finding("catalog:rucio", rule="away_for", severity=Severity.ALARM, message="HTTP 502")
        )
    page = open_site().get("/alarms")
    assert page.status_code == 200
    raised = section(page.text, "open")
    assert raised.index("HTTP 502") < raised.index("9 tasks are parked")
    for part in ("alarm a catalogue, the buffer or a storage", "catalog:rucio", "Do dune-prompt check tries every right", "shifter"):
        assert part in raised
    assert "warning tasks are parked" in raised
    summary = section(page.text, "summary")
    assert "1 alarm" in summary
    assert "alarms 1 warnings 1 looked after 0 muted 0" in summary
    assert "nobody is told" in summary
    assert 'href="/jobs"' in page.text


def test_many_alarms_of_one_rule_say_once_what_to_do(now_desk: Any, finding: Any, open_site: Any) -> None:
    for _ in range(2):
        now_desk.look(*(finding(f"run 28100 P0{i} noise", rule="quality_bad", severity=Severity.ALARM) for i in range(12)))
    raised = section(open_site().get("/alarms").text, "open")
    assert raised.count("Tell the detector expert on call.") == 1
    assert raised.count("Acknowledge") == 12


def test_a_service_that_has_not_looked_claims_nothing(open_site: Any, store: Any) -> None:
    page = open_site().get("/alarms").text
    assert "No look yet" in section(page, "summary")
    assert "No alarm" not in section(page, "summary")
    assert "</svg>nothing</span>" not in page


def test_rules_are_shown_with_limit_owner_and_windows(open_site: Any) -> None:
    mute = [{"rule": "away_for", "subject": "catalog:*", "days": ["sat", "sun"], "from": "22:00", "to": "06:00", "why": "backups"}]
    client = open_site(watch={"late": None, "after": {"parked": 7}}, alarms={"owners": {"parked": "anna"}, "mute": mute})
    rules = section(client.get("/alarms").text, "rules")
    assert "tasks are parked" in rules
    assert "parked 1 task 7 anna" in rules
    assert re.search(r"off files are late .* late – 2 shifter", rules)
    assert "off no probe comes through" in rules
    assert "22:00 to 06:00 UTC on sat, sun, of catalog:*: backups" in rules


def test_windows_are_told_in_words() -> None:
    def words(**values: Any) -> str:
        return words_of(MuteSettings.model_validate({"why": "x"} | values))

    assert words(until="2024-06-20") == "until 2024-06-20 00:00 UTC"
    assert words(days=["mon"]) == "all of mon"
    assert words(**{"from": "08:30", "to": "24:00"}, until="2024-06-20T08:00") == "08:30 to 24:00 UTC until 2024-06-20 08:00 UTC"


def test_muted_and_acknowledged_alarms_are_shown_apart(now_desk: Any, finding: Any, open_site: Any) -> None:
    mute = {"mute": [{"rule": "stopped", "until": "2100-01-01", "why": "known since Monday"}]}
    now_desk.set(alarms=mute)
    for _ in range(2):
        now_desk.look(finding(), finding("conflict", rule="stopped", message="2 files"))
    (alarm,) = now_desk.open()
    now_desk.book.acknowledge(alarm.id, "anna", "crate 3 is off", time.time() + 3600, now_desk.now)
    page = open_site(alarms=mute).get("/alarms").text
    assert "None." in section(page, "open")
    assert "anna : crate 3 is off" in section(page, "acknowledged")
    assert "2 files known since Monday (until 2100-01-01 00:00 UTC)" in section(page, "muted")
    assert "looked after 1 muted 1" in section(page, "summary")


def test_closed_alarms_are_paged_and_none_is_left_out(now_desk: Any, finding: Any, open_site: Any) -> None:
    now_desk.set(watch={"after": {"parked": 1}})
    for i in range(2 * CLOSED_A_PAGE + 3):
        now_desk.look(finding(f"no {i:03d}"))
        now_desk.look()
    client = open_site()
    found, address = [], "/alarms"
    while address:
        page = client.get(address).text
        found.append(re.findall(r"no \d{3}", section(page, "closed")))
        older = re.search(r'href="(/alarms\?before=\d+)"', page)
        address = older[1] if older else ""
    assert [len(part) for part in found] == [CLOSED_A_PAGE, CLOSED_A_PAGE, 3]
    assert list(itertools.chain(*found)) == [f"no {i:03d}" for i in reversed(range(2 * CLOSED_A_PAGE + 3))]


def test_what_comes_from_outside_is_escaped(now_desk: Any, finding: Any, open_site: Any) -> None:
    for _ in range(2):
        now_desk.look(finding(EVIL, message=EVIL), finding(EVIL, rule="stopped", message=EVIL))
    for alarm in now_desk.open()[:1]:
        now_desk.book.acknowledge(alarm.id, EVIL, EVIL, None, now_desk.now)
    now_desk.look(finding(EVIL, message=EVIL))
    page = open_site().get("/alarms").text
    assert EVIL not in page
    assert page.count("&lt;script&gt;") > 3


def test_the_api_tells_the_newest_first_and_pages(now_desk: Any, finding: Any, open_site: Any, store: Any) -> None:
    now_desk.set(watch={"after": {"parked": 1}})
    for i in range(3):
        now_desk.look(finding(f"over {i}"))
    now_desk.look(finding("open"))
    client = open_site()
    first = client.get("/api/v1/alarms?limit=3").json()
    rest = client.get(f"/api/v1/alarms?limit=3&before={first['older']}").json()
    a = alarm_table.c
    with store.read() as connection:
        expected = list(connection.execute(sa.select(a.id, a.subject).order_by(a.id.desc())).all())
    assert [(row["id"], row["subject"]) for row in first["alarms"] + rest["alarms"]] == [tuple(row) for row in expected]
    assert rest["older"] is None
    assert first["looked_at"] is None
    assert [row["subject"] for row in client.get("/api/v1/alarms?open=true").json()["alarms"]] == ["open"]
    since = client.get(f"/api/v1/alarms?since={now_desk.now - 31}").json()["alarms"]
    assert [(row["subject"], row["state"]) for row in since] == [("open", "raised"), ("over 2", "cleared"), ("over 1", "cleared")]


def acknowledge(client: TestClient, alarm: int, headers: dict[str, str] | None = None, **content: Any) -> Any:
    body = {"why": "known", "until": "8h"} | content
    return client.post(f"/api/v1/alarms/{alarm}/acknowledge", json=body, headers=OPERATOR if headers is None else headers)


def raise_one(desk: Any, finding: Any) -> int:
    desk.look(finding())
    desk.look(finding())
    return int(desk.open()[0].id)


def test_an_acknowledgement_is_kept_with_who_made_it(now_desk: Any, finding: Any, open_site: Any, store: Any) -> None:
    alarm = raise_one(now_desk, finding)
    answer = acknowledge(open_site(), alarm)
    assert answer.status_code == 200
    content = answer.json()
    assert (content["state"], content["acknowledged_by"], content["acknowledged_why"]) == ("acknowledged", "operator", "known")
    assert content["acknowledged_until"] == pytest.approx(time.time() + 8 * 3600, abs=60)
    e = event_table.c
    with store.read() as connection:
        last = connection.execute(sa.select(e.room, e.subject, e.after, e.by, e.message).order_by(e.id.desc()).limit(1)).one()
    assert tuple(last) == ("dashboard", "alarm:parked:tasks", "acknowledged", "operator", "known")
    assert acknowledge(open_site(), alarm, until=None).json()["acknowledged_until"] is None


def test_only_a_token_with_the_scope_may(now_desk: Any, finding: Any, open_site: Any, tokens: Any) -> None:
    alarm = raise_one(now_desk, finding)
    tokens.known["shift-token"] = Principal("token", "shift", frozenset({Scope.ALARMS}))
    tokens.known["launch-token"] = Principal("token", "poms", frozenset({Scope.LAUNCH}))
    tokens.known["job-token"] = Principal("attempt", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    client = open_site()
    assert acknowledge(client, alarm, {}).status_code == 401
    for wrong in ("launch-token", "job-token"):
        assert acknowledge(client, alarm, {"Authorization": f"Bearer {wrong}"}).status_code == 403
    assert now_desk.open()[0].acknowledged_by is None
    assert acknowledge(client, alarm, {"Authorization": "Bearer shift-token"}).json()["acknowledged_by"] == "shift"


def test_a_service_that_only_shows_refuses_and_offers_nothing(now_desk: Any, finding: Any, open_site: Any) -> None:
    alarm = raise_one(now_desk, finding)
    client = open_site(service={"read_only": True})
    assert acknowledge(client, alarm).status_code == 403
    assert now_desk.open()[0].acknowledged_by is None
    page = client.get("/alarms").text
    assert "data-act" not in page
    assert "Acknowledge" not in page
    assert "data-act" in open_site().get("/alarms").text


@pytest.mark.parametrize(
    ("content", "status", "detail"),
    [
        ({"until": "soon"}, 422, "until: 'soon' is neither a duration such as 8h nor a date"),
        ({"until": "2020-01-01"}, 422, "until: '2020-01-01' is over"),
        ({"why": "  "}, 422, ""),
        ({"why": "x" * 2001}, 422, ""),
    ],
)
def test_what_is_wrong_with_an_acknowledgement_is_said(
    now_desk: Any, finding: Any, open_site: Any, content: dict[str, str], status: int, detail: str
) -> None:
    answer = acknowledge(open_site(), raise_one(now_desk, finding), **content)
    assert answer.status_code == status
    assert str(answer.json()["detail"]).startswith(detail or "[")
    assert now_desk.open()[0].acknowledged_by is None


def test_an_alarm_that_is_none_or_over_cannot_be_acknowledged(now_desk: Any, finding: Any, open_site: Any) -> None:
    alarm = raise_one(now_desk, finding)
    now_desk.look()
    client = open_site()
    assert (acknowledge(client, alarm).status_code, acknowledge(client, 99).status_code) == (409, 404)
    assert acknowledge(client, 2**70).status_code == 422


def test_an_acknowledgement_whose_time_is_over_counts_as_none_before_the_next_look(now_desk: Any, finding: Any, open_site: Any) -> None:
    alarm = raise_one(now_desk, finding)
    now_desk.book.acknowledge(alarm, "anna", "known", time.time() - 1, now_desk.now)
    client = open_site()
    assert client.get("/api/v1/alarms").json()["alarms"][0]["state"] == "raised"
    assert "looked after 0" in section(client.get("/alarms").text, "summary")


def test_the_watcher_works_while_the_application_is_served(open_site: Any) -> None:
    with open_site(alarms={"look_every": "1s"}) as client:
        deadline = time.monotonic() + 20
        while not client.get("/api/v1/alarms?open=true").json()["alarms"] and time.monotonic() < deadline:
            time.sleep(0.05)
        content = client.get("/api/v1/alarms?open=true").json()
        page = client.get("/alarms").text
    assert [row["rule"] for row in content["alarms"]] == ["no_heartbeat_for"]
    assert content["looked_at"] == pytest.approx(time.time(), abs=30)
    assert "the declare daemon gives no sign of life" in section(page, "open")
    assert "not looked at" not in section(page, "rules")
    assert "</svg>nothing</span>" in page


def test_the_page_needs_nothing_from_outside_and_no_inline_code(now_desk: Any, finding: Any, open_site: Any) -> None:
    raise_one(now_desk, finding)
    html = open_site().get("/alarms").text
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', html)
    assert not re.search(r"<[^>]+\son\w+=", html)
    assert not re.search(r"<[^>]+\sstyle=", html)
    for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", html, re.DOTALL):
        assert not body.strip() or 'type="application/json"' in attributes
    identifiers = re.findall(r'\sid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
