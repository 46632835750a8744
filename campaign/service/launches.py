"""The HTTP interface for launches of POMS: a slice with all that its jobs need, the ids of these jobs, and how launches ended."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Body, Depends, HTTPException
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from campaign import bundle
from campaign.engine import Engine
from campaign.launchers.protocol import Job, Submission
from campaign.ledger import launches as ledger_launches
from campaign.ledger.launches import Progress
from campaign.poms import dependents, handing_out
from campaign.service.access import Caller
from dune_prompt.errors import ConfigError, DunePromptError

log = structlog.get_logger(__name__)

# What of the launcher's settings concerns the launch host.
_FOR_THE_HOST = {
    "group",
    "role",
    "subgroup",
    "site",
    "global_pool",
    "requirements",
    "lines",
    "image",
    "managed_token",
    "token_file",
    "auth",
}
_FOR_THE_HOST |= {"storage_modify", "command_path", "slice"}


class LaunchRequest(BaseModel):
    """What a launch asks for. The same `request_id` gets the same answer again."""

    request_id: str = Field(min_length=1, max_length=100)
    campaign: str
    version: str
    step: str
    task_id: int = Field(ge=0, description="POMS's number of the submission")
    stage_id: int | None = Field(None, description="POMS's number of the campaign stage")
    poms_campaign_id: int | None = Field(None, description="POMS's number of the campaign")
    jobs: int | None = Field(None, ge=1, description="no more than so many")
    host: str | None = Field(None, max_length=200)
    site: str | None = Field(None, description="where the launch restricts jobs to; refused if the site file says otherwise")


class JobAnswer(BaseModel):
    """One job: memory and disk in bytes, lifetime in seconds."""

    attempt: str
    memory_bytes: int
    lifetime_s: float
    cpus: int
    disk_bytes: int
    avoid_hosts: list[str]


class BundleAnswer(BaseModel):
    """The tarball jobs unpack; its name holds the hash of its content."""

    name: str
    size_bytes: int
    sha256: str


class LaunchAnswer(BaseModel):
    """The submission to make; `slice` None: nothing to do, `reason` says why. `begun`: its jobs may be in the queue already. `handle`:
    this request has submitted them before. `launcher` are the settings of jobsub, `wrapper` is the text of `job.sh`."""

    slice: str | None
    reason: str
    begun: bool = False
    handle: str | None = None
    jobs: list[JobAnswer] = Field(default_factory=list)
    outputs_url: str | None = None
    assignments_url: str | None = None
    wrapper: str | None = None
    bundle: BundleAnswer | None = None
    launcher: dict[str, Any] = Field(default_factory=dict)


class ProgressAnswer(BaseModel):
    """How far a launch is, with POMS's numbers. Over when no task is open."""

    request_id: str
    step: str
    task_id: int
    stage_id: int | None
    handle: str | None
    asked_at: float
    submitted_at: float | None
    told_at: float | None
    tasks: int
    open: int
    done: int
    over: bool


class SubmittedAnswer(BaseModel):
    """How many jobs are waited for, and the definition made for the stages that depend on the launch, or why there is none."""

    changed: int
    definition: str | None = None
    problem: str | None = None


class Changed(BaseModel):
    """How many things a call changed."""

    changed: int


def create_launches_router(engine: Engine, launches: Caller, wake: Callable[[], None]) -> APIRouter:
    """The routes under /launches; all need what the dependency `launches` asks for."""
    router = APIRouter(prefix="/launches", dependencies=[Depends(launches)])
    store = engine.installation.store

    @router.post("")
    def launch(request: LaunchRequest) -> LaunchAnswer:
        asked = handing_out.Asked(**request.model_dump())
        try:
            handed = handing_out.hand_out(engine, asked, time.time())
        except handing_out.UnknownCampaignError as error:
            raise HTTPException(404, str(error)) from None
        except ConfigError as error:
            raise HTTPException(409, str(error)) from None
        except OSError as error:
            raise HTTPException(503, f"what the jobs need cannot be written: {error.strerror or error}: {error.filename}") from None
        if handed.submission is None:
            return LaunchAnswer(slice=None, reason=handed.reason, handle=handed.handle)
        wake()
        return _answer(handed, handed.submission)

    @router.get("/{request_id}/bundle")
    def tarball(request_id: str) -> FileResponse:
        with store.read() as connection:
            known = ledger_launches.by_request(connection, request_id)
        if known is None or known.campaign_id not in engine.installation.campaigns:
            raise HTTPException(404, "no such launch")
        campaign = engine.installation.campaigns[known.campaign_id]
        path = bundle.build(engine.installation.site.workspace / "bundles", campaign.file)
        return FileResponse(path, media_type="application/gzip", filename=path.name)

    @router.put("/{request_id}/jobs")
    def jobs(request_id: str, handles: Annotated[dict[str, str], Body(embed=True)]) -> SubmittedAnswer:
        try:
            changed = handing_out.submitted(engine, request_id, handles, time.time())
        except ConfigError as error:
            raise HTTPException(404, str(error)) from None
        wake()
        with store.read() as connection:
            known = ledger_launches.by_request(connection, request_id)
        assert known is not None  # noqa: S101 - it was just written
        try:
            return SubmittedAnswer(changed=changed, definition=dependents.define(engine.installation, known))
        except DunePromptError as error:
            # Jobs do not need it, and dependents ask us what is open.
            log.warning("no definition for the dependents of a launch", request=request_id, error=str(error))
            return SubmittedAnswer(changed=changed, problem=str(error))

    @router.get("/untold")
    def untold() -> list[ProgressAnswer]:
        """Launches that are over and that POMS has not been told about."""
        with store.read() as connection:
            return [_progress(item) for item in ledger_launches.untold(connection)]

    @router.post("/told")
    def told(requests: Annotated[list[str], Body(embed=True)]) -> Changed:
        with engine.writing() as connection:
            return Changed(changed=ledger_launches.told(connection, requests, time.time()))

    @router.get("/{request_id}")
    def progress(request_id: str) -> ProgressAnswer:
        with store.read() as connection:
            found = ledger_launches.of_request(connection, request_id)
        if found is None:
            raise HTTPException(404, "no such launch")
        return _progress(found)

    return router


def _answer(handed: handing_out.Handed, submission: Submission) -> LaunchAnswer:
    tarball = submission.bundle
    return LaunchAnswer(
        slice=submission.id,
        reason=handed.reason,
        begun=handed.begun,
        jobs=[_job(job) for job in submission.jobs],
        outputs_url=submission.outputs_url,
        assignments_url=submission.assignments_url,
        wrapper=(submission.folder / "job.sh").read_text("utf-8") if tarball is not None else None,
        bundle=None if tarball is None else _bundle(tarball),
        launcher=handed.settings.model_dump(mode="json", include=_FOR_THE_HOST),
    )


def _bundle(tarball: Path) -> BundleAnswer:
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return BundleAnswer(name=tarball.name, size_bytes=tarball.stat().st_size, sha256=digest)


def _job(job: Job) -> JobAnswer:
    return JobAnswer(
        attempt=job.attempt,
        memory_bytes=job.memory_bytes,
        lifetime_s=job.lifetime_s,
        cpus=job.cpus,
        disk_bytes=job.disk_bytes,
        avoid_hosts=list(job.avoid_hosts),
    )


def _progress(item: Progress) -> ProgressAnswer:
    kept = {name: value for name, value in asdict(item.launch).items() if name in ProgressAnswer.model_fields}
    return ProgressAnswer(**kept, tasks=item.tasks, open=item.open, done=item.done, over=item.over)
