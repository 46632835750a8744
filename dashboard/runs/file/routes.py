"""The pages of a file, and of what a job left: its log and its report."""

from __future__ import annotations

import time
from typing import Annotated, Any
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Path, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from campaign.ledger.tables import attempt_table, campaign_table, task_table
from campaign.places import job_dir
from dashboard.operations.live import LiveOperations
from dashboard.rendering import Pages
from dashboard.runs.file.job_files import read_report_text, read_tail
from dashboard.runs.file.story import find_did, read_story
from dune_prompt.settings import Site
from dune_prompt.store import Store

Attempt = Annotated[str, Path(max_length=26)]


def create_router(pages: Pages, site: Site, store: Store, live: LiveOperations) -> APIRouter:
    """The routes below `/files` and `/attempts`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/files")
    def any_file(did: Annotated[str, Query(max_length=400)] = "") -> Response:
        """A file by its DID, or by its name alone."""
        if ":" in did:
            return of_file(did)
        with store.read() as connection:
            found = find_did(connection, did) if did else None
        if found is None:
            raise HTTPException(404, f"the journal knows no file {did}" if did else "which file? /files?did=NAMESPACE:NAME")
        return RedirectResponse(f"{pages.base}/files/{quote(found, safe='')}", 303)

    @router.get("/files/{did:path}")
    def file_page(did: Annotated[str, Path(max_length=400)]) -> HTMLResponse:
        return of_file(did)

    def of_file(did: str) -> HTMLResponse:
        event_id = live.newest_id
        with store.read() as connection:
            story = read_story(connection, site, did)
        if story is None:
            raise HTTPException(404, f"neither ledger nor journal knows the file {did}")
        return pages.page("file.html", here="runs", at=time.time(), event_id=event_id, story=story)

    @router.get("/attempts/{attempt}/log")
    def log(attempt: Attempt) -> HTMLResponse:
        row = of_attempt(attempt)
        return pages.page("log.html", here="runs", attempt=row, log=read_tail(job_dir(site.workspace, row.id)))

    @router.get("/attempts/{attempt}/report")
    def report(attempt: Attempt) -> Response:
        """The report as the job wrote it."""
        text = read_report_text(job_dir(site.workspace, of_attempt(attempt).id))
        if text is None:
            raise HTTPException(404, "there is no report: the job has not ended, or its folder was cleaned away")
        return Response(text, media_type="application/json", headers={"Cache-Control": "no-cache"})

    def of_attempt(attempt: str) -> Any:
        statement = (
            sa.select(attempt_table, task_table.c.input_did, task_table.c.run, campaign_table.c.name, campaign_table.c.version)
            .select_from(attempt_table.join(task_table, task_table.c.id == attempt_table.c.task_id).join(campaign_table))
            .where(attempt_table.c.id == attempt)
        )
        with store.read() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise HTTPException(404, "the ledger knows no such attempt")
        return row

    return router
