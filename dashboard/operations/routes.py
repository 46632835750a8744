"""The operations page, its stream of updates, its history, and the same numbers as JSON."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from dashboard.operations.history import HISTORY_WINDOWS, History, window_named
from dashboard.operations.history_reader import HistoryReader
from dashboard.operations.live import LiveOperations
from dashboard.operations.marks import run_marks
from dashboard.operations.rates import WINDOWS
from dashboard.operations.snapshot import Operations, OperationsReader
from dashboard.rendering import Pages, data

# Proxies hand on what comes at once.
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def live_operations(pages: Pages, reader: OperationsReader) -> LiveOperations:
    """The live page over `reader`."""
    return LiveOperations(
        reader, lambda operations: render_parts(pages, operations), lambda message: pages.render("parts/trouble.html", message=message)
    )


def render_parts(pages: Pages, operations: Operations) -> dict[str, str]:
    """The parts of the page, by the name in their `data-part`."""
    names = ("services", "open_alarms", "detector", "hero", "rates", "backlog", "jobs", "buffer", "latency", "runs", "failures", "outside")
    parts = {name: pages.render(f"parts/{name}.html", o=operations, windows=WINDOWS).strip() for name in names}
    return parts | {"marks": str(data(operations.marks | run_marks(operations.runs)))}


def create_router(pages: Pages, reader: OperationsReader, live: LiveOperations, history: HistoryReader) -> APIRouter:
    """The routes of the operations page."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    def operations_page(window: str | None = None) -> HTMLResponse:
        event_id, parts = live.sample()
        chosen = window_named(window)
        return pages.page(
            "operations.html",
            here="operations",
            event_id=event_id,
            at=live.at,
            parts=parts,
            history=history.part(pages, chosen, time.time()),
            windows=HISTORY_WINDOWS,
            chosen=chosen,
        )

    @router.get("/operations/history", include_in_schema=False)
    def history_part(window: str | None = None) -> HTMLResponse:
        """The part of the page with the charts, for a page that is open."""
        return HTMLResponse(history.part(pages, window_named(window), time.time()), headers={"Cache-Control": "no-cache"})

    @router.get("/events", include_in_schema=False)
    async def events(
        after: str | None = None,
        parts: Annotated[str | None, Query(max_length=300)] = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> StreamingResponse:
        """Updates of all parts of the page, or of those listed in `parts`, apart by commas."""
        wanted = None if parts is None else frozenset(parts.split(","))

        async def frames() -> AsyncIterator[bytes]:
            async for update in live.follow(last_event_id or after, wanted):
                yield update.frame

        return StreamingResponse(frames(), media_type="text/event-stream", headers=STREAM_HEADERS)

    @router.get("/api/v1/operations", tags=["operations"])
    def operations(response: Response) -> Operations:
        """The numbers of the operations page."""
        response.headers["Cache-Control"] = "no-store"
        return reader.read(time.time())

    @router.get("/api/v1/operations/history", tags=["operations"])
    def operations_history(response: Response, window: Literal["10min", "1h", "8h", "24h", "7d", "30d"] = "8h") -> History:
        """What the operations page showed over the last `window`, in columns."""
        response.headers["Cache-Control"] = "no-store"
        return history.read(window_named(window), time.time())

    return router
