"""The one function that runs an external command: an argument list, a time limit, and nothing left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dune_prompt.errors import CommandError, ConfigError

KILL_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command that ended printed, and its exit code."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    log: Path | None = None,
) -> Completed:
    """Run `command` in a process group of its own and wait at most `timeout_s` seconds.

    The whole group is killed at the limit, so that a child holding the pipes cannot hold us too. With `log` what it prints goes into that
    file, and none of it into memory; such a command also ends when this process ends, whatever ends it.

    Raises:
        ConfigError: the program is not installed.
        CommandError: it did not end in time or, with `check`, ended with another code than 0.
    """
    argv = tuple(command)
    with contextlib.ExitStack() as stack:
        output = subprocess.PIPE if log is None else stack.enter_context(log.open("ab"))
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                errors="replace",
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=None if log is None else _end_with_parent,
            )
        except (FileNotFoundError, PermissionError):
            raise ConfigError(f"{argv[0]} is not installed or not on the PATH") from None
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_group(process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=KILL_GRACE_S)
        raise CommandError(argv, None, "", "", f"no answer within {timeout_s:g} s, killed") from None
    except BaseException:
        kill_group(process.pid)
        process.wait()
        raise
    if check and process.returncode != 0:
        raise CommandError(argv, process.returncode, stdout or "", stderr or "", f"exit code {process.returncode}")
    return Completed(argv, process.returncode, stdout or "", stderr or "")


def _end_with_parent() -> None:
    # The kernel's PR_SET_PDEATHSIG: a process group of its own outlives the one that started it, even when that is killed.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def kill_group(pid: int) -> None:
    """Send SIGKILL to the process group `pid`; one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def start_time(pid: int) -> int | None:
    """Kernel start time of process `pid` in clock ticks since boot, None when there is no such process or it is a zombie.

    A pid with its start time names a process for good: pids are used again (`proc(5)`, fields 3 and 22 of `stat`).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - called for every running job at every step
            fields = stat.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def group_rss_bytes(pgids: set[int]) -> dict[int, int]:
    """Resident memory of each process group in `pgids`, summed over its processes, in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = dict.fromkeys(pgids, 0)
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"/proc/{entry.name}/stat", "rb") as stat:  # noqa: PTH123
                fields = stat.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if (pgid := int(fields[2])) in total:
            total[pgid] += int(fields[21]) * page
    return total
