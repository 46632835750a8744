"""Failures are learned from, poison is stopped, launchers take over from each other, and reports find their way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.commands import COMMANDS
from campaign.engine import Engine
from campaign.launchers.background import Background
from campaign.launchers.protocol import Job, JobStatus, Seen, Submission
from campaign.ledger.tables import attempt_table, campaign_table, launcher_table
from campaign.status import campaign_statuses
from dune_prompt.errors import TransientError
from dune_prompt.records import Assignment, read_json, write_json
from dune_prompt.store import event_table

NOW = 1_700_000_000.0

SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "*.hdf5", process: true, lifetime: 1h}
slots: {min: 1, max: 400}
launchers:
  - {kind: htcondor, out_after: 2, silent_after: 60s, share_files: true}
  - {kind: local}
"""


def attempts(house: Any) -> list[Any]:
    return house.rows(sa.select(attempt_table).order_by(attempt_table.c.id))


def test_a_job_that_lacked_memory_gets_more_and_one_that_lacked_time_gets_that(house: Any) -> None:
    house.arrive(1)
    now = NOW
    for how in ("memory", "time_limit", "payload"):
        house.engine.step(now)
        (attempt,) = house.launcher.waiting()
        house.launcher.vanish(attempt, how, how) if how != "payload" else house.launcher.finish(attempt, fail_at="nf_sp")
        house.engine.step(now)
        now = house.tasks()[0].ready_at + 1
    limits = [(row.memory_bytes, row.lifetime_s) for row in attempts(house)]
    first = limits[0]
    assert limits == [first, (first[0] * 3 // 2, first[1]), (first[0] * 3 // 2, first[1] * 2)]
    assert house.tasks()[0].state == "parked"


def test_a_thousand_jobs_that_all_fail_stop_their_campaign_after_twenty(tmp_path: Path, house_tools: Any) -> None:
    campaign = house_tools.campaign.replace("poison: {last: 1000}", "poison: {last: 20}")
    house_tools.write_files(tmp_path, campaign=campaign)
    house = house_tools.open_house(tmp_path)
    house.arrive(1000)
    now = NOW
    for _ in range(60):
        now += 1
        house.engine.step(now)
        for attempt in house.launcher.waiting():
            house.launcher.finish(attempt, fail_at="nf_sp", message="segmentation fault in the new filter")
    (campaign_row,) = house.rows(sa.select(campaign_table))
    assert campaign_row.paused_by == "poison guard"
    assert "20 of the last 20 jobs failed the same way (payload)" in campaign_row.paused_why
    assert "segmentation fault in the new filter" in campaign_row.paused_why
    assert len(house.launcher.jobs) <= 24
    assert sum(task.attempts for task in house.tasks()) == len(house.launcher.jobs)
    with house.store.read() as connection:
        (status,) = campaign_statuses(connection)
    assert status.paused == campaign_row.paused_why
    # Somebody has mended it: all goes on, and what failed before does not stop it again.
    resume = COMMANDS["resume"]
    resume.run(house.engine, resume.arguments.model_validate({"campaign": "test-prompt", "by": "me"}), now)
    for _ in range(2000):
        now += 30
        house.engine.step(now)
        for attempt in house.launcher.waiting():
            house.launcher.finish(attempt)
        house.declare_outputs()
        if set(house.states()) == {"done"}:
            break
    assert set(house.states()) == {"done"}
    house.store.close()


@pytest.mark.parametrize(("failing", "paused"), [(16, True), (15, False)])
def test_a_campaign_is_stopped_when_four_fifths_of_its_last_jobs_failed_in_one_way(
    tmp_path: Path, house_tools: Any, failing: int, paused: bool
) -> None:
    site = house_tools.site.replace("max: 4", "max: 20")
    house_tools.write_files(tmp_path, site=site, campaign=house_tools.campaign.replace("{last: 1000}", "{last: 20, fraction: 80%}"))
    house = house_tools.open_house(tmp_path)
    house.arrive(20)
    house.engine.step(NOW)
    for number, attempt in enumerate(house.launcher.waiting()):
        house.launcher.finish(attempt, fail_at="nf_sp" if number < failing else None)
    house.engine.step(NOW + 1)
    (row,) = house.rows(sa.select(campaign_table))
    assert (row.paused_at is not None) is paused
    house.store.close()


def test_a_queue_lost_three_times_costs_no_file_a_try(house: Any) -> None:
    house.arrive(10)
    now = NOW
    for _ in range(3):
        while len(house.launcher.waiting()) < 4:
            now += 100
            house.engine.step(now)
        for attempt in house.launcher.waiting():
            house.launcher.vanish(attempt)
        house.engine.step(now)
    assert all(task.failures == 0 and task.state != "parked" for task in house.tasks())
    assert sum(row.state == "lost" for row in attempts(house)) == 12


def test_a_file_done_after_its_deadline_is_late_and_one_done_before_is_prompt(house: Any) -> None:
    house.arrive(2)
    house.engine.step(NOW)
    first, second = house.launcher.waiting()
    house.launcher.finish(first)
    house.engine.step(NOW + 10)
    house.declare_outputs()
    house.engine.step(NOW + 11)
    house.launcher.finish(second)
    house.engine.step(NOW + 4000)
    house.declare_outputs()
    house.engine.step(NOW + 4001)
    with house.store.read() as connection:
        (status,) = campaign_statuses(connection)
    assert (status.processed, status.fraction_prompt) == (2, 0.5)


@dataclass
class FarQueue:
    """A batch system elsewhere, which takes jobs while it is `open`, and sometimes does not answer."""

    name: str = "htcondor"
    answers_later: bool = False
    submissions: list[Submission] = field(default_factory=list)
    statuses: dict[str, JobStatus] = field(default_factory=dict)
    killed: list[str] = field(default_factory=list)
    away: bool = False
    refuse: bool = False
    open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def submit(self, submission: Submission) -> Mapping[str, str]:
        self.open.wait(20)
        if self.refuse or self.away:
            raise TransientError("no job is taken")
        self.submissions.append(submission)
        return {job.attempt: f"{len(self.submissions)}.{index}@far" for index, job in enumerate(submission.jobs)}

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        if self.away:
            raise TransientError("the queue does not answer")
        handles = {
            job.attempt: f"{number}.{index}@far"
            for number, submission in enumerate(self.submissions, 1)
            for index, job in enumerate(submission.jobs)
        }
        return {job.attempt: self.statuses.get(job.attempt) or self._waiting(handles.get(job.attempt)) for job in jobs}

    def _waiting(self, handle: str | None) -> JobStatus:
        return JobStatus(Seen.GONE) if handle is None else JobStatus(Seen.WAITING, handle=handle)

    def kill(self, jobs: Sequence[Job]) -> None:
        self.killed += [job.attempt for job in jobs]

    def fetch_log(self, job: Job) -> None:
        pass

    def available(self) -> None:
        if self.away:
            raise TransientError("the queue does not answer")

    def something_ended(self) -> bool:
        return False


@dataclass
class Far:
    """An installation whose first batch system is far away, and the test's hands in it."""

    house: Any
    queue: FarQueue
    background: Background
    engine: Engine
    clock: list[float]

    def step(self, seconds: float = 1.0) -> None:
        """Time passes; the thread of the batch system sees what there is to see; the engine makes a step."""
        self.clock[0] += seconds
        self.background.drain(20)
        self.engine.step(self.clock[0])
        self.background.drain(20)

    def assignment(self, attempt: str) -> Assignment:
        path = self.house.installation.job_dir(attempt) / "assignment.json"
        return Assignment.from_json(read_json(path), str(path))

    def report(self, attempt: str, where: Path) -> None:
        """The report of a job that made nothing and went well."""
        assignment = self.assignment(attempt)
        stages = [
            {"name": name, "state": "ok", "error_class": None, "message": None, "started": 1.0, "ended": 2.0, "cpu_s": 1.0}
            | {"rss_bytes": 1, "outputs": [], "metrics": {}}
            for name in assignment.stages
        ]
        content = {"schema": 1, "attempt": attempt, "task": assignment.task, "campaign": assignment.campaign, "stages": stages}
        where.parent.mkdir(parents=True, exist_ok=True)
        write_json(where, content | {"version": assignment.version, "host": "wn1"})


@pytest.fixture
def far(tmp_path: Path, house_tools: Any) -> Any:
    house_tools.write_files(tmp_path, site=SITE)
    house = house_tools.open_house(tmp_path)
    clock = [NOW]
    queue = FarQueue()
    background = Background(queue, poll_every=1e6, silent_after=60.0, clock=lambda: clock[0])
    house.engine.close()
    engine = Engine(house.installation, {"htcondor": background, "local": house.launcher}, jitter=lambda: 0.0)
    yield Far(house, queue, background, engine, clock)
    engine.close()
    house.store.close()


def test_jobs_elsewhere_are_one_submission_and_end_by_their_reports(far: Far) -> None:
    far.house.arrive(5)
    far.step()
    far.step()
    assert [len(submission.jobs) for submission in far.queue.submissions] == [5]
    assert far.house.states() == ["submitted"] * 5
    assert [row.handle for row in attempts(far.house)] == [f"1.{index}@far" for index in range(5)]
    assert {row.slice_id for row in attempts(far.house)} == {far.queue.submissions[0].id}
    running, posted, beside, silent, _ = [row.id for row in attempts(far.house)]
    far.queue.statuses[running] = JobStatus(Seen.RUNNING, host="wn7")
    far.step()
    assert (far.house.states()[0], attempts(far.house)[0].host) == ("running", "wn7")
    # A report that was posted counts at once, whatever the queue says.
    far.report(posted, far.house.installation.job_dir(posted) / "report.json")
    far.engine.contact.reported(posted)
    far.step()
    assert far.house.states()[1] in ("reported", "done")
    # One that could not be posted is found beside the outputs when the job is gone.
    campaign = next(iter(far.house.installation.campaigns.values())).settings
    far.report(beside, far.house.installation.output_dir(campaign, beside) / "report.json")
    far.queue.statuses[beside] = far.queue.statuses[silent] = JobStatus(Seen.GONE)
    far.step()
    far.step()
    assert far.house.states()[2] in ("reported", "done")
    # One that left nothing is waited for, and then it is lost; that is no failure.
    assert far.house.states()[3] == "submitted"
    far.step(61)
    task = far.house.tasks()[3]
    assert (task.state, task.failures, task.error_class) == ("waiting_retry", 0, "lost")


def test_what_comes_while_a_submission_is_under_way_goes_together_with_the_next(far: Far) -> None:
    far.queue.open.clear()
    far.house.arrive(1)
    far.engine.step(far.clock[0])
    for index in range(1, 5):
        far.house.arrive(1, first=index)
        far.engine.step(far.clock[0] + index)
    assert sorted(far.house.states()) == ["ready"] * 4 + ["submitting"]
    far.queue.open.set()
    far.background.drain(20)
    far.step(10)
    far.step()
    assert [len(submission.jobs) for submission in far.queue.submissions] == [1, 4]


def test_the_next_launcher_takes_over_and_hands_back(far: Far) -> None:
    far.queue.refuse = True
    far.house.arrive(2)
    for _ in range(40):
        far.step(5)
        if far.house.launcher.jobs:
            break
    assert len(far.house.launcher.jobs) == 2
    assert all(task.failures == 0 for task in far.house.tasks())
    assert far.engine.choice.name == "local"
    assert "htcondor is out since" in far.engine.choice.reason
    (row,) = [row for row in far.house.rows(sa.select(launcher_table)) if row.name == "htcondor"]
    assert row.out_since is not None
    # It takes jobs again: a trial first, then it is trusted.
    far.queue.refuse = False
    for index in range(60):
        if index % 5 == 0:
            far.house.arrive(1, first=100 + index, at=far.clock[0])
        far.step(10)
    assert far.engine.choice.name == "htcondor"
    assert far.queue.submissions
    changes = far.house.rows(sa.select(event_table.c.before, event_table.c.after).where(event_table.c.subject == "launcher:htcondor"))
    assert changes == [("in", "out"), ("out", "in")]


def test_a_silent_queue_hides_no_job_that_lives(far: Far) -> None:
    far.house.arrive(1)
    far.step()
    far.step()
    (attempt,) = attempts(far.house)
    far.queue.away = True
    for _ in range(60):
        beating = far.house.installation
        with beating.store.read() as connection:
            from campaign.ledger import attempts as ledger_attempts

            known = ledger_attempts.by_id(connection, attempt.id)
        far.engine.contact.beat(known, "wn1", far.clock[0])
        far.step(60)
    (task,) = far.house.tasks()
    assert (task.state, task.attempts) == ("running", 1)
    # Without heartbeats it is lost after a while, and the next launcher does the work.
    far.house.launcher.jobs.clear()
    for _ in range(40):
        far.step(60)
    (task,) = far.house.tasks()
    assert (task.failures, task.attempts) == (0, 2)
    assert len(far.house.launcher.jobs) == 1
    # It may live on behind the silence: it is ended as soon as it can be reached.
    far.queue.away = False
    far.step()
    assert far.queue.killed == [attempt.id]


def test_an_engine_killed_before_the_answer_finds_its_submission_again(far: Far) -> None:
    far.house.arrive(3)
    far.clock[0] += 1
    far.engine.step(far.clock[0])
    far.background.drain(20)
    assert far.house.states() == ["submitting"] * 3
    # A new engine knows nothing of what the thread was told.
    again = Background(far.queue, poll_every=1e6, silent_after=60.0, clock=lambda: far.clock[0])
    far.background.close()
    far.background, far.engine = again, Engine(far.house.installation, {"htcondor": again, "local": far.house.launcher}, jitter=lambda: 0.0)
    for _ in range(3):
        far.step()
    assert far.house.states() == ["submitted"] * 3
    assert len(far.queue.submissions) == 1
    again.close()


class AwayTruth:
    """A remote catalogue that answers nothing for a while."""

    name = "metacat"

    def __init__(self) -> None:
        self.away = True

    def close(self) -> None:
        """Nothing is open."""

    def children_of(self, dids: Sequence[str], made_by: Any) -> dict[str, tuple[str, ...]]:
        if self.away:
            raise TransientError("metacat does not answer")
        return {}


def test_an_hour_without_any_server_leaves_no_slot_idle_and_doubles_nothing(
    tmp_path: Path, house_tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = AwayTruth()
    house_tools.write_files(tmp_path, site=house_tools.site.replace("lifetime: 1h", "lifetime: 24h"))
    house = house_tools.open_house(tmp_path)
    house.engine.close()
    remote = SimpleNamespace(kind="metacat", metadata=truth, replicas=None)
    catalogs = SimpleNamespace(truth=truth, all=[remote], close=lambda: None)
    monkeypatch.setattr("campaign.engine.intake.open_catalogs", lambda site: catalogs)
    engine = Engine(replace(house.installation, catalogs=catalogs), {"local": house.launcher}, jitter=lambda: 0.0)
    # The first question finds out that nobody answers; from then on nothing waits for it.
    house.arrive(4)
    wait_until(lambda: engine.step(NOW).taken_in > 0)
    arrived, now = 4, NOW
    while now < NOW + 3600:
        now += 10
        if arrived < 200:
            house.arrive(2, first=arrived, at=now)
            arrived += 2
        engine.step(now)
        states = house.states()
        if "ready" in states:
            assert states.count("running") == house.installation.site.slots.max
        for attempt in house.launcher.waiting():
            house.launcher.finish(attempt)
    assert house.states() == ["reported"] * arrived
    assert any("out" in words for words in engine.health())
    truth.away = False
    house.declare_outputs()
    engine.step(now + 10)
    assert house.states() == ["done"] * arrived
    assert len(house.launcher.jobs) == arrived
    engine.close()
    house.store.close()


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
