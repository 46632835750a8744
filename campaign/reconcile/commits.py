"""Commits of inputs that are not done yet, whose files are neither where the attempt left them nor known to the daemon any more."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from campaign import places
from campaign.installation import ActiveCampaign, Installation
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Committed
from campaign.ledger.tables import task_table
from campaign.reconcile.finding import Finding
from campaign.reconcile.moving import to_begin
from campaign.states import TaskState
from declare_daemon.journal import FileState, JournalFile, files_by_did

_STATES = (TaskState.BLOCKED, TaskState.READY, TaskState.WAITING_RETRY, TaskState.PARKED, TaskState.REPORTED)


def check(connection: sa.Connection, installation: Installation, run: int | None, now: float, *, change: bool) -> list[Finding]:
    """Find commits whose outputs are gone; with `change` their inputs are processed from the beginning.

    Where the place of a campaign's outputs is not there, nothing is said about what should be in it.
    """
    findings: list[Finding] = []
    for campaign in installation.campaigns.values():
        place = installation.place_of(campaign.settings)
        c = task_table.c
        of_run = [] if run is None else [c.run == run]
        tasks = ledger_tasks.select(connection, ledger_tasks.OPEN, c.campaign_id == campaign.id, c.state.in_(_STATES), *of_run)
        committed = ledger_attempts.committed(connection, {task.input_id for task in tasks})
        committed = {input_id: stages for input_id, stages in committed.items() if stages}
        if not committed:
            continue
        if not place.is_dir():
            findings.append(Finding("place of outputs is not there", str(place), "nothing: look at the mount"))
            continue
        gone = _gone(connection, installation, campaign, committed)
        dids = {task.input_id: task.input_did for task in tasks}
        if change:
            to_begin(connection, installation.campaigns, gone, "its committed outputs are gone", now)
        findings += [Finding("committed outputs are gone", dids[input_id], "processed from the beginning", change) for input_id in gone]
    return findings


def _gone(
    connection: sa.Connection, installation: Installation, campaign: ActiveCampaign, committed: Mapping[int, Mapping[str, Committed]]
) -> list[int]:
    namespace = campaign.settings.outputs.namespace
    names = {f"{namespace}:{output.name}" for stages in committed.values() for commit in stages.values() for output in commit.outputs}
    journal = files_by_did(connection, names)
    return [
        input_id
        for input_id, stages in committed.items()
        if any(
            not _is_there(installation, campaign, commit.attempt_id, output.name, journal.get(f"{namespace}:{output.name}"))
            for commit in stages.values()
            for output in commit.outputs
        )
    ]


def _is_there(installation: Installation, campaign: ActiveCampaign, attempt: str, name: str, file: JournalFile | None) -> bool:
    # What the daemon has in hand is declared by it, or refused; the engine answers both by itself.
    if file is not None and file.attempt == attempt and file.state is not FileState.GONE:
        return True
    return (places.output_dir(installation.place_of(campaign.settings), attempt) / name).exists()
