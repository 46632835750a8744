"""The page of launches: how far each is, counted from the tasks of its slice."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.ledger.tables import launch_table

NOW = 1_718_795_400.0


def text_of(html: str) -> str:
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.fixture
def launched(ledger: Any, store: Any) -> Any:
    """A launch whose slice has four tasks: two done, one at work, one parked."""
    ledger.campaign()
    for i, state in enumerate(("done", "done", "running", "parked")):
        ledger.attempt(ledger.task(5, i, state=state), state="succeeded" if state == "done" else "running", launcher="poms")
    ledger.write()
    row = {
        "request_id": "poms-dune-77",
        "slice_id": ledger.attempts[0]["slice_id"],
        "campaign_id": 1,
        "step": "chain",
        "task_id": 77,
        "stage_id": 12,
        "asked_at": NOW,
        "handle": "<b>4711@jobsub",
    }
    with store.write() as connection:
        connection.execute(sa.insert(launch_table).values(**row))
    yield ledger
    with store.write() as connection:
        connection.execute(sa.delete(launch_table))


def test_a_launch_is_as_far_as_the_tasks_of_its_slice(client: Any, launched: Any) -> None:
    html = client.get("/launches").text
    row = text_of(html.partition("<tbody>")[2].partition("</tbody>")[0])
    assert row.split()[:3] == ["77", "chain", "12"]
    assert "2 1 4" in row
    assert "that it runs" in row
    assert 'aria-label="launch 77: 2 done, 1 open of 4"' in html
    assert "&lt;b&gt;4711@jobsub" in html


def test_without_launches_the_page_says_so(client: Any, ledger: Any) -> None:
    ledger.write()
    assert "No launch of POMS has come yet." in client.get("/launches").text
