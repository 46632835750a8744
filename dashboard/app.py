"""The web application: pages for people, an API for programs, and the engine's interface where there is one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from campaign.service.access import Authenticate, caller_from
from dashboard.alarms.routes import create_router as create_alarms_router
from dashboard.alarms.running import running_alarms
from dashboard.api_page import create_router as create_api_router
from dashboard.background import Repeated
from dashboard.dqm.rollup import Roller
from dashboard.dqm.routes import create_router as create_dqm_router
from dashboard.dqm.storage import DqmStorage
from dashboard.handover.routes import create_router as create_handover_router
from dashboard.launches.routes import create_router as create_launches_router
from dashboard.operations.history_reader import HistoryReader
from dashboard.operations.routes import create_router as create_operations_router
from dashboard.operations.routes import live_operations
from dashboard.operations.sampler import CALLED_EVERY_S, Sampler
from dashboard.operations.slots import SlotView
from dashboard.operations.snapshot import OperationsReader
from dashboard.prometheus.routes import create_router as create_prometheus_router
from dashboard.quality.api import create_router as create_quality_router
from dashboard.quality.judging import Judge
from dashboard.quality.run_page.routes import create_router as create_run_quality_router
from dashboard.quality.shifter.routes import create_router as create_shifter_router
from dashboard.quality.trends.routes import create_router as create_trends_router
from dashboard.rendering import STATIC, Pages
from dashboard.runs.file.routes import create_router as create_file_router
from dashboard.runs.head import RunHeads
from dashboard.runs.jobs_routes import create_router as create_jobs_router
from dashboard.runs.routes import create_router as create_runs_router
from dashboard.web import HashedStaticFiles, SecurityHeaders, UnderPath
from dune_prompt import __version__
from dune_prompt.errors import TransientError
from dune_prompt.settings import Site
from dune_prompt.store import Store

ROLL_EVERY_S = 3.0
CERTIFY_EVERY_S = 3.0


class Problem(BaseModel):
    """Why a call was not answered."""

    detail: str


class Misunderstood(BaseModel):
    """What is wrong with what was sent: in words, or a list with the place of each fault."""

    detail: str | list[dict[str, Any]]


# Any call may be answered so.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the body cannot be taken apart"},
    401: {"model": Problem, "description": "no token, or one that is not valid"},
    403: {"model": Problem, "description": "the token does not allow this, or the service is in read-only mode"},
    404: {"model": Problem, "description": "there is no such thing"},
    409: {"model": Problem, "description": "something else is true by now"},
    413: {"model": Problem, "description": "too large"},
    422: {"model": Misunderstood, "description": "not what is expected"},
    503: {"model": Problem, "description": "the store or a disk is away: come back"},
}


class Health(BaseModel):
    """The service answers, and so does its store."""

    status: Literal["ok"] = "ok"
    version: str = __version__


def create_app(
    site: Site,
    store: Store,
    engine_router: APIRouter | None,
    *,
    authenticate: Authenticate,
    slots: Callable[[], SlotView],
    active_campaigns: Callable[[], Collection[int]] | None = None,
) -> FastAPI:
    """The application over one store.

    `authenticate` tells whose a token is, `slots` the engine's last decision, `active_campaigns` which of the ledger's campaigns the
    operations page counts (default: all). `engine_router` is mounted beside the dashboard's own routes. While the application is served
    the dashboard's own work goes on in threads.
    """
    pages = Pages(site)
    heads = RunHeads(site, store)
    storage = DqmStorage(store, site.workspace, Judge(store, site.workspace))
    work = [
        Repeated("roll up", ROLL_EVERY_S, Roller(store).roll_stale),
        Repeated("samples", CALLED_EVERY_S, Sampler(site, store, slots, active_campaigns)),
        Repeated("run certificates", CERTIFY_EVERY_S, heads.certificates.work),
    ]

    @asynccontextmanager
    async def working(_app: FastAPI) -> AsyncIterator[None]:
        for each in work:
            each.start()
        yield
        for each in work:
            await run_in_threadpool(each.stop)

    app = FastAPI(
        title="dune-prompt",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=working,
        responses=PROBLEMS,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(UnderPath, base=pages.base)
    app.mount("/static", HashedStaticFiles(STATIC))
    reader = OperationsReader(site, store, slots, active_campaigns)
    live = live_operations(pages, reader)
    alarms = running_alarms(site, store, reader, slots)
    work += alarms.work
    app.include_router(create_operations_router(pages, reader, live, HistoryReader(store, site.buffer)))
    app.include_router(create_runs_router(pages, site, store, live, heads))
    app.include_router(create_file_router(pages, site, store, live))
    app.include_router(create_jobs_router(pages, site, store, live))
    app.include_router(create_shifter_router(pages, store, live))
    app.include_router(create_trends_router(pages, store, live))
    app.include_router(create_run_quality_router(pages, site, store, live, heads))
    app.include_router(create_alarms_router(pages, site, store, live, alarms, authenticate))
    app.include_router(create_prometheus_router(reader))
    app.include_router(create_api_router(pages, app.openapi))
    app.include_router(create_handover_router(pages, site, store, active_campaigns))
    app.include_router(create_launches_router(pages, site, store))
    app.include_router(create_dqm_router(store, storage, caller_from(authenticate)))
    app.include_router(create_quality_router(pages, site, store, caller_from(authenticate)))
    if engine_router is not None:
        app.include_router(engine_router)

    @app.get("/health")
    def health() -> Health:
        with store.read():
            return Health()

    def explain(request: Request, status: int, message: str) -> Response:
        if request.url.path.startswith(("/api/", "/health")):
            return JSONResponse({"detail": message}, status)
        return pages.page("error.html", status=status, here="", message=message, code=status)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/api/") or error.status_code < 400:
            return await http_exception_handler(request, error)
        return explain(request, error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def misunderstood(request: Request, error: RequestValidationError) -> Response:
        if request.url.path.startswith("/api/"):
            return await request_validation_exception_handler(request, error)
        return explain(request, 422, "this address cannot be understood")

    @app.exception_handler(TransientError)
    def away(request: Request, error: TransientError) -> Response:
        answer = explain(request, 503, str(error))
        answer.headers["Retry-After"] = "5"
        return answer

    return app
