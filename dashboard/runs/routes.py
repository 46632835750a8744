"""The pages of runs, and what their scripts and other programs read of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from campaign.certificate.certificate import certify
from campaign.layout import ALL_STAGES
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.live import LiveOperations
from dashboard.operations.work import RunProgress, read_runs
from dashboard.rendering import Pages
from dashboard.runs.head import RunHeads
from dashboard.runs.listing import A_PAGE, Options, read_options, read_page
from dashboard.runs.listing_choice import DEFAULT_SORT, FLAGS, STATES, RunsChoice, choose
from dashboard.runs.matrix import KINDS, MatrixColumns
from dashboard.runs.medians import Medians
from dashboard.runs.run_page import RunChoice, RunPages
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site
from dune_prompt.store import Store

Run = Annotated[int, Path(ge=0, lt=2**31)]
# Forms send what was left open as an empty text.
Text = Annotated[str, Query(max_length=300)]


@dataclass(frozen=True, slots=True)
class Select:
    """One choice of the filter: `known` are its values, each with a word for it."""

    name: str
    words: str
    value: str | None
    known: list[tuple[str, str]]


def create_router(pages: Pages, site: Site, store: Store, live: LiveOperations, heads: RunHeads) -> APIRouter:
    """The routes of the pages about runs."""
    router = APIRouter()
    run_pages, medians = RunPages(heads), Medians()

    @router.get("/runs", include_in_schema=False)
    def runs(
        run: str = "",
        campaign: Text = "",
        version: Text = "",
        detector: Text = "",
        from_run: Annotated[str, Query(alias="from", max_length=300)] = "",
        to_run: Annotated[str, Query(alias="to", max_length=300)] = "",
        run_type: Annotated[str, Query(alias="type", max_length=300)] = "",
        state: Text = "",
        flag: Text = "",
        sort: Text = "",
        after: Text = "",
    ) -> Response:
        if run.isdecimal() and len(run) < 10:
            return RedirectResponse(f"{pages.base}/runs/{int(run)}", 303)
        choice = choose(campaign, version, detector, from_run, to_run, run_type, state, flag, sort, after)
        event_id = live.newest_id
        now = time.time()
        with store.read() as connection:
            campaigns = counted_campaigns(connection)
            page = read_page(connection, campaigns, choice)
            options = read_options(connection)
            progress: dict[int, list[RunProgress]] = {row.run: [] for row in page.rows}
            for row in read_runs(connection, campaigns, list(progress)):
                progress[row.run].append(row)
            standings = heads.certificates.kept(connection, progress, now)
            took = medians.of(connection, campaigns, page.rows)
        return pages.page(
            "runs.html",
            here="runs",
            at=now,
            event_id=event_id,
            choice=choice,
            page=page,
            selects=_selects(choice, options),
            standings=standings,
            medians=took,
            default_sort=DEFAULT_SORT,
            a_page=A_PAGE,
        )

    @router.get("/runs/{run}", include_in_schema=False)
    def run_page(
        run: Run, campaign: Text = "", version: Text = "", state: Text = "", page: Annotated[str, Query(max_length=9)] = ""
    ) -> HTMLResponse:
        event_id = live.newest_id
        now = time.time()
        choice = RunChoice(run, campaign or None, version or None, state if state in KINDS else None, int(page) if page.isdecimal() else 1)
        with store.read() as connection:
            view = run_pages.read(connection, choice, now)
        if view is None:
            raise HTTPException(404, f"nothing is known about run {run}")
        return pages.page("run.html", here="runs", at=now, event_id=event_id, view=view, choice=view.choice, kinds=KINDS, stages=ALL_STAGES)

    @router.get("/api/v1/runs/{run}/matrix", tags=["runs"], response_model=MatrixColumns)
    def matrix(run: Run, campaign: Text = "", version: Text = "") -> JSONResponse:
        """The files of a run by stages, as a campaign's version (default: the newest) sees them."""
        with store.read() as connection:
            found = run_pages.columns(connection, run, campaign or None, version or None)
        if found is None:
            raise HTTPException(404, f"the ledger has no file of run {run}")
        return JSONResponse(found.model_dump(), headers={"Cache-Control": "no-cache"})

    @router.get("/api/v1/runs/{run}/certificate", tags=["runs"])
    def certificate(run: Run) -> JSONResponse:
        """The run's certificate as it is now: what `dune-prompt campaign report` writes, with the hash that signs it."""
        with store.read() as connection:
            try:
                certified = certify(connection, site, run, time.time())
            except ConfigError as error:
                raise HTTPException(404, str(error)) from None
        return JSONResponse(certified.to_json(), headers={"Cache-Control": "no-cache"})

    return router


def _selects(choice: RunsChoice, options: Options) -> list[Select]:
    def of(name: str, words: str, value: str | None, values: Any) -> Select:
        return Select(name, words, value, [(item, item) for item in values])

    return [
        of("campaign", "campaign", choice.campaign, options.campaigns),
        of("version", "version", choice.version, options.versions),
        of("detector", "detector", choice.detector, options.detectors),
        of("type", "run type", choice.run_type, options.run_types),
        Select("state", "processing", choice.state, list(STATES.items())),
        Select("flag", "quality", choice.flag, [(name, "not judged" if name == "null" else name) for name in FLAGS]),
    ]
