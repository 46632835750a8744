"""The routes of the hand-over: page, text, JSON, and the rows behind each number."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel

from dashboard.handover.files import MOST_ROWS, QUESTIONS, FileRow, count, rows_of
from dashboard.handover.period import Period, period_of
from dashboard.handover.report import HandOver, asked_of, hand_over
from dashboard.handover.text import as_text
from dashboard.operations.campaigns import counted_campaigns
from dashboard.rendering import Pages
from dune_prompt.settings import Site
from dune_prompt.store import Store

Seconds = Annotated[float | None, Query(ge=0, lt=1e11, allow_inf_nan=False, description="seconds since the Unix epoch")]
SHOWN = 500


class Rows(BaseModel):
    """The rows behind a number of the hand-over, the oldest first; `total` of them, at most 5,000 are listed."""

    name: str
    words: str
    total: int
    rows: list[FileRow]


def create_router(pages: Pages, site: Site, store: Store, active_campaigns: Callable[[], Collection[int]] | None) -> APIRouter:
    """The routes; `active_campaigns` as for the operations page."""
    router = APIRouter()

    def asked_period(since: float | None, until: float | None, now: float) -> Period:
        try:
            return period_of(since, until, now)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None

    def report(since: float | None, until: float | None, now: float) -> HandOver:
        period = asked_period(since, until, now)
        with store.read() as connection:
            campaigns = counted_campaigns(connection, active_campaigns() if active_campaigns else None)
            return hand_over(connection, site, campaigns, period, now)

    def rows(name: str, since: float | None, until: float | None, now: float, limit: int) -> tuple[Period, Rows]:
        if name not in QUESTIONS:
            raise HTTPException(404, "the hand-over has no such number; known are " + ", ".join(QUESTIONS))
        period, question = asked_period(since, until, now), QUESTIONS[name]
        with store.read() as connection:
            campaigns = counted_campaigns(connection, active_campaigns() if active_campaigns else None)
            asked = asked_of(site, campaigns, period)
            found = rows_of(connection, question, asked, limit + 1)
            total = len(found) if len(found) <= limit else count(connection, question, asked)[0]
        return period, Rows(name=name, words=question.words, total=total, rows=found[:limit])

    @router.get("/handover", include_in_schema=False)
    def handover_page(since: Seconds = None, until: Seconds = None) -> HTMLResponse:
        now = time.time()
        view = report(since, until, now)
        return pages.page("handover.html", here="handover", at=now, view=view, period=view.period)

    @router.get("/handover.txt", include_in_schema=False)
    def handover_text(since: Seconds = None, until: Seconds = None) -> PlainTextResponse:
        text = as_text(report(since, until, time.time()), site.service.base_url)
        return PlainTextResponse(text, headers={"Cache-Control": "no-cache"})

    @router.get("/handover/{name}", include_in_schema=False)
    def rows_page(name: str, since: Seconds = None, until: Seconds = None) -> HTMLResponse:
        period, found = rows(name, since, until, time.time(), SHOWN)
        return pages.page("handover_rows.html", here="handover", period=period, found=found)

    @router.get("/api/v1/handover", tags=["handover"], response_model=None)
    def handover(since: Seconds = None, until: Seconds = None) -> dict[str, Any]:
        """What happened in a period, by default the last 8 hours: numbers, latency, runs, failures, deeds, what to watch."""
        return asdict(report(since, until, time.time()))

    @router.get("/api/v1/handover/{name}", tags=["handover"])
    def handover_rows(name: str, since: Seconds = None, until: Seconds = None) -> Rows:
        """The rows behind a number of the hand-over."""
        return rows(name, since, until, time.time(), MOST_ROWS)[1]

    return router
