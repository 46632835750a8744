"""The route of the trends page."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from dashboard.operations.live import LiveOperations
from dashboard.quality.trends.choice import DEFAULT_METRIC, Against, TrendChoice
from dashboard.quality.trends.page import read_trends_page
from dashboard.rendering import Pages
from dune_prompt.store import Store

Chosen = Annotated[str | None, Query(max_length=64)]
# As text, because a form that leaves a number open sends it empty.
Run = Annotated[str, Query(max_length=10, pattern="^[0-9]*$")]


def create_router(pages: Pages, store: Store, live: LiveOperations) -> APIRouter:
    """The page `/trends`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/trends")
    def trends_page(
        campaign: Chosen = None,
        version: Chosen = None,
        metric: str = DEFAULT_METRIC,
        plane: Chosen = None,
        run_type: Chosen = None,
        from_run: Run = "",
        to_run: Run = "",
        against: Against = "run",
    ) -> HTMLResponse:
        event_id = live.newest_id
        choice = TrendChoice(
            campaign=campaign or None,
            version=version or None,
            metric=metric,
            plane=plane or None,
            run_type=run_type or None,
            from_run=int(from_run) if from_run else None,
            to_run=int(to_run) if to_run else None,
            against=against,
        )
        with store.read() as connection:
            view = read_trends_page(connection, choice)
        return pages.page("trends.html", here="trends", event_id=event_id, at=time.time(), view=view, choice=view.choice)

    return router
