"""The web application: pages for people, an API for programs, and the engine's interface where there is one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from fastapi import APIRouter, FastAPI, Request
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from campaign.service.access import Authenticate, caller_from
from dashboard import rendering
from dashboard.dqm.routes import create_router as create_dqm_router
from dashboard.launches.routes import create_router as create_launches_router
from dashboard.operations.routes import create_router as create_operations_router
from dashboard.operations.routes import live_operations
from dashboard.operations.snapshot import OperationsReader, SlotView
from dashboard.runs.routes import create_router as create_runs_router
from dashboard.web import HashedStaticFiles, SecurityHeaders
from dune_prompt import __version__
from dune_prompt.errors import TransientError
from dune_prompt.settings import Site
from dune_prompt.store import Store


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
    operations page counts (default: all). `engine_router` is mounted beside the dashboard's own routes.
    """
    app = FastAPI(
        title="dune-prompt",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)
    app.add_middleware(SecurityHeaders)
    app.mount("/static", HashedStaticFiles(rendering.STATIC))
    reader = OperationsReader(site, store, slots, active_campaigns)
    live = live_operations(reader)
    app.include_router(create_operations_router(site, reader, live))
    app.include_router(create_runs_router(site, store, live))
    app.include_router(create_launches_router(site, store))
    app.include_router(create_dqm_router(site, store, caller_from(authenticate)))
    if engine_router is not None:
        app.include_router(engine_router)

    @app.get("/health")
    def health() -> Health:
        with store.read():
            return Health()

    def explain(request: Request, status: int, message: str) -> Response:
        if request.url.path.startswith(("/api/", "/health")):
            return JSONResponse({"detail": message}, status)
        return rendering.page("error.html", status=status, site=site.site, here="", message=message, code=status)

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
