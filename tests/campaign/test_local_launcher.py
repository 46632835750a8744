"""Jobs as processes of this machine: found again after a restart, ended whole at their limits, never started twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from campaign.launchers.local import LocalLauncher
from campaign.launchers.protocol import Job, JobStatus, Seen, Submission
from dune_prompt.process import start_time

PROMPT_S = 20.0


def make_job(folder: Path, code: str, *, memory_bytes: int = 10**9, lifetime_s: float = 60.0, name: str = "A" * 26) -> Job:
    job_dir = folder / name
    job_dir.mkdir()
    script = job_dir / "script.py"
    script.write_text(f"import os, subprocess, sys, time\nopen('started', 'x').write(str(os.getpid()))\n{code}")
    (job_dir / "assignment.json").write_text("{}")
    return Job(name, job_dir, script, memory_bytes, lifetime_s)


def with_handle(job: Job, handle: str) -> Job:
    return Job(job.attempt, job.job_dir, job.script, job.memory_bytes, job.lifetime_s, handle)


def alone(job: Job) -> Submission:
    return Submission(job.attempt, "c", "v1", "chain", (job,), job.job_dir)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PROMPT_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def poll_until_gone(launcher: LocalLauncher, job: Job) -> JobStatus:
    wait_for(lambda: launcher.poll([job], time.time())[job.attempt].seen is Seen.GONE or launcher.something_ended())
    return launcher.poll([job], time.time())[job.attempt]


def test_a_job_runs_in_its_folder_with_its_log(tmp_path: Path) -> None:
    launcher = LocalLauncher()
    job = make_job(tmp_path, "print('hello'); print('secret' in os.environ)")
    job = with_handle(job, launcher.submit(alone(job))[job.attempt])
    assert poll_until_gone(launcher, job).ended_by == "crashed"
    assert job.log.read_text() == "hello\nFalse\n"


def test_a_restarted_service_finds_its_jobs(tmp_path: Path) -> None:
    first = LocalLauncher()
    job = make_job(tmp_path, "time.sleep(60)")
    job = with_handle(job, first.submit(alone(job))[job.attempt])
    second = LocalLauncher()
    assert second.poll([job], time.time())[job.attempt].seen is Seen.RUNNING
    second.kill([job])
    first._children[job.attempt].wait()
    assert second.poll([job], time.time())[job.attempt] == JobStatus(Seen.GONE)


def test_a_job_whose_start_was_not_written_down_is_adopted(tmp_path: Path) -> None:
    first = LocalLauncher()
    job = make_job(tmp_path, "time.sleep(60)")
    handle = first.submit(alone(job))[job.attempt]
    wait_for(lambda: (job.job_dir / "started").exists() and bool((job.job_dir / "started").read_text()))
    second = LocalLauncher()
    status = second.poll([job], time.time())[job.attempt]
    assert status == JobStatus(Seen.RUNNING, handle=handle)
    first.kill([with_handle(job, handle)])
    first._children[job.attempt].wait()


def test_a_job_that_was_never_started_is_given_up_and_can_then_never_start(tmp_path: Path) -> None:
    job = make_job(tmp_path, "open('worked', 'w')")
    launcher = LocalLauncher()
    assert launcher.poll([job], time.time())[job.attempt].seen is Seen.GONE
    assert launcher.poll([job], time.time())[job.attempt].seen is Seen.GONE
    launcher.submit(alone(job))
    launcher._children[job.attempt].wait()
    assert not (job.job_dir / "worked").exists()


def test_at_its_time_limit_a_job_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    launcher = LocalLauncher()
    job = make_job(tmp_path, "p = subprocess.Popen(['sleep', '60']); open('child', 'w').write(str(p.pid)); p.wait()", lifetime_s=0.5)
    job = with_handle(job, launcher.submit(alone(job))[job.attempt])
    status = poll_until_gone(launcher, job)
    assert status.ended_by == "time_limit"
    assert "limit of 0 s" in str(status.message) or "limit of 1 s" in str(status.message)
    child = int((job.job_dir / "child").read_text())
    wait_for(lambda: start_time(child) is None)


def test_above_its_memory_limit_a_job_is_ended(tmp_path: Path) -> None:
    launcher = LocalLauncher()
    job = make_job(tmp_path, "x = bytearray(200_000_000); time.sleep(60)", memory_bytes=100_000_000)
    job = with_handle(job, launcher.submit(alone(job))[job.attempt])
    status = poll_until_gone(launcher, job)
    assert status.ended_by == "memory"
    assert "its limit is 100 MB" in str(status.message)
    # A service that starts after the kill learns the reason too.
    assert LocalLauncher().poll([job], time.time())[job.attempt].ended_by == "memory"


@pytest.mark.parametrize(
    ("code", "message"), [("sys.exit(7)", "exit code 7"), (f"os.kill(os.getpid(), {signal.SIGSEGV.value})", "SIGSEGV")]
)
def test_how_a_job_died_is_told(tmp_path: Path, code: str, message: str) -> None:
    launcher = LocalLauncher()
    job = make_job(tmp_path, code)
    job = with_handle(job, launcher.submit(alone(job))[job.attempt])
    status = poll_until_gone(launcher, job)
    assert status.ended_by == "crashed"
    assert message in str(status.message)


def test_the_environment_of_the_service_does_not_leak_into_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hush")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launcher = LocalLauncher()
    job = make_job(tmp_path, "print(sorted(os.environ))")
    launcher.submit(alone(job))
    launcher._children[job.attempt].wait()
    assert "MY_TOKEN" not in job.log.read_text()
    assert os.environ["MY_TOKEN"] == "hush"
