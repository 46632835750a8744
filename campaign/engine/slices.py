"""Hands slices out to launchers elsewhere: the same request gets the same slice, and nothing is handed out twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from campaign.engine.launch import EXTERNAL, Candidates, assignment_path, new_attempt_id, prepare, write_assignments
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import campaigns as ledger_campaigns
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Change
from campaign.ledger.tasks import Move
from campaign.states import AttemptState, TaskState
from dune_prompt.errors import ConfigError
from dune_prompt.records import Assignment, read_json

if TYPE_CHECKING:
    from campaign.engine import Engine


class UnknownCampaignError(ConfigError):
    """The request names a campaign, version or step that this service does not run."""


def hand_out(
    engine: Engine, *, request_id: str, campaign: str, version: str, step: str, jobs: int, lease_s: float, now: float
) -> tuple[str | None, list[Assignment]]:
    """The slice for `request_id`: its id and the assignments of its jobs; (None, []) when nothing waits.

    Whoever asks again with the same id, because the answer was lost, gets the same slice, less what has ended meanwhile.

    Raises:
        UnknownCampaignError: there is no such campaign, version or step here.
    """
    installation = engine.installation
    active = next(
        (item for item in installation.campaigns.values() if (item.settings.campaign, item.settings.version) == (campaign, version)), None
    )
    if active is None or step not in active.steps:
        known = "; ".join(
            f"{item.settings.campaign} {item.settings.version}: {', '.join(item.steps)}" for item in installation.campaigns.values()
        )
        raise UnknownCampaignError(f"no campaign {campaign!r} version {version!r} with a step {step!r} here; there are {known}")
    with engine.writing() as connection:
        if known_slice := ledger_attempts.slice_of_request(connection, request_id):
            attempts = [attempt for attempt in ledger_attempts.of_slice(connection, known_slice) if attempt.ended_at is None]
            paths = [assignment_path(installation, attempt.id) for attempt in attempts]
            return known_slice, [Assignment.from_json(read_json(path), str(path)) for path in paths]
        tasks = ledger_tasks.queue(connection, ledger_campaigns.startable(connection, [active.id]), now, jobs, step=step)
        if not tasks:
            return None, []
        slice_id = new_attempt_id(now)
        ledger_attempts.create_slice(connection, slice_id, request_id, active.id, step, EXTERNAL, now)
        candidates = Candidates.of(connection, tasks, engine.inputs)
        prepared = prepare(installation, connection, candidates, EXTERNAL, now, slice_id=slice_id, lease_s=lease_s)
        # Before the commit: an attempt in the ledger always has its assignment, and an assignment without an attempt harms nobody.
        write_assignments(installation, prepared)
        submitting = ledger_tasks.by_ids(connection, [item.task.id for item in prepared]).values()
        moves = [Move(task, TaskState.SUBMITTED, None, {"submitted_at": now}) for task in submitting]
        ledger_tasks.apply(connection, moves, now)
        submitted = {"state": AttemptState.SUBMITTED, "submitted_at": now}
        ledger_attempts.update(connection, [Change(item.attempt, submitted) for item in prepared], now)
        return slice_id, [item.assignment for item in prepared]
