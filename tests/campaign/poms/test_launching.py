"""What a launch says to POMS, and what it does when somebody does not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from campaign.launchers.jobsub import BEGUN
from campaign.launchers.protocol import Submission
from campaign.poms.launching import Launch, Outcome, carry_out, numbers_of
from dune_prompt.errors import ConfigError, TransientError

LAUNCH = Launch("poms-dune-7", "pdhd-prompt", "v1", "nf_sp", task_id=7, stage_id=3, poms_campaign_id=1, site="CERN")
JOB = {"attempt": "01A", "memory_bytes": 1, "lifetime_s": 60.0, "cpus": 1, "disk_bytes": 1, "avoid_hosts": []}
ANSWER = {
    "slice": "01S",
    "reason": "1 jobs",
    "begun": False,
    "handle": None,
    "jobs": [JOB],
    "outputs_url": "root://eos/out",
    "assignments_url": "root://eos/out/submissions/01S",
    "wrapper": "#!/bin/sh\n",
    "bundle": {"name": "b.tar.gz", "size_bytes": 1, "sha256": "x"},
    "launcher": {"site": "CERN"},
}
NOTHING = {"slice": None, "reason": "nothing waits", "handle": None}


@dataclass
class Engine:
    """An engine service in memory."""

    answer: Mapping[str, Any]
    away: bool = False
    over: list[dict[str, Any]] = field(default_factory=list)
    progresses: list[dict[str, Any]] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)

    def launch(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self._call("launch", request)
        return self.answer

    def submitted(self, request_id: str, handles: Mapping[str, str]) -> dict[str, Any]:
        self._call("submitted", dict(handles))
        return {"changed": len(handles)}

    def progress(self, request_id: str) -> dict[str, Any]:
        self._call("progress")
        return self.progresses.pop(0)

    def untold(self) -> list[dict[str, Any]]:
        self._call("untold")
        return self.over

    def told(self, request_ids: Sequence[str]) -> None:
        self._call("told", list(request_ids))

    def bundle(self, request_id: str, wanted: Mapping[str, Any], folder: Path) -> Path:
        return folder / str(wanted["name"])

    def _call(self, *call: Any) -> None:
        if self.away:
            raise TransientError("no answer")
        self.calls.append(call)


@dataclass
class Poms:
    """A POMS server that remembers what it was told."""

    away: bool = False
    told: list[tuple[int, str, str]] = field(default_factory=list)

    def update_submission(self, submission_id: int, *, job_id: str, status: str, **_: object) -> None:
        if self.away:
            raise TransientError("POMS does not answer")
        self.told.append((submission_id, job_id, status))


@dataclass
class Jobsub:
    """jobsub in memory."""

    error: Exception | None = None
    takes: bool = True
    submissions: list[Submission] = field(default_factory=list)

    def submit(self, submission: Submission) -> Mapping[str, str]:
        self.submissions.append(submission)
        if self.error is not None:
            raise self.error
        return {job.attempt: f"12.{index}@jobsub01.fnal.gov" for index, job in enumerate(submission.jobs)} if self.takes else {}


@dataclass
class Host:
    folder: Path
    engine: Engine
    poms: Poms
    jobsub: Jobsub
    said: list[str]

    def launch(self, launch: Launch = LAUNCH) -> Outcome:
        return carry_out(
            launch,
            self.engine,  # type: ignore[arg-type]
            self.poms,
            self.folder,
            self.said.append,
            environment={},
            open_launcher=lambda _: self.jobsub,  # type: ignore[arg-type,return-value]
        )


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., Host]:
    return lambda answer=ANSWER, **engine: Host(tmp_path, Engine(answer, **engine), Poms(), Jobsub(), [])


def test_a_launch_prints_the_line_poms_greps_and_tells_both(host: Callable[..., Host]) -> None:
    here = host()
    assert here.launch() is Outcome.SUBMITTED
    assert "Use job id 12.0@jobsub01.fnal.gov to retrieve output" in here.said
    assert ("submitted", {"01A": "12.0@jobsub01.fnal.gov"}) in here.engine.calls
    assert here.poms.told == [(7, "12.0@jobsub01.fnal.gov", "Idle")]
    (submission,) = here.jobsub.submissions
    assert submission.id == "01S"
    assert (submission.folder / "job.sh").read_text() == "#!/bin/sh\n"
    assert not (submission.folder / BEGUN).exists()


def test_nothing_to_do_is_completed_under_a_job_id_no_queue_knows(host: Callable[..., Host]) -> None:
    here = host(NOTHING)
    assert here.launch() is Outcome.NOTHING_TO_DO
    assert here.said == ["nothing to do: nothing waits"]
    assert here.poms.told == [(7, "7.0@dune-prompt.none", "Completed")]


def test_an_engine_out_of_reach_is_a_failed_launch_that_poms_shows(host: Callable[..., Host]) -> None:
    here = host(away=True)
    with pytest.raises(TransientError, match="no answer"):
        here.launch()
    assert here.poms.told == [(7, "7.0@dune-prompt.none", "LaunchFailed")]


@pytest.mark.parametrize("error", [TransientError("no queue"), ConfigError("wrong role")])
def test_jobs_that_jobsub_does_not_take_fail_the_launch(host: Callable[..., Host], error: Exception) -> None:
    here = host()
    here.jobsub.error = error
    with pytest.raises(type(error), match=f"{error} .what was begun is completed by a later launch"):
        here.launch()
    assert here.poms.told == [(7, "7.0@dune-prompt.none", "LaunchFailed")]
    assert not any(call[0] == "submitted" for call in here.engine.calls)


def test_a_full_disk_fails_the_launch_and_poms_is_told(host: Callable[..., Host]) -> None:
    here = host()
    (here.folder / "launches").write_text("in the way")
    with pytest.raises(TransientError, match="what was begun is completed by a later launch"):
        here.launch()
    assert here.poms.told == [(7, "7.0@dune-prompt.none", "LaunchFailed")]


def test_poms_out_of_reach_stops_nothing(host: Callable[..., Host]) -> None:
    here = host(over=[{"request_id": "poms-dune-5", "task_id": 5, "handle": "9.0@s", "tasks": 2, "done": 2}])
    here.poms.away = True
    assert here.launch() is Outcome.SUBMITTED
    assert ("submitted", {"01A": "12.0@jobsub01.fnal.gov"}) in here.engine.calls
    assert not any(call[0] == "told" for call in here.engine.calls)
    assert sum("POMS could not be told" in line for line in here.said) == 2


def test_a_launch_tells_poms_how_earlier_ones_ended(host: Callable[..., Host]) -> None:
    over = [
        {"request_id": "poms-dune-5", "task_id": 5, "handle": "9.0@s", "tasks": 2, "done": 1},
        {"request_id": "poms-dune-6", "task_id": 6, "handle": None, "tasks": 2, "done": 2},
        {"request_id": "by-hand-x", "task_id": 0, "handle": "8.0@s", "tasks": 1, "done": 1},
    ]
    here = host(NOTHING, over=over)
    here.launch()
    assert here.poms.told[:2] == [(5, "9.0@s", "Completed"), (6, "6.0@dune-prompt.none", "Completed")]
    assert ("told", ["poms-dune-5", "poms-dune-6", "by-hand-x"]) in here.engine.calls


def test_what_may_be_in_the_queue_already_is_looked_for_there_first(host: Callable[..., Host]) -> None:
    here = host(ANSWER | {"begun": True})
    here.launch()
    marked = here.jobsub.submissions[0].folder / BEGUN
    assert marked.exists()
    before = marked.stat().st_mtime_ns
    here.launch()
    assert marked.stat().st_mtime_ns == before


def test_a_repeated_request_names_the_job_it_has_submitted(host: Callable[..., Host]) -> None:
    here = host(NOTHING | {"handle": "12.0@s", "reason": "submitted before as 12.0@s"})
    assert here.launch() is Outcome.SUBMITTED
    assert here.said[-1] == "Use job id 12.0@s to retrieve output"
    assert here.poms.told == [(7, "12.0@s", "Idle")]
    assert here.jobsub.submissions == []


def test_waiting_ends_when_all_tasks_are_over(host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("campaign.poms.launching.WAIT_EVERY_S", 0.0)
    here = host(progresses=[{"over": False, "open": 1, "tasks": 1, "done": 0}, {"over": True, "open": 0, "tasks": 1, "done": 1}])
    assert here.launch(Launch(**{name: getattr(LAUNCH, name) for name in LAUNCH.__slots__} | {"wait_s": 60.0})) is Outcome.DONE
    assert here.poms.told[-1] == (7, "12.0@jobsub01.fnal.gov", "Completed")
    assert here.engine.calls[-1] == ("told", ["poms-dune-7"])


def test_waiting_ends_after_its_time(host: Callable[..., Host]) -> None:
    here = host(progresses=[{"over": False, "open": 1, "tasks": 1, "done": 0}])
    waiting = Launch(**{name: getattr(LAUNCH, name) for name in LAUNCH.__slots__} | {"wait_s": 1e-9})
    assert here.launch(waiting) is Outcome.SUBMITTED
    assert "1 of 1 tasks are still open" in here.said[-1]
    assert here.poms.told == [(7, "12.0@jobsub01.fnal.gov", "Idle")]


def test_the_numbers_of_poms_are_in_the_environment() -> None:
    assert numbers_of({}) == {"task_id": None, "stage_id": None, "poms_campaign_id": None}
    given = {"POMS_TASK_ID": "5", "POMS_CAMPAIGN_ID": "2", "POMS4_CAMPAIGN_ID": "1", "POMS_CAMPAIGN_NAME": "x"}
    assert numbers_of(given) == {"task_id": 5, "stage_id": 2, "poms_campaign_id": 1}
    with pytest.raises(ConfigError, match="POMS_TASK_ID or POMS4_SUBMISSION_ID is 'x'"):
        numbers_of({"POMS_TASK_ID": "x"})
