"""The jobsub launcher against the double on a real HTCondor pool: what jobsub does not say, says wrongly, or says too late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from campaign.launchers import jobsub as module
from campaign.launchers.jobsub import PAUSE_S, JobsubLauncher
from campaign.launchers.protocol import Job, JobStatus, Seen, Submission
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.settings.launchers import JobsubLauncherSettings
from tests.servers.htcondor import Pool, insisted
from tests.servers.jobsub import Jobsub

pytestmark = pytest.mark.needs("condor")

ENDS_IN_S = 60.0
_numbers = count()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    # As on the grid: a payload that is not told to end is not killed at once either.
    with Pool(tmp_path_factory.mktemp("pool"), cpus=16, more="MachineMaxVacateTime = 600") as pool:
        yield pool


class World:
    """A jobsub installation of its own, and campaigns that submit through it."""

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.folder, self.pool = folder, pool
        self.jobsub = Jobsub(folder / "jobsub", pool)
        # A payload that runs until the test is over.
        self.alive = folder / "alive"
        self.alive.touch()
        self.runs = f"while [ -e {self.alive} ]; do sleep 0.1; done"
        self.bundle = folder / "bundle.tar.gz"
        (folder / "hello.txt").write_text("from the bundle")
        with tarfile.open(self.bundle, "w:gz") as archive:
            archive.add(folder / "hello.txt", "hello.txt")
        self.launcher = self.new_launcher()

    def new_launcher(self, more: Mapping[str, str] | None = None, **settings: Any) -> JobsubLauncher:
        """A launcher as the next process has one."""
        settings = {"token_file": self.jobsub.token_file, **settings}
        environment = self.jobsub.environment() | (more or {})
        launcher = JobsubLauncher(JobsubLauncherSettings(kind="jobsub", **settings), environment=environment, lock_folder=self.folder)
        launcher.pause_s = 0.05
        return launcher

    def submission(self, script: str, jobs: int = 1, **job: Any) -> Submission:
        name = f"01JSUB{os.getpid()}{next(_numbers):04d}"
        folder = self.folder / name
        folder.mkdir()
        (folder / "job.sh").write_text(f"#!/bin/bash\n{script}\n")
        several = tuple(
            Job(f"{name}A{index}", folder / str(index), folder / "x.py", 200_000_000, 600.0, submission=name, disk_bytes=10**6)
            for index in range(jobs)
        )
        for one in several:
            one.job_dir.mkdir()
        several = tuple(replace(one, **job) for one in several)
        return Submission(
            name, "pdhd-prompt", "v1", "chain", several, folder, self.bundle, f"file:///dune/{name}", f"{self.folder}/assignments/{name}"
        )

    def submit(self, submission: Submission) -> Mapping[str, str]:
        return insisted(lambda: self.launcher.submit(submission))

    def until(
        self, jobs: list[Job] | tuple[Job, ...], wanted: Callable[[JobStatus], bool], launcher: JobsubLauncher | None = None
    ) -> dict[str, JobStatus]:
        """Poll until the states of all jobs are as wanted."""
        ends = time.monotonic() + ENDS_IN_S
        while True:
            statuses = dict(insisted(lambda: (launcher or self.launcher).poll(jobs, time.time())))
            if all(wanted(status) for status in statuses.values()):
                return statuses
            assert time.monotonic() < ends, statuses
            time.sleep(0.2)

    def end(self) -> None:
        """Let payloads end, and wait until the machine is free: a job removed by force keeps its slot for an hour."""
        self.alive.unlink(missing_ok=True)
        self.pool.run("condor_rm", "-all", check=False)
        ends = time.monotonic() + ENDS_IN_S
        while self.pool.jobs("JobStatus =!= 4"):
            assert time.monotonic() < ends
            time.sleep(0.1)
        self.pool.clear()

    def queued(self, submission: Submission) -> list[dict[str, Any]]:
        return self.pool.jobs(f'PPRequestId=?="{submission.id}"')


@pytest.fixture
def world(tmp_path: Path, pool: Pool) -> Iterator[World]:
    world = World(tmp_path, pool)
    yield world
    world.end()


def with_handles(submission: Submission, handles: Mapping[str, str]) -> list[Job]:
    return [replace(job, handle=handles.get(job.attempt)) for job in submission.jobs]


def gone(status: JobStatus) -> bool:
    return status.seen is Seen.GONE


def running(status: JobStatus) -> bool:
    return status.seen is Seen.RUNNING


# --- a good day


def test_a_submission_is_one_cluster_and_each_job_knows_its_index(world: World) -> None:
    submission = world.submission('echo "$# $1 $2 section $JOBSUBJOBSECTION at $GLIDEIN_Site of $DUNE_PROMPT_SITES"', jobs=3)
    handles = world.submit(submission)
    clusters = {handle.partition(".")[0] for handle in handles.values()}
    assert len(clusters) == 1
    assert [handles[job.attempt].partition(".")[2] for job in submission.jobs] == [f"{index}@jobsub01.local" for index in range(3)]
    jobs = with_handles(submission, handles)
    statuses = world.until(jobs, gone)
    assert {status.ended_by for status in statuses.values()} == {None}
    for index, job in enumerate(jobs):
        world.launcher.fetch_log(job)
        assert f"2 @tar {submission.assignments_url} section {index} at CERN of CERN" in job.log.read_text()
    assert {ad["PPAttempt"] for ad in world.queued(submission)} == {job.attempt for job in jobs}


def test_the_bundle_is_unpacked_on_the_worker(world: World) -> None:
    submission = world.submission('cat "$INPUT_TAR_DIR_LOCAL/hello.txt"')
    jobs = with_handles(submission, world.submit(submission))
    world.until(jobs, gone)
    world.launcher.fetch_log(jobs[0])
    assert "from the bundle" in jobs[0].log.read_text()


def test_how_jobs_ended_is_told_by_their_exit_codes(world: World) -> None:
    submission = world.submission("exit $((JOBSUBJOBSECTION * 10))", jobs=3)
    jobs = with_handles(submission, world.submit(submission))
    statuses = world.until(jobs, gone)
    assert [statuses[job.attempt].ended_by for job in jobs] == [None, "data", "transient"]
    assert {status.host for status in statuses.values()} == {"jobsub01.local"}


def test_a_payload_that_is_too_slow_is_ended_by_its_time_limit(world: World) -> None:
    submission = world.submission("exec sleep 300", lifetime_s=1.0)
    jobs = with_handles(submission, world.submit(submission))
    assert world.until(jobs, gone)[jobs[0].attempt].ended_by == "time_limit"


def test_jobs_do_not_start_on_a_host_to_avoid(world: World) -> None:
    submission = world.submission("true", avoid_hosts=("jobsub01.local",))
    jobs = with_handles(submission, world.submit(submission))
    other = world.submission("true")
    world.until(with_handles(other, world.submit(other)), gone)
    assert world.launcher.poll(jobs, time.time())[jobs[0].attempt].seen is Seen.WAITING


def test_jobs_run_at_cern_only(world: World) -> None:
    launcher = world.new_launcher(site="FNAL_GPGrid")
    submission, other = world.submission("true"), world.submission("true")
    jobs = with_handles(submission, launcher.submit(submission))
    world.until(with_handles(other, world.submit(other)), gone)
    assert launcher.poll(jobs, time.time())[jobs[0].attempt].seen is Seen.WAITING


def test_no_token_is_in_arguments_environment_or_submit_file(world: World) -> None:
    secret = "attempt-token-6f1d"
    launcher = world.new_launcher({"DUNE_PROMPT_TOKEN": secret})
    launcher.submit(world.submission("true"))
    token = world.jobsub.token_file.read_text().strip()
    environments = world.jobsub.environments()
    texts = [str(world.jobsub.commands("jobsub_submit")), world.jobsub.rendered("simple.cmd"), world.jobsub.rendered("simple.sh")]
    for text in (*texts, str(environments)):
        assert token not in text
        assert secret not in text
    assert all(environment["GROUP"] == "dune" and "LD_LIBRARY_PATH" not in environment for environment in environments)


def test_available_asks_the_queue_and_the_collector(world: World) -> None:
    world.launcher.available()
    for faults in ({"collector_down": True}, {"schedd_hidden": True}, {"stale_ad": True}, {"hang": ["jobsub_q"]}):
        world.jobsub.faults = faults
        world.launcher.query_s = 2.0
        with pytest.raises(TransientError):
            world.launcher.available()


# --- submitting


def test_exit_code_0_of_a_failed_submission_is_not_believed(world: World) -> None:
    world.jobsub.faults = {"submit_fails": "ERROR: Failed to connect to queue manager jobsub01.local"}
    with pytest.raises(TransientError, match="Failed to connect to queue manager"):
        world.launcher.submit(world.submission("true"))


def test_a_submission_that_will_never_be_taken_is_a_wrong_setting(world: World) -> None:
    world.jobsub.faults = {"submit_fails": "ERROR: Number of submitted jobs would exceed MAX_JOBS_PER_SUBMISSION"}
    with pytest.raises(ConfigError, match="MAX_JOBS_PER_SUBMISSION"):
        world.launcher.submit(world.submission("true"))
    world.jobsub.faults = {}
    with pytest.raises(ConfigError, match=r"storage\.modify"):
        world.jobsub.give_token(scope="compute.create storage.modify:/elsewhere")
        world.launcher.submit(world.submission("true"))


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_lost_answer_is_found_again(world: World, how: str) -> None:
    world.jobsub.faults = {"answer_lost": how}
    world.launcher.pause_s = PAUSE_S
    submission = world.submission("true", jobs=2)
    handles = world.submit(submission)
    assert sorted(handles) == [job.attempt for job in submission.jobs]
    assert all(status.ended_by is None for status in world.until(with_handles(submission, handles), gone).values())


def test_a_submit_that_hangs_is_ended_and_what_it_submitted_is_found(world: World) -> None:
    world.jobsub.faults = {"answer_lost": "hang"}
    world.launcher.pause_s, world.launcher.submit_s = PAUSE_S, 5.0
    submission = world.submission("true")
    assert list(world.submit(submission)) == [submission.jobs[0].attempt]
    world.jobsub.faults = {"hang": ["jobsub_submit"]}
    world.launcher.submit_s = 1.0
    with pytest.raises(TransientError, match="no answer"):
        world.launcher.submit(world.submission("true"))


def test_a_repeated_submission_is_found_again_and_not_submitted_twice(world: World) -> None:
    submission = world.submission("sleep 1", jobs=2)
    handles = world.submit(submission)
    world.until(with_handles(submission, handles), running)
    assert world.new_launcher().submit(submission) == handles
    assert len(world.queued(submission)) == 2
    assert len(world.jobsub.commands("jobsub_submit")) == 1


def test_a_repeated_submission_is_not_made_while_the_queue_cannot_be_seen(world: World) -> None:
    world.jobsub.faults = {"submit_fails": "ERROR: whatever"}
    submission = world.submission("true")
    with pytest.raises(TransientError):
        world.launcher.submit(submission)
    for faults in ({"schedd_hidden": True}, {"stale_ad": True}, {"collector_down": True}):
        world.jobsub.faults = faults
        with pytest.raises(TransientError):
            world.launcher.submit(submission)
    assert len(world.jobsub.commands("jobsub_submit")) == 1
    world.jobsub.faults = {}
    assert len(world.submit(submission)) == 1


def test_a_submit_that_outlived_its_engine_is_waited_for(world: World) -> None:
    world.jobsub.faults = {"slow_submit": 2.0}
    submission = world.submission(world.runs)
    (world.folder / "environment.json").write_text(json.dumps(world.jobsub.environment()))
    engine = "import sys; from tests.campaign.launchers.test_jobsub import orphan; orphan(*sys.argv[1:])"
    arguments = [str(world.folder), str(submission.folder), submission.id, submission.jobs[0].attempt]
    process = subprocess.Popen([sys.executable, "-c", engine, *arguments], cwd=Path(__file__).parents[3])
    while not (world.jobsub.folder / "rendered" / "simple.sh").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    world.jobsub.faults = {}
    world.launcher.pause_s = PAUSE_S  # the real one: a busy queue takes its time with a job's files
    handles = world.submit(submission)
    assert len(handles) == 1
    found = [(ad["ClusterId"], ad["JobStatus"], ad.get("HoldReason"), ad.get("RemoveReason")) for ad in world.queued(submission)]
    assert len(found) == len(world.jobsub.commands("jobsub_submit")) == 1, found


def orphan(folder: str, submission_folder: str, submission: str, attempt: str) -> None:
    """What the engine of the test above does until it is killed."""
    environment = json.loads((Path(folder) / "environment.json").read_text())
    settings = JobsubLauncherSettings(kind="jobsub", token_file=environment["BEARER_TOKEN_FILE"])
    launcher = JobsubLauncher(settings, environment=environment, lock_folder=Path(folder))
    job = Job(attempt, Path(submission_folder) / "0", Path("x.py"), 200_000_000, 600.0, submission=submission, disk_bytes=10**6)
    bundle = Path(folder) / "bundle.tar.gz"
    launcher.submit(Submission(submission, "c", "v1", "chain", (job,), Path(submission_folder), bundle, "/dune/x", "/dune/x/a"))


def test_a_working_folder_that_cannot_be_written_is_not_submitted_from(world: World) -> None:
    submission = world.submission("true")
    with pytest.raises(TransientError, match="No such file"):
        world.launcher.submit(replace(submission, folder=submission.folder / "missing"))


def test_tarballs_are_packed_in_the_submissions_own_folder_and_cleared_away(world: World) -> None:
    submission = world.submission("true")
    world.submit(submission)
    assert {file.name for file in submission.folder.iterdir()} == {"0", "job.sh", module.BEGUN}


def test_an_expired_token_is_a_reason_to_wait(world: World) -> None:
    world.jobsub.give_token(expires_in_s=30.0)
    with pytest.raises(TransientError, match="htgettoken"):
        world.launcher.submit(world.submission("true"))
    with pytest.raises(TransientError, match="htgettoken"):
        world.launcher.available()
    world.jobsub.token_file.unlink()
    with pytest.raises(TransientError, match="token_file"):
        world.launcher.available()


def test_a_token_of_another_role_is_a_wrong_setting(world: World) -> None:
    world.jobsub.give_token(group="/dune")
    with pytest.raises(ConfigError, match="wrong group or role"):
        world.launcher.submit(world.submission("true"))


def test_jobsub_that_is_not_installed_is_a_wrong_setting(world: World) -> None:
    launcher = world.new_launcher({"PATH": "/usr/bin:/bin"})
    with pytest.raises(ConfigError, match="jobsub_submit"):
        launcher.submit(world.submission("true"))
    with pytest.raises(TransientError, match="jobsub_q"):
        launcher.available()


def test_the_pool_of_the_settings_counts_and_not_that_of_the_environment(world: World) -> None:
    launcher = world.new_launcher({"JOBSUB_GLOBAL_POOL": "elsewhere"}, global_pool=None)
    assert len(launcher.submit(world.submission("true"))) == 1
    with pytest.raises(ConfigError, match="--global-pool"):
        world.new_launcher(global_pool="unheard").submit(world.submission("true"))


# --- watching


@pytest.mark.parametrize("fault", ["schedd_hidden", "queue_empty", "stale_ad", "collector_down"])
def test_a_queue_that_looks_empty_does_not_lose_jobs(world: World, fault: str) -> None:
    submission = world.submission(world.runs, jobs=2)
    jobs = with_handles(submission, world.submit(submission))
    world.until(jobs, running)
    world.jobsub.faults = {fault: True}
    # An empty answer of a queue that is known to be there is believed after the third time.
    for _ in range(2 if fault == "queue_empty" else 5):
        try:
            statuses = world.launcher.poll(jobs, time.time())
        except TransientError:
            assert fault in ("stale_ad", "collector_down")
        else:
            assert {status.seen for status in statuses.values()} == {Seen.UNKNOWN}
    world.jobsub.faults = {}
    assert {status.seen for status in world.launcher.poll(jobs, time.time()).values()} == {Seen.RUNNING}


def test_a_crashed_queue_does_not_lose_jobs(world: World) -> None:
    submission = world.submission(world.runs)
    jobs = with_handles(submission, world.submit(submission))
    world.until(jobs, running)
    world.pool.kill_schedd()
    try:
        with pytest.raises(TransientError, match="jobsub_q"):
            world.launcher.poll(jobs, time.time())
        with pytest.raises(TransientError):
            world.launcher.submit(world.submission("true"))
    finally:
        world.pool.start_schedd()
    world.until(jobs, running)
    world.alive.unlink()
    assert world.until(jobs, gone)[jobs[0].attempt].ended_by is None


def test_without_condor_status_only_many_empty_answers_are_believed(world: World) -> None:
    submission = world.submission("true")
    jobs = with_handles(submission, world.submit(submission))
    world.jobsub.faults = {"no_condor_status": True, "queue_empty": True, "quiet": True}
    looks = round(module.MISSES / module.BLIND_MISS)
    for _ in range(looks - 1):
        assert world.launcher.poll(jobs, time.time())[jobs[0].attempt].seen is Seen.UNKNOWN
    assert world.launcher.poll(jobs, time.time())[jobs[0].attempt].seen is Seen.GONE


def test_jobs_that_vanish_when_they_end_are_gone_after_three_looks(world: World) -> None:
    world.jobsub.faults = {"vanish": True}
    submission = world.submission("exit 10")
    jobs = with_handles(submission, world.submit(submission))
    status = world.until(jobs, gone)[jobs[0].attempt]
    assert status.ended_by is None
    assert "not in the queue" in str(status.message)


def test_a_job_nobody_has_ever_submitted_is_gone_without_a_handle(world: World) -> None:
    submission = world.submission("true")
    seen: list[JobStatus] = []

    def told(status: JobStatus) -> bool:
        seen.append(status)
        return status.seen is Seen.GONE

    world.until(submission.jobs, told)
    assert {status.seen for status in seen[:-1]} == {Seen.UNKNOWN}
    assert len(seen) > 2
    assert seen[-1].handle is None
    assert world.launcher.poll(submission.jobs, time.time())[submission.jobs[0].attempt] == seen[-1]


def test_jobs_without_handles_are_found_by_their_submission(world: World) -> None:
    submission = world.submission(world.runs, jobs=3)
    handles = world.submit(submission)
    statuses = world.until(submission.jobs[1:], running, world.new_launcher())
    assert {attempt: status.handle for attempt, status in statuses.items()} == {
        job.attempt: handles[job.attempt] for job in submission.jobs[1:]
    }


def test_all_jobs_are_asked_for_at_once(world: World) -> None:
    jobs: list[Job] = []
    for _ in range(3):
        submission = world.submission(world.runs, jobs=2)
        jobs += with_handles(submission, world.submit(submission))
    world.until(jobs, running)
    before = len(world.jobsub.commands("jobsub_q"))
    world.launcher.poll(jobs, time.time())
    assert len(world.jobsub.commands("jobsub_q")) == before + 1


def test_noise_and_the_answers_of_other_queues_do_not_disturb(world: World) -> None:
    submission = world.submission(world.runs)
    handles = world.submit(submission)
    world.until(with_handles(submission, handles), running)
    foreign = {"ClusterId": 1, "ProcId": 0, "GlobalJobId": "jobsub02.local#1.0#5", "JobStatus": 2, "PPAttempt": "other"}
    world.jobsub.faults = {"noise": "[a line of somebody", "more_queues": [[foreign], [foreign | {"ProcId": 1}]]}
    # Without a handle all queues are asked.
    statuses = world.launcher.poll(submission.jobs, time.time())
    assert statuses[submission.jobs[0].attempt].seen is Seen.RUNNING
    assert statuses[submission.jobs[0].attempt].handle == handles[submission.jobs[0].attempt]


def test_a_cut_answer_says_nothing(world: World) -> None:
    submission = world.submission(world.runs, jobs=2)
    jobs = with_handles(submission, world.submit(submission))
    world.until(jobs, running)
    world.jobsub.faults = {"cut_answer": 100}
    with pytest.raises(TransientError, match="cut"):
        world.launcher.poll(jobs, time.time())


def test_a_hung_question_is_ended(world: World) -> None:
    world.jobsub.faults = {"hang": ["jobsub_q"]}
    world.launcher.query_s = 1.0
    with pytest.raises(TransientError, match="no answer"):
        world.launcher.poll(world.submission("true").jobs, time.time())


@pytest.mark.parametrize(("why", "ended_by"), [("credentials", "transient"), ("empty_file", "site")])
def test_a_job_on_hold_is_removed_and_told_with_the_class_of_its_reason(world: World, why: str, ended_by: str) -> None:
    world.jobsub.faults = {"hold": why}
    submission = world.submission("true")
    jobs = with_handles(submission, world.submit(submission))
    status = world.until(jobs, gone)[jobs[0].attempt]
    assert status.ended_by == ended_by
    assert ("credentials" if why == "credentials" else ".empty_file") in str(status.message)
    assert [ad["JobStatus"] for ad in world.queued(submission) if ad["JobStatus"] != 3] == []
    assert world.launcher.poll(jobs, time.time())[jobs[0].attempt] == status


def test_a_removal_nobody_answered_is_repeated(world: World) -> None:
    world.jobsub.faults = {"hold": "credentials", "removes_nothing": True}
    submission, other = world.submission("true"), world.submission(world.runs)
    jobs = with_handles(submission, world.submit(submission))
    world.until(jobs, gone)
    world.jobsub.faults = {}
    world.until(with_handles(other, world.submit(other)), running)
    assert world.queued(submission) == []


def test_the_payload_of_a_removed_job_runs_on_and_is_not_called_gone_before_it_ends(world: World) -> None:
    proof, go_on = world.folder / "payload_ended", world.folder / "go_on"
    submission = world.submission(f"while [ ! -e {go_on} ]; do sleep 0.1; done; touch {proof}")
    jobs = with_handles(submission, world.submit(submission))
    world.until(jobs, running)
    world.launcher.kill(jobs)
    status = world.until(jobs, lambda status: "removed" in str(status.message))[jobs[0].attempt]
    assert status.seen is Seen.RUNNING
    go_on.touch()
    world.until(jobs, gone)
    assert proof.exists()


def test_jobs_without_handles_are_removed_by_their_attempts(world: World) -> None:
    submission = world.submission(world.runs, jobs=3, avoid_hosts=("jobsub01.local",))
    world.submit(submission)
    world.launcher.kill(submission.jobs[:2])
    left = [ad["PPAttempt"] for ad in world.queued(submission) if ad["JobStatus"] != 3]
    assert left == [submission.jobs[2].attempt]


def test_a_second_job_of_the_same_attempt_is_removed(world: World) -> None:
    submission = world.submission(world.runs)
    first = world.submit(submission)
    (submission.folder / module.BEGUN).unlink()
    second = world.submit(submission)
    assert first != second
    jobs = with_handles(submission, second)
    world.until(jobs, running)
    left = [ad["ClusterId"] for ad in world.queued(submission) if ad["JobStatus"] in (1, 2)]
    assert [f"{cluster}.0@jobsub01.local" for cluster in left] == list(second.values())


def test_a_log_that_cannot_be_had_is_no_error(world: World) -> None:
    job = replace(world.submission("true").jobs[0], handle="99.0@jobsub01.local")
    world.launcher.fetch_log(job)
    world.launcher.fetch_log(replace(job, handle=None))
    assert not job.log.exists()
    world.jobsub.faults = {"hang": ["jobsub_fetchlog"]}
    job.log.write_text("kept")
    world.launcher.fetch_log(job)
    assert job.log.read_text() == "kept"
