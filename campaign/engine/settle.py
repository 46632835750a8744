"""Ends tasks whose outputs are declared, and clears away what their attempts leave behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from campaign.definition import FINAL_STAGE
from campaign.engine.commit import failed
from campaign.installation import Installation
from campaign.layout import CHAIN, last_step, made_again_with
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Committed
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import Move, Task
from campaign.states import TaskState
from declare_daemon.journal import FileState, files_by_did, meet_obligations

# Whose declared outputs end a step.
_DECLARED = (FileState.DECLARED, FileState.LEAVING, FileState.LEFT)
_BAD = (FileState.QUARANTINED, FileState.CONFLICT)
_DECLARED_BY = {CHAIN: ("nf_sp", "evaluate"), "declare": ("nf_sp",), "evaluate": ("evaluate",)}


@dataclass(frozen=True, slots=True)
class Settlement:
    """What follows from the state of the reported tasks' outputs: moves of tasks, the stages whose commits are void, the done tasks."""

    moves: tuple[Move, ...] = ()
    void: tuple[tuple[Task, frozenset[str]], ...] = ()
    done: tuple[Task, ...] = ()


def plan(installation: Installation, connection: sa.Connection, now: float, jitter: Callable[[], float]) -> Settlement:
    """What to do with reported tasks: done when the registrar has declared their outputs, again when these are gone. Only reads."""
    active = task_table.c.campaign_id.in_(installation.campaigns)
    reported = ledger_tasks.select(connection, ledger_tasks.OPEN, task_table.c.state == TaskState.REPORTED, active)
    if not reported:
        return Settlement()
    committed = ledger_attempts.committed(connection, {task.input_id for task in reported})
    declared = {task.id: _declared_by(installation, task, committed[task.input_id]) for task in reported}
    files = files_by_did(connection, [did for dids in declared.values() for did in dids])
    moves: list[Move] = []
    void: list[tuple[Task, frozenset[str]]] = []
    done: list[Task] = []
    for task in reported:
        mine = declared[task.id]
        bad = {stage: files[did] for did, stage in mine.items() if did in files and files[did].state in _BAD}
        if bad:
            conflicts = [file for file in bad.values() if file.state is FileState.CONFLICT]
            file = (conflicts or list(bad.values()))[0]
            if not conflicts:
                void.append((task, frozenset(again for stage in bad for again in made_again_with(stage))))
            move = failed(installation, task, "conflict" if conflicts else "outputs", f"{file.name}: {file.reason}", now, jitter())
            moves += _from_the_payload(connection, move, now) if task.step == "declare" and move.to is TaskState.WAITING_RETRY else [move]
        elif all(did in files and files[did].state in _DECLARED for did in mine):
            moves.append(Move(task, TaskState.DONE, None, {"done_at": now, "late": now > task.deadline}))
            done.append(task)
    return Settlement(tuple(moves), tuple(void), tuple(done))


def _declared_by(installation: Installation, task: Task, committed: Mapping[str, Committed]) -> dict[str, str]:
    """The files whose declaration ends the task's step: the stage of each by DID."""
    namespace = installation.campaigns[task.campaign_id].settings.outputs.namespace
    return {
        f"{namespace}:{output.name}": stage
        for stage in _DECLARED_BY[task.step]
        if stage in committed
        for output in committed[stage].outputs
        if output.declared
    }


def carry_out(installation: Installation, connection: sa.Connection, settlement: Settlement, now: float) -> None:
    """Write a settlement down; inputs whose final child is declared meet their obligations with it."""
    for task, stages in settlement.void:
        ledger_attempts.uncommit(connection, task.input_id, stages)
    ledger_tasks.apply(connection, settlement.moves, now)
    met = []
    for task in settlement.done:
        if task.step in (CHAIN, FINAL_STAGE):
            settings = installation.campaigns[task.campaign_id].settings
            met.append((task.input_did, settings.campaign, settings.version))
    meet_obligations(connection, met, now)
    ledger_attempts.settled(connection, {task.input_id for task in settlement.done if _is_last(installation, task)})


def _from_the_payload(connection: sa.Connection, move: Move, now: float) -> list[Move]:
    """In the staged layout `declare` waits until the payload has made its outputs again."""
    task = move.task
    c = task_table.c
    payload = ledger_tasks.select(connection, c.campaign_id == task.campaign_id, c.input_did == task.input_did, c.step == "nf_sp")
    again = [Move(item, TaskState.READY, move.message, {"ready_at": now}) for item in payload if item.state is TaskState.DONE]
    return [*again, Move(task, TaskState.BLOCKED, move.message, move.values)]


def _is_last(installation: Installation, task: Task) -> bool:
    return task.step == last_step(installation.campaigns[task.campaign_id].settings.layout)


def clear(installation: Installation, connection: sa.Connection, done: Sequence[Task]) -> list[Path]:
    """The output folders that nobody needs any more: those of all attempts at inputs whose last step is among the `done` tasks."""
    campaign_of: dict[int, int] = {}
    for task in done:
        if _is_last(installation, task):
            # The steps of an input have ids that follow each other.
            steps = len(installation.campaigns[task.campaign_id].steps)
            campaign_of |= dict.fromkeys(range(task.input_id, task.input_id + steps), task.campaign_id)
    attempts = ledger_attempts.of_tasks(connection, campaign_of)
    return [installation.output_dir(installation.campaigns[campaign_of[item.task_id]].settings, item.id) for item in attempts]


def remove(folders: Sequence[Path]) -> None:
    """Delete output folders of attempts; what cannot be deleted now is left for the next cleaning."""
    for folder in folders:
        if folder.parent.name == "attempts":
            shutil.rmtree(folder, ignore_errors=True)
