"""The API of judging (limits, references, flags of runs, verdicts) and the page of the limits."""

# No `from __future__ import annotations`: FastAPI could not find `writer`, a local name, in the text of an annotation.

import time
from dataclasses import asdict
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from campaign.service.access import READ_ONLY, Caller
from campaign.service.scopes import Scope
from campaign.service.tokens import Principal
from dashboard.quality.flags import Flag
from dashboard.quality.limits import BOUNDS, Limits, LimitsFile, as_json, read_limits, set_limits, to_yaml
from dashboard.quality.limits_page import read_limits_page
from dashboard.quality.references import ReferenceRow, read_references, set_reference
from dashboard.quality.run_flags import history, set_run_flag
from dashboard.quality.tables import verdict_table
from dashboard.rendering import Pages
from dune_prompt.errors import ConfigError, ConflictError
from dune_prompt.settings import Site
from dune_prompt.store import Store

Run = Annotated[int, Path(ge=0, lt=2**31)]
Version = Annotated[int | None, Query(ge=1, lt=2**31, description="default: the one in force")]
Why = Annotated[str, Field(min_length=1, max_length=2000)]
Word = Annotated[str, Field(min_length=1, max_length=64)]

_FLAG_NAMES = {flag.name.lower(): flag for flag in Flag}


def _flag(value: Any) -> Any:
    """A flag by its name; a number, or one as text, is taken too."""
    if isinstance(value, str):
        return _FLAG_NAMES.get(value.lower(), int(value) if value.isdecimal() and len(value) == 1 else value)
    return value


AnyFlag = Annotated[Flag, BeforeValidator(_flag), WithJsonSchema({"type": "string", "enum": list(_FLAG_NAMES)})]


class Body(BaseModel):
    """What is sent; a field that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid")


class LimitsAnswer(BaseModel):
    """A version of the limits; `content` is what the file holds."""

    version: int
    set_at: float
    set_by: str
    why: str
    content: dict[str, Any]


class NewLimits(Body):
    """`after_version`: the version the author has seen; if another came since, nothing is changed."""

    after_version: Annotated[int, Field(ge=1, lt=2**31)]
    why: Why
    content: LimitsFile


class NewReference(Body):
    """A run to become the reference of its detector and run type; by default as the campaign sees it that saw it last."""

    run: Annotated[int, Field(ge=0, lt=2**31)]
    why: Why
    campaign: Word | None = None
    version: Word | None = None


class NewFlag(Body):
    """What somebody says of a run; `null` takes back what was said."""

    flag: AnyFlag
    comment: Why


class RunFlagAnswer(BaseModel):
    """What somebody said of a run. `flag`: 0 taken back, 1 good, 2 medium, 3 bad."""

    flag: int
    comment: str
    set_at: float
    set_by: str


class VerdictAnswer(BaseModel):
    """A verdict as it was given. Flags: 0 not judged, 1 good, 2 medium, 3 bad."""

    id: int
    result_id: int
    judged_at: float
    limits_version: int
    reference_id: int | None
    flag: int
    tiles: dict[str, dict[str, int]]
    findings: list[dict[str, Any]]


def create_router(pages: Pages, site: Site, store: Store, caller: Caller) -> APIRouter:
    """The routes below `/api/v1/quality`, and the page `/quality/limits`; `caller` is the dependency that authenticates."""
    router = APIRouter()

    def writer(principal: Annotated[Principal, Depends(caller)]) -> Principal:
        if not principal.may(Scope.QUALITY):
            raise HTTPException(403, f"this needs a token with the scope {Scope.QUALITY} ({Scope.QUALITY.sentence})")
        if site.service.read_only:
            raise HTTPException(403, READ_ONLY)
        return principal

    @router.get("/api/v1/quality/limits", tags=["quality"])
    def limits(version: Version = None) -> LimitsAnswer:
        """A version of the limits."""
        with store.read() as connection:
            return _answer(_existing(connection, version))

    @router.put("/api/v1/quality/limits", tags=["quality"])
    def put_limits(principal: Annotated[Principal, Depends(writer)], body: NewLimits) -> LimitsAnswer:
        """Make `content` the limits in force, as a new version. 409: another came after `after_version`, or nothing would change."""
        now = time.time()
        try:
            with store.write() as connection:
                version = set_limits(connection, body.content, after_version=body.after_version, by=principal.name, why=body.why, now=now)
        except (ConflictError, ConfigError) as error:
            raise HTTPException(409, str(error)) from None
        return LimitsAnswer(version=version, set_at=now, set_by=principal.name, why=body.why, content=as_json(body.content))

    @router.get("/api/v1/quality/references", tags=["quality"])
    def references() -> list[ReferenceRow]:
        """All reference runs there ever were, the newest first."""
        with store.read() as connection:
            return read_references(connection)

    @router.put("/api/v1/quality/references", tags=["quality"])
    def put_reference(principal: Annotated[Principal, Depends(writer)], body: NewReference) -> ReferenceRow:
        """Make a run the reference of its detector and run type; takes a few seconds. 409: there is no record of it."""
        try:
            return set_reference(
                store,
                site.workspace,
                body.run,
                campaign=body.campaign,
                version=body.version,
                by=principal.name,
                why=body.why,
                now=time.time(),
            )
        except ConfigError as error:
            raise HTTPException(409, str(error)) from None

    @router.post("/api/v1/quality/runs/{run}/flag", tags=["quality"])
    def post_flag(principal: Annotated[Principal, Depends(writer)], run: Run, body: NewFlag) -> RunFlagAnswer:
        """Say what a run is, beside what was judged. 409: nothing is known of the run, or it has no flag to take back."""
        try:
            with store.write() as connection:
                return RunFlagAnswer(**asdict(set_run_flag(connection, run, body.flag, body.comment, principal.name, time.time())))
        except ConfigError as error:
            raise HTTPException(409, str(error)) from None

    @router.get("/api/v1/quality/runs/{run}/flags", tags=["quality"])
    def flags(run: Run) -> list[RunFlagAnswer]:
        """All that was said of a run, the newest first."""
        with store.read() as connection:
            return [RunFlagAnswer(**asdict(flag)) for flag in history(connection, run)]

    @router.get("/api/v1/quality/verdicts/{verdict_id}", tags=["quality"])
    def verdict(verdict_id: Annotated[int, Path(ge=1, lt=2**63)]) -> VerdictAnswer:
        """A verdict with its findings; those that do not count any more are kept too."""
        statement = sa.select(verdict_table).where(verdict_table.c.id == verdict_id)
        with store.read() as connection:
            row = connection.execute(statement).mappings().one_or_none()
        if row is None:
            raise HTTPException(404, "no such verdict")
        return VerdictAnswer(**row)

    @router.get("/quality/limits", include_in_schema=False)
    def limits_page(version: Version = None, against: Version = None) -> HTMLResponse:
        with store.read() as connection:
            try:
                view = read_limits_page(connection, version, against)
            except ConfigError as error:
                raise HTTPException(404, str(error)) from None
        return pages.page("limits.html", here="quality", view=view, bounds=BOUNDS)

    @router.get("/quality/limits.yaml", include_in_schema=False)
    def limits_file(version: Version = None) -> PlainTextResponse:
        """A version as a file to edit."""
        with store.read() as connection:
            found = _existing(connection, version)
        name = f"limits_v{found.version}.yaml"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-cache"}
        return PlainTextResponse(to_yaml(found.file), headers=headers, media_type="application/yaml")

    return router


def _existing(connection: sa.Connection, version: int | None) -> Limits:
    try:
        return read_limits(connection, version)
    except ConfigError as error:
        raise HTTPException(404, str(error)) from None


def _answer(limits: Limits) -> LimitsAnswer:
    return LimitsAnswer(version=limits.version, set_at=limits.set_at, set_by=limits.set_by, why=limits.why, content=as_json(limits.file))
