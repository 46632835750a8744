"""The pages of runs, of a single file, and of a job's log."""

from __future__ import annotations

import json
import time
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Path, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from campaign.ledger.tables import attempt_table, campaign_table, task_table
from campaign.places import job_dir
from dashboard import rendering
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.live import LiveOperations
from dashboard.operations.work import newest_runs, read_runs
from dashboard.runs.choice import Choice
from dashboard.runs.file_story import read_story
from dashboard.runs.log_file import read_tail
from dashboard.runs.run_page import read_run_page
from dune_prompt.settings import Site
from dune_prompt.store import Store

RUNS_A_PAGE = 200

Chosen = Annotated[str | None, Query(max_length=300)]


def create_router(site: Site, store: Store, live: LiveOperations) -> APIRouter:
    """The routes of the pages about runs."""
    router = APIRouter(include_in_schema=False)

    @router.get("/runs")
    def runs(run: str = "", below: Annotated[int | None, Query(ge=0)] = None) -> Response:
        if run.isdecimal() and len(run) < 10:
            return RedirectResponse(f"/runs/{int(run)}", 303)
        with store.read() as connection:
            campaigns = counted_campaigns(connection)
            numbers = newest_runs(connection, campaigns, RUNS_A_PAGE, below=below)
            rows = read_runs(connection, campaigns, numbers)
        older = numbers[-1] if len(numbers) == RUNS_A_PAGE else None
        poms = any(launcher.kind == "poms" for launcher in site.launchers)
        return rendering.page("runs.html", site=site.site, here="runs", runs=rows, older=older, below=below, poms=poms)

    @router.get("/runs/{run}")
    def run_page(
        run: Annotated[int, Path(ge=0, lt=2**31)],
        campaign: Chosen = None,
        version: Chosen = None,
        file: Chosen = None,
        element: Chosen = None,
        plane: Chosen = None,
        trend: Chosen = None,
    ) -> HTMLResponse:
        event_id, parts = live.sample()
        choice = Choice(run, campaign, version, file, element, plane, trend)
        with store.read() as connection:
            view = read_run_page(connection, site, choice)
        if view is None:
            raise HTTPException(404, f"nothing is known about run {run}")
        return rendering.page(
            "run.html",
            site=site.site,
            here="runs",
            at=time.time(),
            event_id=event_id,
            mark=json.loads(parts["run_marks"]).get(str(run), ""),
            view=view,
            choice=view.choice,
        )

    @router.get("/files/{did:path}")
    def file_page(did: Annotated[str, Path(max_length=400)]) -> HTMLResponse:
        with store.read() as connection:
            story = read_story(connection, did)
        if story is None:
            raise HTTPException(404, f"neither ledger nor journal knows the file {did}")
        return rendering.page("file.html", site=site.site, here="runs", story=story)

    @router.get("/attempts/{attempt}/log")
    def log(attempt: Annotated[str, Path(max_length=26)]) -> HTMLResponse:
        statement = (
            sa.select(attempt_table, task_table.c.input_did, task_table.c.run, campaign_table.c.name, campaign_table.c.version)
            .select_from(attempt_table.join(task_table, task_table.c.id == attempt_table.c.task_id).join(campaign_table))
            .where(attempt_table.c.id == attempt)
        )
        with store.read() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise HTTPException(404, "the ledger knows no such attempt")
        return rendering.page("log.html", site=site.site, here="runs", attempt=row, log=read_tail(job_dir(site.workspace, row.id)))

    return router
