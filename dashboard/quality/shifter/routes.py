"""The route of the shifter's page."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from dashboard.dqm.metrics import Group
from dashboard.operations.live import LiveOperations
from dashboard.quality.shifter.choice import ShiftChoice
from dashboard.quality.shifter.page import read_shift_page
from dashboard.rendering import Pages
from dune_prompt.store import Store

Chosen = Annotated[str | None, Query(max_length=64)]


def create_router(pages: Pages, store: Store, live: LiveOperations) -> APIRouter:
    """The page `/quality`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/quality")
    def shifter_page(campaign: Chosen = None, version: Chosen = None, kiosk: bool = False) -> HTMLResponse:
        event_id = live.newest_id
        now = time.time()
        with store.read() as connection:
            view = read_shift_page(connection, ShiftChoice(campaign, version, kiosk), now)
        return pages.page("quality.html", here="quality", event_id=event_id, at=now, view=view, choice=view.choice, groups=tuple(Group))

    return router
