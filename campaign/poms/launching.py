"""What `dune-prompt launch` does on the host POMS launches on: fetch a slice, submit its jobs, tell POMS.

Nothing to do and an engine out of reach are answers too: POMS shows them. A launch may die anywhere. The same request gets the same
slice again; what a dead launch left half done is completed by the next one, which looks into the queue first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from campaign.launchers.jobsub import BEGUN, JobsubLauncher
from campaign.launchers.protocol import Job, Submission
from campaign.poms.engine_client import EngineClient
from dune_prompt.errors import ConfigError, DunePromptError, TransientError
from dune_prompt.settings.launchers import JobsubLauncherSettings

# What POMS greps for in the output of a launch (its slurp_jobid, and jobsub_lite's own message).
JOB_LINE = "Use job id {} to retrieve output"
WAIT_EVERY_S = 5.0
Say = Callable[[str], None]


class Poms(Protocol):
    """What a launch needs of the POMS server (`campaign.poms.client`)."""

    def update_submission(
        self, submission_id: int, *, job_id: str, status: str, pct: float | None = None, project: str | None = None
    ) -> None: ...


class Outcome(Enum):
    """How a launch ended."""

    SUBMITTED = "its jobs are in the queue"
    NOTHING_TO_DO = "there was nothing to do"
    DONE = "all its tasks are over"
    FAILED = "it failed"

    @property
    def status(self) -> str:
        """What POMS is told."""
        return _STATUSES[self]


_STATUSES = {
    Outcome.SUBMITTED: "Idle",
    Outcome.NOTHING_TO_DO: "Completed",
    Outcome.DONE: "Completed",
    Outcome.FAILED: "LaunchFailed",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """What the launch was told. `task_id` is POMS's submission id, None when it was not started by POMS; `jobs`: no more than so many."""

    request_id: str
    campaign: str
    version: str
    step: str
    task_id: int | None = None
    stage_id: int | None = None
    poms_campaign_id: int | None = None
    jobs: int | None = None
    site: str | None = None
    wait_s: float = 0.0

    def to_json(self, host: str) -> dict[str, Any]:
        """The request, as the service takes it."""
        return {
            "request_id": self.request_id,
            "campaign": self.campaign,
            "version": self.version,
            "step": self.step,
            "task_id": self.task_id or 0,
            "stage_id": self.stage_id,
            "poms_campaign_id": self.poms_campaign_id,
            "jobs": self.jobs,
            "host": host,
            "site": self.site,
        }


def numbers_of(environment: Mapping[str, str]) -> dict[str, int | None]:
    """POMS's numbers in the environment of a launch. POMS_CAMPAIGN_ID is that of the stage."""
    names = {
        "task_id": ("POMS_TASK_ID", "POMS4_SUBMISSION_ID"),
        "stage_id": ("POMS4_CAMPAIGN_STAGE_ID", "POMS_CAMPAIGN_ID"),
        "poms_campaign_id": ("POMS4_CAMPAIGN_ID",),
    }
    found: dict[str, int | None] = {}
    for key, variables in names.items():
        text = next((environment[name] for name in variables if environment.get(name)), None)
        if text is not None and not text.isdecimal():
            raise ConfigError(f"{' or '.join(variables)} is {text!r}, not a number")
        found[key] = None if text is None else int(text)
    return found


def carry_out(
    launch: Launch,
    engine: EngineClient,
    poms: Poms | None,
    folder: Path,
    say: Say,
    *,
    environment: Mapping[str, str] | None = None,
    open_launcher: Callable[[JobsubLauncherSettings], JobsubLauncher] | None = None,
) -> Outcome:
    """Launch. `folder` keeps bundles and what is submitted, `poms` is None where POMS did not start us.

    Raises:
        DunePromptError: it failed; POMS has been told.
    """
    environment = os.environ if environment is None else environment
    tell = _Telling(launch, poms, say)
    _tell_of_earlier(engine, poms, say)
    try:
        answer = engine.launch(launch.to_json(os.uname().nodename))
    except DunePromptError:
        tell(Outcome.FAILED, None)
        raise
    if answer["slice"] is None:
        return _nothing_more(answer, launch, engine, tell, say)
    say(f"slice {answer['slice']}: {answer['reason']}")
    try:
        submission = _submission(launch, answer, engine, folder)
        settings = JobsubLauncherSettings(kind="jobsub", **answer["launcher"])
        launcher = open_launcher(settings) if open_launcher else JobsubLauncher(settings, environment=environment)
        handles = launcher.submit(submission)
        if not handles:
            raise TransientError("jobsub took none of the jobs")
    except (DunePromptError, OSError) as error:
        tell(Outcome.FAILED, None)
        kind = type(error) if isinstance(error, DunePromptError) else TransientError
        raise kind(f"{error} (what was begun is completed by a later launch)") from None
    first = handles[next(job.attempt for job in submission.jobs if job.attempt in handles)]
    say(JOB_LINE.format(first))
    try:
        told = engine.submitted(launch.request_id, handles)
        made = told.get("definition") or told.get("problem")
        say(f"{len(handles)} jobs submitted" + (f"; definition for dependents: {made}" if made else ""))
    finally:
        # The jobs are in the queue whether or not the engine could be told.
        tell(Outcome.SUBMITTED, first)
    return _wait(launch, engine, tell, say, first) if launch.wait_s else Outcome.SUBMITTED


def _nothing_more(answer: Mapping[str, Any], launch: Launch, engine: EngineClient, tell: _Telling, say: Say) -> Outcome:
    say(f"nothing to do: {answer['reason']}")
    if (handle := answer.get("handle")) is None:
        return tell(Outcome.NOTHING_TO_DO, None)
    say(JOB_LINE.format(handle))
    tell(Outcome.SUBMITTED, handle)
    return _wait(launch, engine, tell, say, handle) if launch.wait_s else Outcome.SUBMITTED


def _wait(launch: Launch, engine: EngineClient, tell: _Telling, say: Say, handle: str) -> Outcome:
    """Until all tasks of the launch are over, their outputs registered; no longer than it was told to."""
    until = time.monotonic() + launch.wait_s
    while True:
        progress = engine.progress(launch.request_id)
        if progress["over"]:
            say(f"{progress['done']} of {progress['tasks']} tasks are done")
            outcome = tell(Outcome.DONE, handle)
            if tell.heard:
                engine.told([launch.request_id])
            return outcome
        if time.monotonic() >= until:
            say(f"{progress['open']} of {progress['tasks']} tasks are still open after {launch.wait_s:.0f} s; a later launch tells POMS")
            return Outcome.SUBMITTED
        time.sleep(WAIT_EVERY_S)


class _Telling:
    """Tells POMS how the launch is doing. That it cannot be told is said, and stops nothing: the next launch does it."""

    def __init__(self, launch: Launch, poms: Poms | None, say: Say) -> None:
        self._launch, self._poms, self._say = launch, poms, say
        self.heard = False

    def __call__(self, outcome: Outcome, job_id: str | None) -> Outcome:
        task = self._launch.task_id
        if self._poms is None or task is None:
            return outcome
        try:
            self._poms.update_submission(task, job_id=job_id or _no_job(task), status=outcome.status)
            self.heard = True
        except DunePromptError as error:
            self._say(f"POMS could not be told that task {task} is {outcome.status}: {error}")
        return outcome


def _no_job(task: int) -> str:
    """POMS takes no status without a job id: a launch without jobs has one that no queue knows."""
    return f"{task}.0@dune-prompt.none"


def _tell_of_earlier(engine: EngineClient, poms: Poms | None, say: Say) -> None:
    """Launches that are over now: POMS goes on with their dependents when it knows. What fails here is tried again by the next launch."""
    if poms is None:
        return
    told = []
    try:
        for item in engine.untold():
            if item["task_id"]:
                job_id = item["handle"] or _no_job(item["task_id"])
                poms.update_submission(item["task_id"], job_id=job_id, status=Outcome.DONE.status)
                say(f"task {item['task_id']} of POMS is over: {item['done']} of {item['tasks']} done")
            told.append(item["request_id"])
        if told:
            engine.told(told)
    except DunePromptError as error:
        say(f"POMS could not be told of all earlier launches: {error}")


def _submission(launch: Launch, answer: Mapping[str, Any], engine: EngineClient, folder: Path) -> Submission:
    """The submission on this host: bundle and wrapper as files."""
    own = folder / "launches" / answer["slice"]
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    bundle = engine.bundle(launch.request_id, answer["bundle"], folder / "bundles")
    wrapper = own / "job.sh"
    wrapper.write_text(answer["wrapper"], "utf-8")
    wrapper.chmod(0o755)
    if answer["begun"] and not (own / BEGUN).exists():
        # Another launch, maybe on another host, may have submitted them: the queue is asked first.
        (own / BEGUN).touch()
    jobs = tuple(
        Job(
            attempt=item["attempt"],
            job_dir=own / str(index),
            script=wrapper,
            memory_bytes=item["memory_bytes"],
            lifetime_s=item["lifetime_s"],
            submission=answer["slice"],
            cpus=item["cpus"],
            disk_bytes=item["disk_bytes"],
            avoid_hosts=tuple(item["avoid_hosts"]),
        )
        for index, item in enumerate(answer["jobs"])
    )
    return Submission(
        answer["slice"], launch.campaign, launch.version, launch.step, jobs, own, bundle, answer["outputs_url"], answer["assignments_url"]
    )
