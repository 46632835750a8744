"""External commands: nothing hangs, nothing stays behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from dune_prompt.errors import CommandError, ConfigError
from dune_prompt.process import group_rss_bytes, run, start_time


def test_output_and_exit_code_are_returned() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; cat; exit 3"], timeout_s=10, stdin="in", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\nin", "err\n")


def test_a_failure_holds_all_that_is_known() -> None:
    with pytest.raises(CommandError, match="exit code 3: no space") as failure:
        run(["sh", "-c", "echo no space >&2; exit 3"], timeout_s=10)
    assert failure.value.returncode == 3


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ConfigError, match="no-such-program is not installed"):
        run(["no-such-program"], timeout_s=1)


def test_a_child_that_holds_the_pipes_cannot_hold_us(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    begin = time.monotonic()
    with pytest.raises(CommandError, match="no answer within"):
        run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], timeout_s=0.3)
    assert time.monotonic() - begin < 10
    for _ in range(100):
        if start_time(int(pid_file.read_text())) is None:
            return
        time.sleep(0.05)
    raise AssertionError("the child of the shell is still there")


def test_a_process_is_known_by_pid_and_start_time() -> None:
    mine = start_time(os.getpid())
    assert mine is not None
    assert mine == start_time(os.getpid())
    assert start_time(2**22 + 1) is None


def test_memory_is_summed_over_the_group() -> None:
    code = "import time; x = bytearray(50_000_000); print(1, flush=True); time.sleep(60)"
    import subprocess

    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert group_rss_bytes({child.pid})[child.pid] > 50_000_000
        child.kill()


def test_what_a_command_prints_can_go_into_a_file_and_not_into_memory(tmp_path: Path) -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=10, check=False, log=tmp_path / "log")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert (tmp_path / "log").read_text() == "out\nerr\n"


def test_a_command_with_a_log_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    import subprocess

    code = (
        "from pathlib import Path; from dune_prompt.process import run;"
        f"run(['sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 60'], timeout_s=60, log=Path('{tmp_path}/log'))"
    )
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as parent:
        for _ in range(200):
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
                break
            time.sleep(0.05)
        parent.kill()
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if start_time(pid) is None:
            return
        time.sleep(0.05)
    raise AssertionError("the command outlives the process that started it")
