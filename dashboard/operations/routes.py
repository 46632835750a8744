"""The operations page, its stream of updates, and the same numbers as JSON."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from dashboard import rendering
from dashboard.operations.live import LiveOperations
from dashboard.operations.rates import WINDOWS
from dashboard.operations.snapshot import Operations, OperationsReader
from dune_prompt.settings import Site

RECONNECT_MS = 2000


def live_operations(reader: OperationsReader) -> LiveOperations:
    """The live page over `reader`."""
    return LiveOperations(reader, render_parts, lambda message: rendering.render("parts/trouble.html", message=message))


def render_parts(operations: Operations) -> dict[str, str]:
    """The parts of the page, by the name in their `data-part`."""
    o = operations
    parts = {
        "services": rendering.render("parts/services.html", services=o.services),
        "hero": rendering.render("parts/hero.html", promptness=o.promptness, work=o.work, counts=o.work.counts),
        "tiles": rendering.render("parts/tiles.html", at=o.at, work=o.work, slots=o.slots, buffer=o.buffer, deadline=o.deadline),
        "rates": rendering.render("parts/rates.html", windows=WINDOWS, rates=o.rates),
        "latency": rendering.render("parts/latency.html", windows=WINDOWS, latency=o.latency),
        "runs": rendering.render("parts/runs.html", runs=o.runs),
        "failures": rendering.render("parts/failures.html", failures=o.failures, failure_classes=o.failure_classes),
        "declaring": rendering.render("parts/declaring.html", at=o.at, declaring=o.declaring),
        "rates_data": str(rendering.data({name: asdict(rates) for name, rates in o.rates.items()})),
        # What a run's page looks at: a run whose text differs has news.
        "run_marks": str(rendering.data(_run_marks(o))),
    }
    return {name: text.strip() for name, text in parts.items()}


def _run_marks(operations: Operations) -> dict[str, str]:
    marks: dict[str, str] = {}
    for row in operations.runs:
        counts = row.counts
        marks[str(row.run)] = marks.get(str(row.run), "") + f"{counts.files} {counts.done} {counts.at_work} {counts.parked} {row.judged};"
    return marks


def create_router(site: Site, reader: OperationsReader, live: LiveOperations) -> APIRouter:
    """The routes of the operations page."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    def operations_page(window: str = WINDOWS[0].name) -> HTMLResponse:
        event_id, parts = live.sample()
        return rendering.page(
            "operations.html",
            site=site.site,
            here="operations",
            event_id=event_id,
            at=live.at,
            parts=parts,
            windows=WINDOWS,
            window=window if window in {known.name for known in WINDOWS} else WINDOWS[0].name,
        )

    @router.get("/events", response_class=EventSourceResponse, include_in_schema=False)
    async def events(after: str | None = None, last_event_id: Annotated[str | None, Header()] = None) -> AsyncIterator[ServerSentEvent]:
        async for update in live.follow(last_event_id or after):
            yield ServerSentEvent(raw_data=update.data, event="update", id=update.id, retry=RECONNECT_MS)

    @router.get("/api/v1/operations", tags=["operations"])
    def operations(response: Response) -> Operations:
        """The numbers of the operations page."""
        response.headers["Cache-Control"] = "no-store"
        return reader.read(time.time())

    return router
