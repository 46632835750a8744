"""The pages of the jobs in flight, and of the tasks that wait for a person."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from campaign.states import AttemptState
from dashboard.operations.live import LiveOperations
from dashboard.rendering import Pages
from dashboard.runs import jobs, parked
from dashboard.runs.jobs import JobsChoice
from dashboard.runs.parked import ParkedChoice
from dune_prompt.settings import Site
from dune_prompt.store import Store

# Forms send what was left open as an empty text.
Text = Annotated[str, Query(max_length=300)]
Number = Annotated[str, Query(max_length=18, pattern="^[0-9]*$")]


def create_router(pages: Pages, site: Site, store: Store, live: LiveOperations) -> APIRouter:
    """The routes `/jobs` and `/parked`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/jobs")
    def jobs_page(
        launcher: Text = "", campaign: Text = "", step: Text = "", state: Text = "", host: Text = "", sort: Text = "", page: Number = ""
    ) -> HTMLResponse:
        event_id = live.newest_id
        now = time.time()
        choice = JobsChoice(
            launcher=launcher or None,
            campaign=campaign or None,
            step=step or None,
            state=state if state in tuple(AttemptState) else None,
            host=host or None,
            sort=sort if sort in jobs.SORTS else jobs.DEFAULT_SORT,
            page=int(page or 1),
        )
        with store.read() as connection:
            view = jobs.read_page(connection, choice, now)
        return pages.page(
            "jobs.html", here="jobs", at=now, event_id=event_id, choice=choice, view=view, sorts=jobs.SORTS, stale_s=jobs.STALE_S
        )

    @router.get("/parked")
    def parked_page(
        error_class: Annotated[str, Query(alias="class", max_length=300)] = "", campaign: Text = "", run: Number = "", after: Number = ""
    ) -> HTMLResponse:
        event_id = live.newest_id
        choice = ParkedChoice(
            error_class=error_class or None,
            campaign=campaign or None,
            run=int(run) if run and int(run) < 2**31 else None,
            after=int(after) if after else None,
        )
        with store.read() as connection:
            view = parked.read_page(connection, site.workspace, choice)
        return pages.page("parked.html", here="jobs", at=time.time(), event_id=event_id, choice=choice, view=view)

    return router
