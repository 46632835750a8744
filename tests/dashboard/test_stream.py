"""The stream over a real connection."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2 as httpx
import sqlalchemy as sa


@contextmanager
def events(address: str, *, after: str | None = None, last_event_id: str | None = None) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with httpx.stream("GET", f"{address}/events", params={"after": after} if after else {}, headers=headers, timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "gzip" not in answer.headers.get("content-encoding", "")

        def read() -> Iterator[tuple[str, dict[str, Any]]]:
            event_id = ""
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "id":
                    event_id = value
                elif field == "data":
                    data = json.loads(value)
                if not line and event_id:
                    yield event_id, data
                    event_id = ""

        yield read()


def shown(page: str) -> str:
    match = re.search(r'data-live="([^"]+)"', page)
    assert match is not None
    return match[1]


def test_a_page_is_sent_only_what_changed_after_it_was_made(served: str, ledger: Any) -> None:
    ledger.campaign()
    ledger.task(27305, 0)
    ledger.write()
    seen = shown(httpx.get(served).text)
    ledger.task(27305, 1)
    ledger.write()
    with events(served, after=seen) as stream:
        parts: dict[str, str] = {}
        for _, data in stream:
            parts |= data["parts"]
            if "hero" in parts:
                break
    assert "0 of 2" in re.sub(r"<[^>]+>|\s+", " ", parts["hero"]).replace("  ", " ")
    assert "services" not in parts


def test_after_a_break_the_browsers_last_id_counts_more_than_the_address(served: str, ledger: Any) -> None:
    ledger.write()
    seen = shown(httpx.get(served).text)
    with events(served, after="another-process/1") as stream:
        first_id, first = next(stream)
        assert "hero" in first["parts"]
    ledger.campaign()
    ledger.task(27305, 0, state="done")
    ledger.write()
    with events(served, after=seen, last_event_id=first_id) as stream:
        parts: dict[str, str] = {}
        for event_id, data in stream:
            assert event_id != first_id
            parts |= data["parts"]
            if "runs" in parts:
                break
    assert "27305" in parts["runs"]
    assert "failures" not in parts


def test_when_the_last_tab_is_closed_nobody_reads_the_store_any_more(served: str, ledger: Any, store: Any) -> None:
    ledger.write()
    seen: list[float] = []

    def note(*_: Any) -> None:
        seen.append(time.monotonic())

    with events(served) as stream:
        next(stream)
        next(stream)
        sa.event.listen(store.engine, "before_cursor_execute", note)
        next(stream)
        assert seen
    deadline = time.monotonic() + 10
    while time.monotonic() - seen[-1] < 1.5:
        assert time.monotonic() < deadline, "the sampler goes on"
        time.sleep(0.1)
    sa.event.remove(store.engine, "before_cursor_execute", note)
