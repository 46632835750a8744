"""Where an output comes from: its input, campaign file, code, payload, job, host and times.

The ledger tells it (stage_commit → attempt → task → campaign), the journal has the output's own metadata, and the job's folder, while it is
kept, its report. The metadata say the same in every catalogue, so an output can be traced without this installation too:
`core.application.*`, `dune.campaign`, `dune.config_file` and `dune.workflow` (attempt, hash of the campaign file, code version).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import sqlalchemy as sa

from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Attempt
from campaign.ledger.tables import campaign_table, task_table
from campaign.ledger.tasks import Task
from campaign.places import job_dir
from campaign.why.spelled import listed, moment
from declare_daemon.journal import JournalFile, files_by_did
from declare_daemon.journal.files import files_by_name
from declare_daemon.journal.tables import file_table
from dune_prompt.errors import ConfigError, DataError
from dune_prompt.records import Output, Report, StageReport, read_json
from dune_prompt.settings import Site


@dataclass(frozen=True, slots=True)
class Provenance:
    """How one output was made. Times in seconds since the Unix epoch; what nobody has written down is None.

    `stage` made it, in attempt `attempt` number `number` of task `task`; `job` is its handle in the batch system `launcher`. `counts`:
    that attempt is the one that counts for its stage. `campaign_file_sha256` is the campaign file the job ran with, `campaign_file_now`
    the one last loaded for this version. `payload` and its `settings` are those of the campaign file last loaded.
    """

    did: str
    inputs: tuple[str, ...]
    campaign: str | None
    version: str | None
    stage: str | None
    payload: str | None
    settings: Mapping[str, Any] | None
    campaign_file: str | None
    campaign_file_sha256: str | None
    campaign_file_now: str | None
    code_version: str | None
    attempt: str | None
    number: int | None
    task: int | None
    counts: bool | None
    launcher: str | None
    job: str | None
    host: str | None
    submitted_at: float | None
    started_at: float | None
    ended_at: float | None
    declared_at: float | None
    cpu_s: float | None
    rss_bytes: int | None
    size_bytes: int | None
    adler32: str | None
    report: str | None
    log: str | None

    def sentences(self) -> list[str]:
        """The same in words."""
        made = f"made from {listed(self.inputs)}" if self.inputs else "its input is not known"
        by = f"by {self.campaign} {self.version}" if self.campaign else "by a campaign that is not known here"
        lines = [f"{made} {by}" + (f", stage {self.stage}" if self.stage else "") + (f" (payload {self.payload})" if self.payload else "")]
        if self.code_version or self.campaign_file_sha256:
            lines.append(
                f"code version {self.code_version or 'not known'}, campaign file {self.campaign_file or ''}"
                f" with SHA-256 {self.campaign_file_sha256 or 'not known'}"
            )
        if self.campaign_file_now and self.campaign_file_sha256 and self.campaign_file_now != self.campaign_file_sha256:
            lines.append(f"the campaign file has changed since: it is {self.campaign_file_now} now")
        if self.attempt:
            job = f", job {self.job} of {self.launcher}" if self.job else f", {self.launcher}" if self.launcher else ""
            number = f" (number {self.number} of its task)" if self.number else ""
            lines.append(f"attempt {self.attempt}{number}{job}, on {self.host or 'a host that is not known'}")
        if self.counts is False:
            lines.append("another attempt counts for this stage now")
        if self.started_at and self.ended_at:
            lines.append(f"began {moment(self.started_at)}, ended {moment(self.ended_at)}")
        lines += [f"report: {self.report}"] if self.report else []
        return lines + ([f"log: {self.log}"] if self.log else [])


def trace(connection: sa.Connection, site: Site, did_or_name: str) -> Provenance:
    """How the output of this DID or name was made.

    Raises:
        ConfigError: neither ledger nor journal knows such an output.
    """
    file = output_called(connection, did_or_name)
    made = _made_by_attempt(connection, file.attempt) if file is not None and file.attempt else None
    if made is None:
        made = _made_by_name(connection, did_or_name)
    if made is None and file is None:
        raise ConfigError(f"{did_or_name}: the ledger knows no output of that name")
    return _provenance(connection, site, did_or_name, file, made)


def output_called(connection: sa.Connection, did_or_name: str) -> JournalFile | None:
    """The journal's row of an output, by DID or name."""
    if ":" in did_or_name:
        file = files_by_did(connection, [did_or_name]).get(did_or_name)
        return file if file is not None and file.origin == "outbox" else None
    return files_by_name(connection, "outbox", [did_or_name]).get(did_or_name)


@dataclass(frozen=True, slots=True)
class _Made:
    """The attempt that made an output, if the ledger still has it, with its task and its campaign's row."""

    task: Task
    campaign: Any
    attempt: Attempt | None


def _made_by_attempt(connection: sa.Connection, attempt_id: str) -> _Made | None:
    attempt = ledger_attempts.by_id(connection, attempt_id)
    task = ledger_tasks.by_ids(connection, [attempt.task_id]).get(attempt.task_id) if attempt else None
    return None if task is None else _Made(task, _campaign(connection, task.campaign_id), attempt)


def _made_by_name(connection: sa.Connection, did_or_name: str) -> _Made | None:
    """By what the name says (`<raw stem>_<campaign>_<version>_<what>`): outputs that are not declared are in the ledger only."""
    name = did_or_name.rpartition(":")[2]
    for row in connection.execute(sa.select(campaign_table)).all():
        stem, between, _ = name.rpartition(f"_{row.name}_{row.version}_")
        if not between:
            continue
        for task in _tasks_of_stem(connection, row.id, stem):
            for count in ledger_attempts.committed(connection, [task.input_id])[task.input_id].values():
                if name in {output.name for output in count.outputs}:
                    return _Made(task, row, ledger_attempts.by_id(connection, count.attempt_id))
    return None


def _tasks_of_stem(connection: sa.Connection, campaign_id: int, stem: str) -> list[Task]:
    f, t = file_table.c, task_table.c
    raw = sa.select(f.did).where(f.origin == "buffer", f.name > f"{stem}.", f.name < f"{stem}/", f.did.is_not(None))
    dids = list(connection.execute(raw).scalars())
    return ledger_tasks.select(connection, t.campaign_id == campaign_id, t.input_did.in_(dids)) if dids else []


def _campaign(connection: sa.Connection, campaign_id: int) -> Any:
    return connection.execute(sa.select(campaign_table).where(campaign_table.c.id == campaign_id)).one()


def _provenance(connection: sa.Connection, site: Site, did_or_name: str, file: JournalFile | None, made: _Made | None) -> Provenance:
    name = file.name if file else did_or_name.rpartition(":")[2]
    metadata = file.metadata if file else {}
    workflow = metadata.get("dune.workflow")
    workflow = workflow if isinstance(workflow, dict) else {}
    attempt, task, campaign = (made.attempt, made.task, made.campaign) if made else (None, None, None)
    attempt_id = attempt.id if attempt else file.attempt if file else None
    folder = job_dir(site.workspace, attempt_id) if attempt_id else None
    stage, counts, output = _commit(connection, task, attempt_id, name)
    stage = stage or metadata.get("core.application.name")
    reported = _reported(folder, name, stage)
    settings = campaign.content.get("stages", {}).get(stage) if campaign is not None and stage else None
    namespace = campaign.content.get("outputs", {}).get("namespace") if campaign is not None else None
    return Provenance(
        did=(file.did if file and file.did else None) or (did_or_name if ":" in did_or_name else f"{namespace}:{name}"),
        inputs=file.parents if file and file.parents else (task.input_did,) if task else (),
        campaign=campaign.name if campaign is not None else metadata.get("dune.campaign"),
        version=campaign.version if campaign is not None else metadata.get("core.application.version"),
        stage=stage,
        payload=(settings or {}).get("payload"),
        settings=settings,
        campaign_file=metadata.get("dune.config_file"),
        campaign_file_sha256=workflow.get("campaign_file_sha256"),
        campaign_file_now=campaign.file_hash if campaign is not None else None,
        code_version=workflow.get("code_version"),
        attempt=attempt_id,
        number=attempt.number if attempt else None,
        task=task.id if task else None,
        counts=counts,
        launcher=attempt.launcher if attempt else None,
        job=attempt.handle if attempt else None,
        host=(attempt.host if attempt else None) or reported.host,
        submitted_at=attempt.submitted_at if attempt else None,
        started_at=reported.stage.started if reported.stage else attempt.started_at if attempt else None,
        ended_at=reported.stage.ended if reported.stage else attempt.ended_at if attempt else None,
        declared_at=file.declared_at if file else None,
        cpu_s=reported.stage.cpu_s if reported.stage else attempt.cpu_s if attempt else None,
        rss_bytes=reported.stage.rss_bytes if reported.stage else attempt.rss_bytes if attempt else None,
        size_bytes=file.size_bytes if file else output.size_bytes if output else None,
        adler32=file.adler32 if file else output.adler32 if output else None,
        report=reported.path,
        log=str(folder / "job.log") if folder is not None and (folder / "job.log").exists() else None,
    )


def _commit(
    connection: sa.Connection, task: Task | None, attempt_id: str | None, name: str
) -> tuple[str | None, bool | None, Output | None]:
    """The stage that made the output, whether this attempt counts for it, and the output as committed."""
    if task is None:
        return None, None, None
    counts = ledger_attempts.committed(connection, [task.input_id])[task.input_id]
    for stage, count in counts.items():
        for item in count.outputs:
            # `declare` lists what other stages made.
            if item.name == name and stage != "declare":
                return stage, count.attempt_id == attempt_id, item
    return None, any(count.attempt_id == attempt_id for count in counts.values()), None


@dataclass(frozen=True, slots=True)
class _Reported:
    path: str | None = None
    host: str | None = None
    stage: StageReport | None = None


def _reported(folder: Path | None, name: str, stage: str | None) -> _Reported:
    """What the attempt's report says of the output's stage; nothing when the report is gone or unreadable."""
    if folder is None or not (path := folder / "report.json").is_file():
        return _Reported()
    try:
        report = Report.from_json(read_json(path), str(path))
    except (DataError, OSError):
        return _Reported(str(path))
    made = [item for item in report.stages if item.name != "declare" and name in {PurePath(output.name).name for output in item.outputs}]
    made = made or [item for item in report.stages if item.name == stage]
    return _Reported(str(path), report.host, made[0] if made else None)
