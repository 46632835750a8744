"""Every link of every page leads somewhere, also when the service lives under a path behind a proxy; read-only mode offers no action."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html import unescape
from types import SimpleNamespace
from typing import Any
from urllib.parse import urldefrag, urljoin

import pytest
from fastapi.testclient import TestClient

from dashboard.app import create_app
from dashboard.dqm.rollup import Roller
from dune_prompt.settings import Site
from tests.dashboard.pages_of_a_site import PAGES, RUN

_LINK = re.compile(r'(href|src|action|data-act)="([^"]*)"')
OPERATOR = "operator-token-of-the-tests"


@pytest.fixture
def filled(ledger: Any, busy: Any, upload: Any, record: Any, store: Any) -> None:
    busy(ledger, time.time())
    ledger.write()
    for index in range(3):
        upload(record(RUN, index, elements=2))
    Roller(store).roll_stale(time.time())


def under(site: Site, store: Any, tokens: Any, path: str, **service: Any) -> TestClient:
    """The application as people behind a proxy see it, which serves it at `path` and passes the whole path on."""
    changed = site.model_copy(update={"service": site.service.model_copy(update={"url": f"https://np04.example{path}", **service})})
    slots = SimpleNamespace(wanted=1, reason="test")
    app = create_app(changed, store, None, authenticate=tokens.authenticate, slots=lambda: slots)
    return TestClient(app, base_url="https://np04.example")


def links(page: str, path: str, address: str) -> Iterator[str]:
    for attribute, found in _LINK.findall(page):
        link = urldefrag(unescape(found))[0]
        if attribute == "data-act":
            # The page's script puts the service's path before it.
            link = path + link
        # Calls of the engine are not part of this application.
        if link != path and link and not re.search(r"/api/v1/(commands|tasks)/", link):
            yield urljoin(f"https://np04.example{address}", link)


@pytest.mark.parametrize("path", ["", "/dune/prompt"])
def test_every_link_leads_somewhere(site: Any, store: Any, tokens: Any, filled: None, path: str) -> None:
    client = under(site, store, tokens, path)
    seen: set[str] = set()
    broken = []
    for name, page in PAGES.items():
        answer = client.get(path + page)
        assert answer.status_code == 200, name
        for link in links(answer.text, path, path + page):
            assert link.startswith(f"https://np04.example{path}/"), f"{name}: {link}"
            # Of links that differ in what they ask for, a few are enough.
            kind = re.sub(r"\d+|=[^&]*", "", link)
            if link in seen or sum(kind == re.sub(r"\d+|=[^&]*", "", other) for other in seen) > 2:
                continue
            seen.add(link)
            if (code := client.get(link).status_code) >= 400 and code != 405:
                broken.append(f"{name}: {link}: {code}")
    assert broken == []
    assert len(seen) > 60


def test_a_proxy_may_also_take_the_path_away(site: Any, store: Any, tokens: Any, filled: None) -> None:
    client = under(site, store, tokens, "/dune/prompt")
    here, there = (re.sub(r"\d\d:\d\d:\d\d</time>", "", client.get(page).text) for page in ("/runs", "/dune/prompt/runs"))
    assert here == there
    assert client.get("/dune/promptly/runs").status_code == 404


def test_in_read_only_mode_pages_offer_no_action_and_the_api_refuses(site: Any, store: Any, tokens: Any, filled: None) -> None:
    client, may = under(site, store, tokens, "", read_only=True), under(site, store, tokens, "")
    offered = {name: client.get(page).text.count("data-act=") for name, page in PAGES.items()}
    assert set(offered.values()) == {0}
    assert sum(may.get(page).text.count("data-act=") for page in PAGES.values()) > 0
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    flag = {"flag": "bad", "comment": "looks odd"}
    assert client.post(f"/api/v1/quality/runs/{RUN}/flag", json=flag, headers=headers).status_code == 403
    assert may.post(f"/api/v1/quality/runs/{RUN}/flag", json=flag, headers=headers).status_code == 200
    assert client.post("/api/v1/alarms/1/acknowledge", json={"why": "x", "until": "8h"}, headers=headers).status_code == 403
