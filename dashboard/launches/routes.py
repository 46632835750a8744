"""The page of launches: what POMS started, what each got, and how far it is."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from campaign.ledger.launches import progress
from campaign.poms import pages as poms_pages
from campaign.poms.rendering import poms_settings
from dashboard.rendering import Pages
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site
from dune_prompt.store import Store

SHOWN = 100


def create_router(pages: Pages, site: Site, store: Store) -> APIRouter:
    """The route of the page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/launches")
    def launches() -> HTMLResponse:
        with store.read() as connection:
            rows = progress(connection, limit=SHOWN)
        submissions = _submissions(site, [row.launch.task_id for row in rows])
        return pages.page("launches.html", here="jobs", launches=rows, submissions=submissions)

    return router


def _submissions(site: Site, tasks: list[int]) -> dict[int, str]:
    """The pages of submissions in POMS; none when POMS is no longer a launcher here."""
    try:
        settings = poms_settings(site)
    except ConfigError:
        return {}
    return {task: poms_pages.submission(str(settings.url), settings.group, settings.poms_role, task) for task in tasks if task}
