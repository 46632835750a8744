"""The HTCondor launcher on a real pool: jobs that end well and badly, and a queue that dies, hides and hangs."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from campaign.launchers import condor_jobs
from campaign.launchers import htcondor as module
from campaign.launchers.htcondor import HTCondorLauncher
from campaign.launchers.htcondor_submit import item_file, submit_file
from campaign.launchers.protocol import Job, JobStatus, Seen, Submission
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.settings.launchers import HTCondorLauncherSettings
from templates.submit_quote import submit_quote, submit_words
from tests.servers.htcondor import Pool, insisted

GOLDEN = Path(__file__).parent / "golden"
ENDS_IN_S = 90.0
SECRET = "attempt-token-6f1d"
WELL = "echo {} >report.json"
_numbers = count()
on_a_pool = pytest.mark.needs("condor")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with Pool(tmp_path_factory.mktemp("pool"), cpus=24) as pool:
        yield pool


class World:
    """A folder on the pool's machine, and submissions from it."""

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.folder, self.pool = folder / "a place, with a $name", pool
        self.folder.mkdir()
        self.alive = folder / "alive"
        self.alive.touch()
        # A payload that runs until the test is over.
        self.runs = f'while [ -e "{self.alive}" ]; do sleep 0.1; done; {WELL}'
        self.bundle = folder / "the bundle.tar.gz"
        self.bundle.write_text("from the bundle\n")
        self.launcher = self.new_launcher()

    def new_launcher(self, environment: Mapping[str, str] | None = None, **settings: Any) -> HTCondorLauncher:
        """A launcher as the next process has one."""
        settings = {"config": self.pool.config, "command_path": self.pool.bin, **settings}
        given = HTCondorLauncherSettings(kind="htcondor", **settings)
        return HTCondorLauncher(given, environment=self.pool.environment() | (environment or {}), prefix=self.pool.prefix)

    def instead_of(self, command: str, script: str) -> HTCondorLauncher:
        """A launcher that finds a script of ours in place of one of HTCondor's commands, which is `$0.real` there."""
        folder = self.folder.parent / f"bin{next(_numbers)}"
        folder.mkdir()
        (folder / command).write_text(f"#!/bin/sh\n{script}\n")
        (folder / command).chmod(0o755)
        (folder / f"{command}.real").symlink_to(self.pool.bin / command)
        return self.new_launcher({"PATH": f"{folder}:{self.pool.environment()['PATH']}"}, command_path=None)

    def submission(self, script: str, jobs: int = 1, *, bundle: bool = True, **job: Any) -> Submission:
        name = f"01JCONDOR{os.getpid()}{next(_numbers):04d}"
        folder = self.folder / name
        folder.mkdir()
        (folder / "job.sh").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "job.sh").chmod(0o755)
        several = tuple(
            Job(f"{name}A{index}", folder / str(index), folder / "stage.py", 200_000_000, 600.0, submission=name, disk_bytes=10**6)
            for index in range(jobs)
        )
        for one in several:
            one.job_dir.mkdir(mode=0o700)
            one.assignment.write_text(f'{{"attempt": "{one.attempt}", "token": "{SECRET}"}}\n')
            one.assignment.chmod(0o600)
        several = tuple(replace(one, **job) for one in several)
        return Submission(name, "pdhd-prompt", "v1", "chain", several, folder, self.bundle if bundle else None)

    def submitted(self, submission: Submission, launcher: HTCondorLauncher | None = None) -> list[Job]:
        handles = insisted(lambda: (launcher or self.launcher).submit(submission))
        assert sorted(handles) == sorted(job.attempt for job in submission.jobs)
        return [replace(job, handle=handles[job.attempt]) for job in submission.jobs]

    def until(
        self, jobs: list[Job] | tuple[Job, ...], wanted: Callable[[JobStatus], bool], launcher: HTCondorLauncher | None = None
    ) -> list[JobStatus]:
        """Poll until the states of all jobs are as wanted."""
        ends = time.monotonic() + ENDS_IN_S
        while True:
            statuses = insisted(lambda: (launcher or self.launcher).poll(jobs, time.time()))
            if all(wanted(status) for status in statuses.values()):
                return [statuses[job.attempt] for job in jobs]
            assert time.monotonic() < ends, statuses
            time.sleep(0.2)

    def until_left(self, constraint: str) -> None:
        """Wait until the queue has no such job any more."""
        ends = time.monotonic() + ENDS_IN_S
        while found := self.pool.jobs(constraint):
            assert time.monotonic() < ends, found
            time.sleep(0.1)

    def queued(self, submission: Submission) -> list[dict[str, Any]]:
        return self.pool.jobs(f'PPRequestId=?="{submission.id}"')

    def end(self) -> None:
        self.pool.thaw_schedd()
        self.pool.start_schedd()
        self.alive.unlink(missing_ok=True)
        self.pool.run("condor_rm", "-all", check=False)
        self.until_left("JobStatus =!= 4")


@pytest.fixture
def world(tmp_path: Path, pool: Pool) -> Iterator[World]:
    world = World(tmp_path, pool)
    yield world
    world.end()


def gone(status: JobStatus) -> bool:
    return status.seen is Seen.GONE


def running(status: JobStatus) -> bool:
    return status.seen is Seen.RUNNING


# --- a good day


@on_a_pool
def test_a_job_gets_its_bundle_and_assignment_and_its_report_and_log_come_back(world: World) -> None:
    job = world.submitted(world.submission('echo "$#: $1 $2"; cat "$1"; cp "$2" report.json; echo trouble >&2'))[0]
    (status,) = world.until([job], gone)
    assert (status.ended_by, status.message, status.host, status.handle) == (None, "ended with exit code 0", "jobsub01.local", job.handle)
    assert job.report.read_text() == job.assignment.read_text()
    assert job.log.read_text() == "2: the bundle.tar.gz assignment.json\nfrom the bundle\ntrouble\n"


@on_a_pool
def test_a_report_that_the_engine_has_already_is_not_written_over(world: World) -> None:
    job = world.submitted(world.submission(world.runs))[0]
    world.until([job], running)
    job.report.write_text("from the job itself")
    world.alive.unlink()
    world.until([job], gone)
    assert job.report.read_text() == "from the job itself"


@on_a_pool
def test_twenty_jobs_are_one_cluster_and_each_has_its_own_assignment(world: World) -> None:
    submission = world.submission("cp assignment.json report.json", jobs=20)
    jobs = world.submitted(submission)
    assert len({job.handle.partition(".")[0] for job in jobs if job.handle}) == 1
    statuses = world.until(jobs, gone)
    assert [status.ended_by for status in statuses] == [None] * 20
    assert all(job.attempt in job.report.read_text() for job in jobs)


@on_a_pool
def test_a_running_job_tells_its_host(world: World) -> None:
    jobs = world.submitted(world.submission(world.runs))
    assert world.until(jobs, running)[0].host == "jobsub01.local"


@on_a_pool
def test_where_files_are_shared_the_stage_script_runs_in_place(world: World) -> None:
    submission = world.submission("", bundle=False)
    submission.jobs[0].script.write_text("import sys; open('report.json', 'w').write(' '.join(sys.argv[1:]) + str(sys.flags.isolated))")
    job = world.submitted(submission)[0]
    assert world.until([job], gone)[0].ended_by is None
    assert job.report.read_text() == "assignment.json1"


@on_a_pool
def test_the_token_is_in_no_argument_and_no_environment_and_its_file_stays_private(world: World) -> None:
    submission = world.submission(world.runs)
    world.submitted(submission, world.new_launcher({"DUNE_PROMPT_TOKEN": SECRET}))
    assert SECRET not in str(world.queued(submission))
    assert SECRET not in (submission.folder / module.SUBMIT_FILE).read_text()
    assert stat.S_IMODE(submission.jobs[0].assignment.stat().st_mode) == 0o600


# --- submitting


@on_a_pool
def test_a_repeated_submission_is_found_again_and_not_submitted_twice(world: World) -> None:
    submission = world.submission(world.runs, jobs=2)
    handles = world.launcher.submit(submission)
    assert world.new_launcher().submit(submission) == handles
    assert len(world.queued(submission)) == 2
    world.alive.unlink()
    world.until([replace(job, handle=handles[job.attempt]) for job in submission.jobs], gone)
    world.pool.run("condor_rm", "-constraint", f'PPRequestId=?="{submission.id}"')
    world.until_left(f'PPRequestId=?="{submission.id}"')
    assert world.new_launcher().submit(submission) == handles  # from the history


@on_a_pool
@pytest.mark.parametrize("ending", ["exit 1", "kill -9 $$", "sleep 600"])
def test_a_lost_answer_is_found_again(world: World, ending: str) -> None:
    launcher = world.instead_of("condor_submit", f'"$0.real" "$@" >/dev/null; {ending}')
    launcher.submit_s = 5.0
    submission = world.submission(world.runs, jobs=2)
    world.submitted(submission, launcher)
    assert len(world.queued(submission)) == 2


@on_a_pool
def test_a_submit_that_outlived_its_engine_is_waited_for(world: World) -> None:
    slow = world.instead_of("condor_submit", '(sleep 2; "$0.real" "$@" >/dev/null) >/dev/null 2>&1 & exit 1')
    submission = world.submission(world.runs)
    with pytest.raises(TransientError):
        slow.submit(submission)
    world.submitted(submission)
    assert len(world.queued(submission)) == 1


@on_a_pool
def test_a_queue_that_takes_no_jobs_is_a_reason_to_wait(world: World) -> None:
    submission = world.submission(world.runs)
    world.pool.kill_schedd()
    with pytest.raises(TransientError, match="not clear whether it was taken"):
        world.launcher.submit(submission)
    with pytest.raises(TransientError):
        world.launcher.available()
    world.pool.start_schedd()
    world.launcher.available()
    world.submitted(submission)


@on_a_pool
def test_a_setting_that_condor_refuses_is_told_as_one(world: World) -> None:
    launcher = world.new_launcher(requirements="TARGET.Memory > > 3")
    with pytest.raises(ConfigError, match="Parse error"):
        launcher.submit(world.submission("true"))
    with pytest.raises(ConfigError, match="condor_submit is not on the PATH"):
        world.new_launcher({"PATH": "/usr/bin:/bin"}, command_path=None).submit(world.submission("true"))


@on_a_pool
def test_a_named_queue_has_to_be_on_this_machine(world: World) -> None:
    world.submitted(world.submission("true"), world.new_launcher(schedd=world.pool.schedd))
    with pytest.raises(TransientError, match="does not know the queue other"):
        world.new_launcher(schedd="other").submit(world.submission("true"))
    elsewhere = world.new_launcher({"_CONDOR_NETWORK_HOSTNAME": "here.local"}, schedd=world.pool.schedd)
    with pytest.raises(ConfigError, match=r"schedd: jobsub01\.local is not on this machine"):
        elsewhere.submit(world.submission("true"))


@on_a_pool
def test_requirements_further_lines_and_hosts_to_avoid_are_honoured(world: World) -> None:
    lines = ('+JobFlavour = "workday"', "priority = 5")
    launcher = world.new_launcher(requirements='TARGET.GLIDEIN_Site == "CERN" || TARGET.Odd', lines=lines)
    submission = world.submission(WELL)
    world.until(world.submitted(submission, launcher), gone)
    (ad,) = world.queued(submission)
    assert (ad["JobFlavour"], ad["JobPrio"]) == ("workday", 5)
    waiting = [
        *world.submitted(world.submission(WELL), world.new_launcher(requirements='TARGET.GLIDEIN_Site == "FNAL"')),
        *world.submitted(world.submission(WELL, avoid_hosts=("jobsub01.local",))),
        *world.submitted(world.submission(WELL, avoid_hosts=("jobsub01",))),
    ]
    world.until(world.submitted(world.submission(WELL, avoid_hosts=("another.host",))), gone)
    assert {status.seen for status in world.launcher.poll(waiting, time.time()).values()} == {Seen.WAITING}


# --- how jobs end


@on_a_pool
@pytest.mark.parametrize(
    ("script", "ended_by", "message"),
    [
        (f"{WELL}; kill -9 $$", "crashed", "killed by signal 9"),
        ("kill -9 $$", "crashed", "killed by signal 9"),
        ("exit 3", "crashed", "ended with exit code 3"),
        (f"{WELL}; exit 20", "transient", "ended with exit code 20"),
        ("exit 0", None, "ended with exit code 0"),
    ],
)
def test_how_a_job_ended_is_told_with_and_without_a_report(world: World, script: str, ended_by: str | None, message: str) -> None:
    submission = world.submission(script)
    (status,) = world.until(world.submitted(submission), gone)
    assert (status.ended_by, status.message, status.host) == (ended_by, message, "jobsub01.local")
    world.until_left(f'PPRequestId=?="{submission.id}" && JobStatus =!= 4')


@on_a_pool
@pytest.mark.parametrize("bundle", [True, False])
def test_a_job_that_is_too_slow_is_ended_by_its_time_limit(world: World, bundle: bool) -> None:
    submission = world.submission("exec sleep 300", lifetime_s=2.0, bundle=bundle)
    submission.jobs[0].script.write_text("import time; time.sleep(300)")
    (status,) = world.until(world.submitted(submission), gone)
    assert (status.ended_by, status.host) == ("time_limit", "jobsub01.local")
    assert "longer than its lifetime of 2 s" in str(status.message)
    world.until_left(f'PPRequestId=?="{submission.id}"')


@on_a_pool
def test_a_job_that_holds_too_much_memory_is_ended(world: World) -> None:
    script = "exec python3 -c \"x = b'1' * 300_000_000; import time; time.sleep(300)\""
    submission = world.submission(script, memory_bytes=100_000_000)
    (status,) = world.until(world.submitted(submission), gone)
    assert status.ended_by == "memory"
    assert "its limit is 96 MiB" in str(status.message)
    world.until_left(f'PPRequestId=?="{submission.id}"')


@on_a_pool
def test_an_input_that_cannot_be_brought_is_the_sites_trouble(world: World) -> None:
    submission = world.submission("true")
    submission.jobs[0].assignment.unlink()
    (status,) = world.until(world.submitted(submission), gone)
    assert status.ended_by == "site"
    assert "Transfer input files failure" in str(status.message)
    world.until_left(f'PPRequestId=?="{submission.id}"')


@on_a_pool
def test_a_job_put_on_hold_by_hand_is_lost_and_leaves(world: World) -> None:
    submission = world.submission(world.runs)
    (job,) = world.submitted(submission)
    assert job.handle
    world.until([job], running)
    world.pool.run("condor_hold", job.handle.partition("@")[0])
    (status,) = world.until([job], gone)
    assert status.ended_by == "lost"
    world.until_left(f'PPRequestId=?="{submission.id}"')


@on_a_pool
@pytest.mark.parametrize("known", [True, False])
def test_a_killed_job_is_told_to_end_and_told_as_gone(world: World, known: bool) -> None:
    ended = world.folder.parent / "ended"
    submission = world.submission(f'trap ": >\\"{ended}\\"; exit 20" TERM; : >started; while :; do sleep 0.1; done')
    (job,) = world.submitted(submission)
    job = job if known else replace(job, handle=None)
    world.until([job], running)
    world.launcher.kill([job])
    (status,) = world.until([job], gone)
    assert status.ended_by == "lost"
    assert "via condor_rm" in str(status.message)
    assert world.queued(submission) == []
    world.launcher.kill([job])  # there is nothing to end any more, which is fine


@on_a_pool
def test_a_job_that_has_lost_its_worker_does_not_begin_again(world: World) -> None:
    submission = world.submission(f"echo $PPID >>'{world.folder.parent}/starters'; {world.runs}")
    (job,) = world.submitted(submission)
    starters = world.folder.parent / "starters"
    ends = time.monotonic() + ENDS_IN_S
    while not (starters.exists() and starters.read_text().strip()):
        assert time.monotonic() < ends
        time.sleep(0.1)
    world.until([job], running)
    os.kill(int(starters.read_text()), 9)
    (status,) = world.until([job], gone)
    assert (status.ended_by, status.message) == ("lost", "it has lost its worker")
    world.until_left(f'PPRequestId=?="{submission.id}"')
    assert len(starters.read_text().split()) == 1


# --- a queue in trouble


@on_a_pool
def test_jobs_survive_their_queue(world: World) -> None:
    starts = world.folder.parent / "starts"
    jobs = world.submitted(world.submission(f"echo started >>'{starts}'; {world.runs}", jobs=3))
    world.until(jobs, running)
    world.pool.kill_schedd()
    for _ in range(module.MISSES + 1):
        with pytest.raises(TransientError):
            world.launcher.poll(jobs, time.time())
    world.pool.start_schedd()
    assert all(not gone(status) for status in world.launcher.poll(jobs, time.time()).values())
    world.until(jobs, running)
    world.alive.unlink()
    assert [status.ended_by for status in world.until(jobs, gone)] == [None] * 3
    assert all(job.report.exists() for job in jobs)
    assert len(starts.read_text().split()) == 3


@on_a_pool
@pytest.mark.parametrize("named", [False, True])
def test_a_queue_that_hides_is_not_an_empty_one(world: World, named: bool) -> None:
    launcher = world.new_launcher(**({"schedd": world.pool.schedd} if named else {}))
    jobs = world.submitted(world.submission(world.runs), launcher)
    world.pool.hide_schedd()
    for _ in range(module.MISSES + 1):
        with pytest.raises(TransientError):
            launcher.poll(jobs, time.time())
    with pytest.raises(TransientError):
        launcher.available()
    world.pool.start_schedd()
    world.until(jobs, running, launcher)


@on_a_pool
def test_a_queue_that_hangs_is_waited_for_only_so_long(world: World) -> None:
    jobs = world.submitted(world.submission(world.runs))
    world.launcher.query_s = world.launcher.submit_s = world.launcher.remove_s = 1.0
    world.pool.freeze_schedd()
    for ask in (
        lambda: world.launcher.poll(jobs, time.time()),
        world.launcher.available,
        lambda: world.launcher.kill(jobs),
        lambda: world.launcher.submit(world.submission("true")),
    ):
        with pytest.raises(TransientError):
            ask()
    world.pool.thaw_schedd()
    world.launcher.query_s = world.launcher.remove_s = 60.0
    # What could not be removed then is removed with the next look.
    assert world.until(jobs, gone)[0].ended_by == "lost"


@on_a_pool
def test_an_answer_without_a_job_counts_only_together_with_a_sign_of_life(world: World) -> None:
    jobs = world.submitted(world.submission(world.runs))
    world.until(jobs, running)
    blind = world.instead_of("condor_q", "exit 0")
    (folder,) = world.folder.parent.glob("bin*")
    (folder / "condor_status").write_text("#!/bin/sh\nexit 0\n")
    (folder / "condor_status").chmod(0o755)
    for _ in range(module.MISSES + 1):
        (status,) = blind.poll(jobs, time.time()).values()
        assert status.seen is Seen.UNKNOWN
    (folder / "condor_status").unlink()
    seen = [blind.poll(jobs, time.time())[jobs[0].attempt].seen for _ in range(module.MISSES)]
    assert seen == [Seen.UNKNOWN, Seen.GONE]


@on_a_pool
def test_jobs_that_were_never_submitted_are_gone_when_missed_again(world: World) -> None:
    jobs = world.submission("true").jobs
    assert [world.launcher.poll(jobs, time.time())[jobs[0].attempt].seen for _ in range(2)] == [Seen.UNKNOWN, Seen.GONE]


@on_a_pool
def test_a_job_submitted_twice_is_kept_once(world: World) -> None:
    submission = world.submission(world.runs)
    (job,) = world.submitted(submission)
    (submission.folder / module.SUBMIT_FILE).unlink()
    world.new_launcher().submit(submission)
    assert len(world.queued(submission)) == 2
    world.until([job], running)
    world.until_left(f'PPRequestId=?="{submission.id}" && ClusterId =!= {str(job.handle).partition(".")[0]}')
    assert len(world.queued(submission)) == 1


# --- without a pool


def a_submission(**changes: Any) -> Submission:
    job = Job("A0", Path("/w/jobs/A0"), Path("/w/scripts/chain.py"), 3_000_000_000, 7200.0, submission="01JSUB", disk_bytes=20 * 10**9)
    several = tuple(replace(job, attempt=f"01JATTEMPT{index}", job_dir=Path(f"/w/jobs/01JATTEMPT{index}"), **changes) for index in range(2))
    bundle = Path("/w/bundles/pdhd-prompt-1a2b.tar.gz")
    return Submission("01JSUB", "pdhd-prompt", "v1", "chain", several, Path("/w/submissions/01JSUB"), bundle)


@pytest.mark.parametrize("which", ["bundle", "shared", "all"])
def test_the_submit_file(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/usr/bin/python3")
    submission, more = a_submission(), {}
    if which == "shared":
        submission = replace(submission, bundle=None)
    elif which == "all":
        submission = a_submission(avoid_hosts=("b9p11.cern.ch", "wn7"), cpus=4)
        more = {
            "requirements": 'TARGET.OpSysAndVer =?= "AlmaLinux9"',
            "lines": ('+JobFlavour = "workday"', "accounting_group = group_u_DUNE.prompt"),
            "image": "/cvmfs/singularity.opensciencegrid.org/fermilab/fnal-wn-el9:latest",
        }
    text = submit_file(HTCondorLauncherSettings(kind="htcondor", **more), submission)
    assert text == (GOLDEN / f"htcondor_{which}.sub").read_text()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("requirements", "true\nqueue 100"),
        ("requirements", "true) || (true"),
        ("requirements", 'TARGET.Name == "a'),
        ("lines", "queue 100"),
        ("lines", "+PPAttempt = 3"),
        ("lines", "My.pprequestid = 3"),
        ("lines", "Periodic_Hold = true"),
        ("lines", "priority = 5\nqueue 100"),
        ("image", "a\nqueue 100"),
        ("schedd", "-all"),
    ],
)
def test_what_would_change_the_submit_file_is_refused_by_the_name_of_its_setting(setting: str, value: str) -> None:
    given: Any = (value,) if setting == "lines" else value
    settings = HTCondorLauncherSettings(kind="htcondor", **{setting: given})
    with pytest.raises(ConfigError, match=setting):
        HTCondorLauncher(settings, environment={})
        submit_file(settings, a_submission())


@pytest.mark.parametrize("folder", ['/w/"x"', "/w/a\nb", "/w/$(x)", "/w/x\\y"])
def test_a_workspace_that_a_submit_file_cannot_hold_is_refused(folder: str) -> None:
    settings = HTCondorLauncherSettings(kind="htcondor")
    with pytest.raises(ConfigError, match="workspace"):
        submit_file(settings, replace(a_submission(), folder=Path(folder)))
    job = replace(a_submission().jobs[0], job_dir=Path(folder))
    with pytest.raises(ConfigError, match="workspace"):
        item_file(replace(a_submission(), jobs=(job,)))
    with pytest.raises(ConfigError, match="workspace"):
        submit_file(settings, replace(a_submission(), bundle=Path("/w/a,b.tar.gz")))


def test_values_in_a_submit_file_are_quoted() -> None:
    assert submit_quote("/a b/$x") == "/a b/$(DOLLAR)x"
    assert submit_words(["-I", "a b", "it's", 'a"b', "$HOME"]) == """-I 'a b' 'it''s' a""b $(DOLLAR)HOME"""
    for value in ("", " a", "a\nb", "a\\"):
        with pytest.raises(ValueError, match="a submit file cannot hold it"):
            submit_quote(value)


@pytest.mark.parametrize(
    ("ad", "seen", "ended_by"),
    [
        ({"JobStatus": 1, "NumJobStarts": 0}, Seen.WAITING, None),
        ({"JobStatus": 1, "NumJobStarts": 1}, Seen.GONE, "lost"),
        ({"JobStatus": 2}, Seen.RUNNING, None),
        ({"JobStatus": 3, "RemoveReason": "via condor_rm (by user dunepro)"}, Seen.RUNNING, None),
        ({"JobStatus": 5, "HoldReasonCode": 16, "HoldReason": "Spooling input data files"}, Seen.WAITING, None),
        ({"JobStatus": 5, "HoldReasonCode": 34, "HoldReason": "Error from slot1: over its limit"}, Seen.GONE, "memory"),
        ({"JobStatus": 5, "HoldReasonCode": 46, "HoldReason": "too long"}, Seen.GONE, "time_limit"),
        ({"JobStatus": 5, "HoldReasonCode": 13, "HoldReason": "Transfer input files failure: /token/memory"}, Seen.GONE, "site"),
        ({"JobStatus": 5, "HoldReasonCode": 4, "HoldReason": "Job credentials are not available"}, Seen.GONE, "transient"),
        ({"JobStatus": 5, "HoldReasonCode": 1, "HoldReason": "via condor_hold (by user x)"}, Seen.GONE, "lost"),
        ({"JobStatus": 4, "ExitBySignal": True, "ExitSignal": 11}, Seen.GONE, "crashed"),
        ({"JobStatus": 4, "ExitBySignal": False, "ExitCode": 30}, Seen.GONE, "configuration"),
        ({"JobStatus": 4, "ExitBySignal": False, "ExitCode": 255}, Seen.GONE, "crashed"),
        ({"JobStatus": 4, "ExitBySignal": False, "ExitCode": 0}, Seen.GONE, None),
    ],
)
def test_states_in_the_queue(ad: dict[str, Any], seen: Seen, ended_by: str | None) -> None:
    status = condor_jobs.status_of(ad | {"RemoteHost": "slot1_2@glidein_1_2@wn7.cern.ch", "GlobalJobId": "s.cern.ch#12.3#99"})
    assert (status.seen, status.ended_by, status.handle) == (seen, ended_by, "12.3@s.cern.ch")
    assert status.host in (None, "wn7.cern.ch")


@pytest.mark.parametrize(
    ("ad", "ended_by"),
    [
        ({"JobStatus": 4, "ExitCode": 1}, "crashed"),
        ({"JobStatus": 3, "LastJobStatus": 2, "RemoveReason": "via condor_rm (by user dunepro)"}, "lost"),
        (
            {"JobStatus": 3, "LastJobStatus": 1, "RemoveReason": "PeriodicRemove expression … NumJobStarts > 0 …"},
            "lost",
        ),
        ({"JobStatus": 3, "LastJobStatus": 2, "RemoveReason": "SYSTEM_PERIODIC_REMOVE: memory usage"}, "memory"),
        ({"JobStatus": 3, "LastJobStatus": 2, "RemoveReason": "Job exceeded its wall time"}, "time_limit"),
    ],
)
def test_ends_in_the_history(ad: dict[str, Any], ended_by: str) -> None:
    status = condor_jobs.status_in_history(ad | {"LastRemoteHost": "slot1@wn7"})
    assert (status.seen, status.ended_by) == (Seen.GONE, ended_by)
