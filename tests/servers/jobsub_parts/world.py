"""What the commands of the double share: the pool beneath, the faults they are told to show, tokens, and the noise they make."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

TRACING = """\
ERROR:root:importing tracing
Traceback (most recent call last):
  File "/opt/jobsub_lite/lib/tracing.py", line 44, in <module>
    from opentelemetry.exporter.jaeger.thrift import JaegerExporter  # type: ignore
ModuleNotFoundError: No module named 'opentelemetry'
"""


class Failed(Exception):  # noqa: N818 - what the real program does with any exception
    """An error of the class `kind` that the real program would end with."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class World:
    """`folder` holds `settings.json` (the pool) and `faults.json`, which is read at each command."""

    folder: Path
    program: str

    @cached_property
    def settings(self) -> dict[str, Any]:
        return json.loads((self.folder / "settings.json").read_text())

    @cached_property
    def faults(self) -> dict[str, Any]:
        return json.loads((self.folder / "faults.json").read_text())

    def fault(self, name: str) -> Any:
        return self.faults.get(name)

    def begin(self) -> None:
        """Take down the command line, make the noise of the tracing library, and be slow or hang if told to."""
        if self.program != "condor_status":
            with (self.folder / "commands.log").open("a") as log:
                log.write(json.dumps([self.program, *sys.argv[1:]]) + "\n")
            with (self.folder / "environments.log").open("a") as log:
                log.write(json.dumps(dict(os.environ)) + "\n")
            if self.fault("quiet") is None:
                print("Note: tracing not available here.\n\nContinuing without tracing...", flush=True)
                sys.stderr.write(TRACING)
        if self.program in (self.fault("hang") or ()):
            hang()
        time.sleep(float(self.fault("slow") or 0.0))

    def condor(self, *command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of condor's programs against the pool, as its user."""
        environment = self.settings["environment"] | (env or {})
        return subprocess.run(
            [*self.settings["prefix"], *command], env=environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    def schedds(self, group: str | None) -> list[tuple[str, str]]:
        """Name and machine of the queues that take jobs of `group`: what the collector says now."""
        if self.fault("collector_down"):
            raise Failed("HTCondorIOError", "Failed communication with collector.")
        if self.fault("schedd_hidden"):
            return []
        wanted = f'IsJobsubLite=?=true && STRINGLISTIMEMBER("{group}", SupportedVOList)'
        wanted += ' && !regexp(".*dev.*", Machine) && InDownTime != true'
        answer = self.condor("condor_status", "-schedd", "-constraint", wanted, "-af", "Name", "Machine")
        if answer.returncode != 0:
            raise Failed("HTCondorIOError", "Failed communication with collector.")
        return [(name, machine) for name, machine in (line.split() for line in answer.stdout.splitlines())]

    # --- tokens

    def token(self, group: str, role: str) -> Path:
        """The token file that is used: that of the environment if it is there, else the default one. For a bad one htgettoken is asked."""
        named = os.environ.get("BEARER_TOKEN_FILE")
        path = Path(named) if named and Path(named).exists() else self.folder / f"bt_token_{group}_{role}"
        claims = claims_of(path)
        if claims is None or claims["exp"] - time.time() <= 60:
            sys.stderr.write("sh: 1: htgettoken: not found\n")
            option = "" if role == "Analysis" else f" -r {role.lower()}"
            raise Failed("PermissionError", f"Failed attempting 'htgettoken  -i {group}{option}'")
        first = claims["wlcg.groups"][0].strip("/").split("/")
        theirs = (first[0], first[1] if len(first) > 1 else "Analysis")
        if [part.lower() for part in theirs] != [group.lower(), role.lower()]:
            raise Failed(
                "ValueError",
                "BEARER_TOKEN_FILE contains a token with the wrong group or role. "
                f"jobsub expects a token with group {group} and role {role}. "
                f"Instead, BEARER_TOKEN_FILE contains a token with group {theirs[0]} and role {theirs[1]}.",
            )
        return path


def job_scopes(token: Path, paths: list[str], scopes: list[str]) -> list[str]:
    """The rights of a job's token: those of the submitter's without `storage.modify`, and what is asked for, if it is below one of his."""
    claims = claims_of(token) or {}
    own = str(claims.get("scope", "")).split()
    wanted = [scope for scope in own if scope.partition(":")[0] != "storage.modify"]
    for path in paths:
        path = os.path.normpath(path)
        if path.startswith(("/pnfs/", "/eos/")):
            cut = path[path.index("/", 1) :]
            sys.stderr.write(f"warning: detected wrong --need-storage-modify path:\n converting from {path}\n            to {cut}\n\n")
            path = cut
        above = [scope.partition(":")[2] for scope in own if scope.startswith("storage.modify:")]
        if not any(os.path.commonpath([root, path]) == root for root in above):
            raise Failed("PermissionError", f"Unable to add 'storage.modify:{path}' scope given initial scope '{own}'")
        wanted.append(f"storage.modify:{path}")
    return sorted(wanted + scopes, key=len)


def claims_of(path: Path) -> dict[str, Any] | None:
    """What a token says; None if there is none or it cannot be read."""
    try:
        part = path.read_text().strip().split(".")[1]
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (OSError, IndexError, ValueError):
        return None


def check_line(line: str) -> None:
    """jobsub's weak check of a `-l` line: it catches little (`bad "line` passes)."""
    if line and not re.match(r"""^[^=]*(=.*)?$""", line, re.DOTALL):
        raise Failed("SyntaxError", f"in --lines '{line}'")


def hang() -> None:
    while True:
        signal.pause()
