"""Gives a launch of POMS its slice: the same one for the same request, what another launch left half done first, and then new work.

POMS fires whether or not the last launch is over, and knows nothing of what is in flight: that no file is given out twice is decided
here, in the ledger, in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from campaign.engine.launch import Candidates, groups_of, new_attempt_id, prepare, submission_of, write_assignments
from campaign.engine.watch import job_of
from campaign.installation import ActiveCampaign
from campaign.launchers.poms import PomsLauncher
from campaign.launchers.protocol import Submission
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import campaigns as ledger_campaigns
from campaign.ledger import launches as ledger_launches
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Change
from campaign.ledger.launches import Launch
from campaign.ledger.tasks import Move
from campaign.states import AttemptState, TaskState
from dune_prompt.errors import ConfigError
from dune_prompt.settings.launchers import PomsLauncherSettings

if TYPE_CHECKING:
    from campaign.engine import Engine


class UnknownCampaignError(ConfigError):
    """The launch names a campaign, version or step that this service does not run."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a launch asks for. `task_id` is POMS's submission id, `stage_id` and `poms_campaign_id` its other numbers; `jobs`: no more
    than so many; `site`: where the launch was told to restrict jobs to."""

    request_id: str
    campaign: str
    version: str
    step: str
    task_id: int
    stage_id: int | None = None
    poms_campaign_id: int | None = None
    jobs: int | None = None
    host: str | None = None
    site: str | None = None


@dataclass(frozen=True, slots=True)
class Handed:
    """What a launch is given: a submission, whose jobs may have been submitted already (`begun`), or None and the reason. `handle` is
    jobsub's id of the first job when the same request has submitted them before."""

    submission: Submission | None
    settings: PomsLauncherSettings
    begun: bool
    reason: str
    handle: str | None = None


def hand_out(engine: Engine, asked: Asked, now: float) -> Handed:
    """The submission a launch should make.

    Raises:
        UnknownCampaignError: there is no such campaign, version or step here. ConfigError: POMS is not a launcher of this site, or
            restricts jobs to another site than we do. OSError: what jobs need cannot be written.
    """
    settings, launcher = _poms(engine)
    campaign = _campaign(engine, asked)
    if asked.site is not None and asked.site != settings.site:
        raise ConfigError(
            f"the launch restricts jobs to {asked.site}, the site file to {settings.site}: render and upload the campaign again"
        )
    launcher.heard(now)
    launch, begun, reason = _launch_for(engine, settings, campaign, asked, now)
    if launch is None:
        return Handed(None, settings, False, reason)
    if launch.handle is not None:
        return Handed(None, settings, True, f"submitted before as {launch.handle}", launch.handle)
    submission = _submission(engine, campaign, asked.step, launch.slice_id)
    return Handed(submission, settings, begun, reason if submission is not None else "its jobs were given up")


def submitted(engine: Engine, request_id: str, handles: dict[str, str], now: float) -> int:
    """A launch tells which jobs the batch system has taken, by attempt; how many of them are waited for.

    Raises:
        ConfigError: no launch made this request.
    """
    settings, launcher = _poms(engine)
    launcher.heard(now)
    with engine.writing() as connection:
        launch = ledger_launches.by_request(connection, request_id)
        if launch is None:
            raise ConfigError(f"no launch made the request {request_id!r}")
        attempts = [item for item in ledger_attempts.of_slice(connection, launch.slice_id) if item.ended_at is None and item.id in handles]
        tasks = ledger_tasks.by_ids(connection, {attempt.task_id for attempt in attempts})
        changes = []
        for attempt in attempts:
            values = {"handle": handles[attempt.id], "submitted_at": attempt.submitted_at or now}
            waits = attempt.state is AttemptState.SUBMITTING
            lease = {"lease_until": max(attempt.lease_until, now + settings.queue_wait)}
            changes.append(Change(attempt, values | lease | ({"state": AttemptState.SUBMITTED} if waits else {})))
        ledger_attempts.update(connection, changes, now)
        waiting = [task for task in tasks.values() if task.state is TaskState.SUBMITTING]
        ledger_tasks.apply(connection, [Move(task, TaskState.SUBMITTED, None, {"submitted_at": now}) for task in waiting], now)
        if handles and launch.handle is None:
            first = min(handles)
            ledger_launches.submitted(connection, request_id, handles[first], now)
        return len(attempts)


def _poms(engine: Engine) -> tuple[PomsLauncherSettings, PomsLauncher]:
    for settings in engine.installation.site.launchers:
        launcher = engine.launchers.get(settings.kind)
        if isinstance(settings, PomsLauncherSettings) and isinstance(launcher, PomsLauncher):
            return settings, launcher
    raise ConfigError("POMS is not a launcher of this site: add {kind: poms, …} to `launchers` in the site file")


def _campaign(engine: Engine, asked: Asked) -> ActiveCampaign:
    campaigns = engine.installation.campaigns.values()
    for item in campaigns:
        if (item.settings.campaign, item.settings.version) == (asked.campaign, asked.version) and asked.step in item.steps:
            return item
    known = "; ".join(f"{item.settings.campaign} {item.settings.version}: {', '.join(item.steps)}" for item in campaigns)
    raise UnknownCampaignError(
        f"no campaign {asked.campaign!r} version {asked.version!r} with a step {asked.step!r} here; there are {known}"
    )


def _launch_for(
    engine: Engine, settings: PomsLauncherSettings, campaign: ActiveCampaign, asked: Asked, now: float
) -> tuple[Launch | None, bool, str]:
    """The launch with its slice, whether its jobs may be submitted already, and what there is to say."""
    launch = Launch(asked.request_id, "", campaign.id, asked.step, asked.task_id, asked.stage_id, asked.poms_campaign_id, asked.host, now)
    with engine.between_steps():
        with engine.installation.store.read() as connection:
            known = ledger_launches.by_request(connection, asked.request_id)
            left = ledger_launches.half_done(connection, campaign.id, asked.step, now - settings.retake_after)
        if known is not None:
            return known, True, "this request was answered before"
        if left is not None:
            return _completing(engine, replace(launch, slice_id=left.slice_id), left, now)
        candidates = _candidates(engine, settings, campaign, asked, now)
        return (None, False, candidates) if isinstance(candidates, str) else _new(engine, settings, launch, candidates, now)


def _completing(engine: Engine, launch: Launch, left: Launch, now: float) -> tuple[Launch, bool, str]:
    """The launch goes on with what another has left."""
    with engine.writing() as connection:
        ledger_launches.replaced(connection, left.request_id, now)
        ledger_launches.add(connection, launch)
    return launch, True, f"completes what task {left.task_id} of POMS left half done"


def _candidates(engine: Engine, settings: PomsLauncherSettings, campaign: ActiveCampaign, asked: Asked, now: float) -> Candidates | str:
    """The most urgent tasks that can be one submission, with the places of their inputs; or why there are none."""
    order: list[str] = [item.kind for item in engine.installation.site.launchers]
    with engine.installation.store.read() as connection:
        startable = ledger_campaigns.startable(connection, [campaign.id])
        if not startable:
            return "the campaign is paused"
        if engine.choice.name is not None and order.index(engine.choice.name) < order.index(settings.kind):
            return f"{engine.choice.name} gets the jobs: {engine.choice.reason}"
        free = min(engine.free_slots(connection), asked.jobs or settings.slice, settings.slice)
        tasks = ledger_tasks.queue(connection, startable, now, max(free, 1), step=asked.step)
        if not tasks:
            return "nothing waits"
        if free <= 0:
            return f"all slots are taken: {engine.slots.wanted} wanted, {engine.slots.reason}"
        return Candidates.of(connection, groups_of(tasks, engine.workers(settings.kind))[0], engine.inputs)


def _new(
    engine: Engine, settings: PomsLauncherSettings, launch: Launch, candidates: Candidates, now: float
) -> tuple[Launch | None, bool, str]:
    """The launch with a slice of its own."""
    launch = replace(launch, slice_id=new_attempt_id(now))
    with engine.writing() as connection:
        ledger_attempts.create_slice(connection, launch.slice_id, launch.campaign_id, launch.step, settings.kind, now)
        prepared = prepare(
            engine.installation,
            connection,
            candidates,
            settings.kind,
            now,
            slice_id=launch.slice_id,
            lease_s=settings.queue_wait,
            workers=engine.workers(settings.kind),
        )
        if prepared:
            # Before the commit: an attempt in the ledger always has its assignment, and an assignment without an attempt harms nobody.
            write_assignments(engine.installation, prepared)
            ledger_launches.add(connection, launch)
    return (launch, False, f"{len(prepared)} jobs") if prepared else (None, False, "no input can be read now")


def _submission(engine: Engine, campaign: ActiveCampaign, step: str, slice_id: str) -> Submission | None:
    """The jobs of a slice with all that they need beside them; None when some are over. Their order is their index: none is left out."""
    with engine.installation.store.read() as connection:
        attempts = ledger_attempts.of_slice(connection, slice_id)
        tasks = ledger_tasks.by_ids(connection, {attempt.task_id for attempt in attempts})
    if any(attempt.ended_at is not None for attempt in attempts):
        return None
    jobs = tuple(job_of(engine.installation, attempt, tasks[attempt.task_id]) for attempt in attempts)
    return submission_of(engine.installation, campaign, step, slice_id, jobs, engine.workers(PomsLauncher.name))
