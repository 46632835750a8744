"""Runs the program of a payload that is not our own: its environment, its log, its end."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dune_prompt.errors import CommandError, ConfigError
from dune_prompt.process import run
from stages.errors import SiteError, TimeLimitError

# Of a log that is kept, its end: what failed is told last.
KEPT_LOG_BYTES = 1_000_000
TAIL_LINES, TAIL_CHARACTERS = 12, 500
# Where a program finds what reads remote files for the job, and nothing else of the job's environment.
CREDENTIALS = ("X509_USER_PROXY", "X509_CERT_DIR", "BEARER_TOKEN_FILE", "KRB5CCNAME")


class ProgramFaultError(Exception):
    """The program failed by its own fault, not that of the data, the worker or a setting."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code (negative: the signal that killed it), how long it took, the end of what it printed."""

    exit_code: int
    wall_s: float
    tail: str


def run_program(
    command: Sequence[str], work: Path, log: Path, environment: Mapping[str, str], timeout_s: float, credentials: bool = False
) -> Ended:
    """Run `command` in the folder `work` with little more than `environment`; what it prints goes into `log`.

    Raises:
        SiteError: the program is not on this worker. TimeLimitError: it did not end within `timeout_s`.
    """
    passed = {name: os.environ[name] for name in CREDENTIALS if credentials and name in os.environ}
    base = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(work), "TMPDIR": str(work), "LANG": "C.UTF-8"}
    begin = time.monotonic()
    try:
        done = run(command, timeout_s=timeout_s, env=base | passed | dict(environment), cwd=work, check=False, log=log)
    except ConfigError:
        raise SiteError(f"{command[0]} is not on this worker, or may not be run") from None
    except CommandError:
        raise TimeLimitError(f"{command[0]} did not end within {timeout_s:g} s and was killed: {tail_of(log)}") from None
    return Ended(done.returncode, time.monotonic() - begin, tail_of(log))


def tail_of(log: Path) -> str:
    """The last lines of a log, in one."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20 * TAIL_CHARACTERS))
        lines = file.read().decode(errors="replace").splitlines()
    text = " | ".join(line.strip() for line in lines[-TAIL_LINES:] if line.strip())
    return text[-TAIL_CHARACTERS:]


def keep_log(log: Path, target: Path) -> None:
    """Keep the end of a log, compressed."""
    size = log.stat().st_size
    with log.open("rb") as file, gzip.open(target, "wb", compresslevel=6) as kept:
        if size > KEPT_LOG_BYTES:
            file.seek(size - KEPT_LOG_BYTES)
            kept.write(f"[the first {size - KEPT_LOG_BYTES} bytes are left out]\n".encode())
        kept.write(file.read(KEPT_LOG_BYTES))


def timeout_of(settings: Mapping[str, Any], where: str) -> float:
    """The setting `timeout` in seconds, an hour when it is not given.

    Raises:
        ConfigError: it is no number above 0.
    """
    value = settings.get("timeout", 3600.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 7 * 86400:
        raise ConfigError(f"{where}.timeout {value!r}: seconds, more than 0 and at most a week")
    return float(value)
