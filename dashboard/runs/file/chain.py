"""The chain from a raw file to its outputs, in each campaign: the stages, which attempt counts for each, and what it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.layout import ALL_STAGES, CHAIN
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger.tables import campaign_table
from campaign.states import TaskState
from dashboard.runs.matrix import of_chain, of_steps
from declare_daemon.journal import JournalFile


@dataclass(frozen=True, slots=True)
class MadeFile:
    """An output: as the journal has it, or (not declared, or not yet) as the ledger noted it. `state`: its state in the journal."""

    name: str
    did: str | None
    size_bytes: int | None
    adler32: str | None
    declared: bool
    state: str | None


@dataclass(frozen=True, slots=True)
class StageLink:
    """A stage of the chain. `attempt` counts for it (None: none does yet); `payload` and `settings` are the campaign file's."""

    stage: str
    state: TaskState
    attempt: str | None
    number: int | None
    payload: str | None
    settings: Mapping[str, Any]
    outputs: Sequence[MadeFile]


@dataclass(frozen=True, slots=True)
class Chain:
    """What one campaign's version made of a file. `code` and `campaign_file` are as its outputs' metadata say."""

    campaign: str
    version: str
    layout: str
    stages: Sequence[StageLink]
    code: Sequence[str]
    campaign_file: Sequence[str]
    campaign_file_now: str
    records: Sequence[Any]


def read_chains(
    connection: sa.Connection, tasks: Sequence[Any], attempts: Sequence[Any], derived: Sequence[JournalFile], records: Sequence[Any]
) -> list[Chain]:
    """The chains of a raw file; `tasks` and `attempts` are all of it, `derived` the outputs the journal knows, `records` its results."""
    by_campaign: dict[int, list[Any]] = {}
    for task in tasks:
        by_campaign.setdefault(task.campaign_id, []).append(task)
    rows = connection.execute(sa.select(campaign_table).where(campaign_table.c.id.in_(by_campaign))).all()
    campaigns = {row.id: row for row in rows}
    return [_chain(connection, campaigns[campaign_id], mine, attempts, derived, records) for campaign_id, mine in by_campaign.items()]


def _chain(
    connection: sa.Connection,
    campaign: Any,
    tasks: Sequence[Any],
    attempts: Sequence[Any],
    derived: Sequence[JournalFile],
    records: Sequence[Any],
) -> Chain:
    input_id, task_ids = tasks[0].input_id, {task.id for task in tasks}
    numbers = {attempt.id: attempt.number for attempt in attempts if attempt.task_id in task_ids}
    made = [file for file in derived if file.attempt in numbers]
    committed = ledger_attempts.committed(connection, [input_id])[input_id]
    links = []
    for stage, state in zip(ALL_STAGES, _states(tasks, committed), strict=True):
        count = committed.get(stage)
        settings = campaign.content.get("stages", {}).get(stage) or {}
        links.append(
            StageLink(
                stage=stage,
                state=state,
                attempt=count.attempt_id if count else None,
                number=numbers.get(count.attempt_id) if count else None,
                payload=settings.get("payload"),
                settings={key: value for key, value in settings.items() if key != "payload"},
                outputs=_outputs(stage, count.outputs if count else (), made),
            )
        )
    return Chain(
        campaign=campaign.name,
        version=campaign.version,
        layout=campaign.layout,
        stages=links,
        code=_said(made, "code_version"),
        campaign_file=_said(made, "campaign_file_sha256"),
        campaign_file_now=campaign.file_hash,
        records=[row for row in records if (row.campaign, row.version) == (campaign.name, campaign.version)],
    )


def _said(made: Sequence[JournalFile], key: str) -> list[str]:
    """What the metadata of the outputs say of how they were made."""
    workflows = (file.metadata.get("dune.workflow") for file in made)
    return sorted({str(item[key]) for item in workflows if isinstance(item, dict) and item.get(key)})


def _states(tasks: Sequence[Any], committed: Mapping[str, Any]) -> tuple[TaskState, ...]:
    if tasks[0].step == CHAIN:
        return of_chain(TaskState(tasks[0].state), frozenset(committed))
    return of_steps(tasks)


def _outputs(stage: str, noted: Sequence[Any], made: Sequence[JournalFile]) -> list[MadeFile]:
    """The outputs of a stage. `declare` lists what others made, so it has none of its own."""
    if stage == "declare":
        return []
    in_journal = {file.name: file for file in made if file.metadata.get("core.application.name") == stage}
    in_ledger = {item.name: item for item in noted}
    found = []
    for name in dict.fromkeys([*in_ledger, *in_journal]):
        file = in_journal.get(name)
        known = file or in_ledger[name]
        found.append(
            MadeFile(
                name=name,
                did=file.did if file else None,
                size_bytes=known.size_bytes,
                adler32=known.adler32,
                declared=file is not None and file.declared_at is not None,
                state=file.state.value if file else None,
            )
        )
    return found
