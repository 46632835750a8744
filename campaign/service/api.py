"""The engine's HTTP interface: reports and heartbeats of jobs, slices for launches of POMS, commands of operators."""

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, HTTPException, Request
from pydantic import BaseModel, ValidationError

from campaign.commands import COMMANDS
from campaign.engine import Engine
from campaign.ledger import attempts as ledger_attempts
from campaign.service import named_tokens
from campaign.service.access import Credentials, caller_from, needs
from campaign.service.launches import create_launches_router
from campaign.service.named_tokens import NamedToken
from campaign.service.scopes import Scope
from campaign.service.tasks import create_tasks_router
from campaign.service.tokens import Principal, Tokens
from campaign.status import CampaignStatus, campaign_statuses
from declare_daemon.journal.queue import lengths
from dune_prompt.errors import ConfigError, ConflictError, DataError
from dune_prompt.records import Report, write_json

LOCAL = "local"
REPORT_BYTES = 10_000_000


class CommandAnswer(BaseModel):
    """What a command did, as rows of a table."""

    rows: list[dict[str, Any]]


class Answer(BaseModel):
    """How many things a command changed."""

    changed: int


class StatusAnswer(BaseModel):
    """Campaigns, and what the engine wants to do next."""

    campaigns: list[CampaignStatus]
    slots_wanted: int
    slots_reason: str
    slots_needs: dict[str, int]
    launcher: str | None
    launcher_reason: str
    tasks_per_s: float
    bytes_per_s: float
    job_s: float | None
    declarations_waiting: dict[str, int]
    catalogs: list[str]


def create_router(engine: Engine, tokens: Tokens, wake: Callable[[], None]) -> APIRouter:
    """The routes of `engine` under /api/v1."""
    router = APIRouter(prefix="/api/v1")
    store = engine.installation.store

    caller = caller_from(tokens.authenticate)
    read_only = engine.installation.site.service.read_only
    operates = needs(Scope.OPERATE, tokens.authenticate, read_only=read_only)

    def its_own(attempt_id: str, principal: Annotated[Principal, Depends(caller)]) -> str:
        if principal.attempt != attempt_id and not principal.may(Scope.OPERATE):
            raise HTTPException(403, f"a token speaks for its own attempt only; for all it needs the scope {Scope.OPERATE}")
        return attempt_id

    def its_own_even_ended(attempt_id: str, credentials: Credentials) -> str:
        """The token of an attempt that is over tells its job that it should stop, and is good for nothing else."""
        token = credentials.credentials if credentials else ""
        if not tokens.is_of(attempt_id, token):
            return its_own(attempt_id, caller(credentials))
        return attempt_id

    @router.get("/status")
    def status() -> StatusAnswer:
        with store.read() as connection:
            waiting = lengths(connection)
            campaigns = campaign_statuses(connection, leave_out=probe.run if (probe := engine.installation.site.probe) else None)
        now, measures = time.time(), engine.measures
        return StatusAnswer(
            campaigns=campaigns,
            slots_wanted=engine.slots.wanted,
            slots_reason=engine.slots.reason,
            slots_needs=dict(engine.slots.needs),
            launcher=engine.choice.name,
            launcher_reason=engine.choice.reason,
            tasks_per_s=measures.tasks_per_s(now),
            bytes_per_s=measures.bytes_per_s(now),
            job_s=measures.job_s,
            declarations_waiting={f"{catalog} {step}".strip(): files for (catalog, step), files in sorted(waiting.items())},
            catalogs=engine.health(),
        )

    @router.get("/tokens", dependencies=[Depends(needs(Scope.TOKENS, tokens.authenticate))])
    def known_tokens() -> list[NamedToken]:
        """The named tokens that are not revoked, without their secrets."""
        with store.read() as connection:
            return named_tokens.known(connection, time.time())

    @router.post("/commands/{name}")
    def carry_out(
        name: str, content: Annotated[dict[str, Any], Body()], principal: Annotated[Principal, Depends(operates)]
    ) -> CommandAnswer:
        command = COMMANDS.get(name)
        if command is None:
            raise HTTPException(404, f"no command {name!r}; there are {', '.join(sorted(COMMANDS))}")
        if principal.kind == "token":
            content = content | {"by": principal.name}
        try:
            rows = command.run(engine, command.arguments.model_validate(content), time.time())
        except ValidationError as error:
            raise HTTPException(422, str(error)) from None
        except (ConfigError, ConflictError) as error:
            raise HTTPException(409, str(error)) from None
        wake()
        return CommandAnswer(rows=rows)

    @router.post("/attempts/{attempt_id}/heartbeat", responses={410: {"description": "the attempt has ended; its job should stop"}})
    def heartbeat(
        attempt_id: Annotated[str, Depends(its_own_even_ended)],
        host: Annotated[str | None, Body(max_length=200)] = None,
        stage: Annotated[str | None, Body(max_length=32)] = None,
    ) -> Answer:
        with store.read() as connection:
            attempt = ledger_attempts.by_id(connection, attempt_id)
        if attempt is None or attempt.ended_at is not None:
            raise HTTPException(410, "this attempt has ended; its job should stop")
        if engine.contact.beat(attempt, host, time.time()):
            wake()
        return Answer(changed=1)

    @router.put("/attempts/{attempt_id}/report")
    async def report(attempt_id: Annotated[str, Depends(its_own)], request: Request) -> Answer:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > REPORT_BYTES:
                raise HTTPException(413, f"a report has at most {REPORT_BYTES} bytes")
        return _keep_report(engine, attempt_id, body, wake)

    router.include_router(create_tasks_router(engine, operates, wake))
    router.include_router(create_launches_router(engine, needs(Scope.LAUNCH, tokens.authenticate), wake))
    return router


def _keep_report(engine: Engine, attempt_id: str, body: bytes, wake: Callable[[], None]) -> Answer:
    """Put a report where the engine looks for it; how the attempt ended is decided in its next step."""
    try:
        report = Report.from_json(json.loads(body), "report")
    except (ValueError, DataError) as error:
        raise HTTPException(422, str(error)) from None
    if report.attempt != attempt_id:
        raise HTTPException(422, f"the report is of attempt {report.attempt}")
    with engine.installation.store.read() as connection:
        attempt = ledger_attempts.by_id(connection, attempt_id)
    if attempt is None:
        raise HTTPException(404, "no such attempt")
    # A job beside us writes its report itself, and ends after that.
    if attempt.ended_at is None and attempt.launcher != LOCAL:
        job_dir = engine.installation.job_dir(attempt_id)
        job_dir.mkdir(parents=True, exist_ok=True)
        write_json(job_dir / "report.json", report.to_json())
        engine.contact.reported(attempt_id)
        wake()
    return Answer(changed=1)
