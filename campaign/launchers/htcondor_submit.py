"""The submit file of a submission: one cluster, one process a job. All that goes into it is checked first."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from campaign.launchers.protocol import AVOID_FOR_S, Submission
from dune_prompt.errors import ConfigError
from dune_prompt.settings.launchers import HTCondorLauncherSettings
from templates import render

ITEMS = "htcondor.jobs"
WRAPPER = "job.sh"
# What comes back must not be written over a report that is just being read: the engine may have got it from the job itself.
ARRIVED = "report.arrived.json"
# Ended jobs stay in the queue this long; after that the history tells of them, if it is kept.
KEPT_S = 900
# Held jobs, and those without their worker, are removed by us at once; if nobody looks they leave by themselves.
LEFT_S = 3600
# `job.sh` kills stages that do not end within 90 s.
GRACE_S = 120
# HTCondor gives a job no PATH.
PATH = "/usr/local/bin:/usr/bin:/bin"

_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_LINE = re.compile(r"(?P<name>(?:\+|MY\.)?[A-Za-z_][A-Za-z0-9_.]*)\s*=(?!=)\s*\S.*", re.IGNORECASE)
# What the template sets, and what would make an attempt start more than once.
_TAKEN_LINES = frozenset(
    {"pprequestid", "ppattempt", "batch_name", "jobbatchname", "universe", "container_image", "docker_image", "transfer_container"}
    | {"executable", "arguments", "args", "environment", "env", "getenv", "initialdir", "iwd", "output", "error", "input", "queue"}
    | {"should_transfer_files", "when_to_transfer_output", "transfer_executable", "transfer_input_files", "transfer_output_files"}
    | {"transfer_output", "transfer_error", "transfer_output_remaps", "output_destination", "stream_output", "stream_error"}
    | {"request_cpus", "request_memory", "request_disk", "requirements", "allowed_execute_duration", "allowed_job_duration"}
    | {"too_large", "too_long", "periodic_hold", "periodic_hold_reason", "periodic_release", "periodic_remove", "job_max_vacate_time"}
    | {"leave_in_queue", "leavejobinqueue", "max_retries", "retry_until", "on_exit_remove", "on_exit_hold", "hold", "notification"}
    | {"max_materialize", "max_idle", "attempt", "job_dir"}
)


def submit_file(settings: HTCondorLauncherSettings, submission: Submission) -> str:
    """The text of the submit file.

    Raises:
        ConfigError: something in it would not arrive as it is.
    """
    jobs = submission.jobs
    hosts = dict.fromkeys(host for job in jobs for host in job.avoid_hosts)
    conditions = [_expression("requirements", settings.requirements)] if settings.requirements else []
    cpus = max(job.cpus for job in jobs)
    if submission.bundle is None:
        executable, arguments = Path(sys.executable), ["-I", str(jobs[0].script), "assignment.json"]
    else:
        executable, arguments = submission.folder / WRAPPER, [submission.bundle.name, "assignment.json"]
        if "," in str(submission.bundle):
            raise _refused("workspace", str(submission.bundle), "HTCondor ends the name of a file at a comma")
    for path in (submission.folder, submission.bundle or executable, jobs[0].script):
        _path("workspace", str(path))
    if settings.image:
        _path("image", settings.image)
    values: dict[str, Any] = {
        "submission": name("id of the submission", submission.id),
        "campaign": submission.campaign,
        "version": submission.version,
        "step": submission.step,
        "image": settings.image,
        "image_in_place": settings.image is not None and (settings.share_files or settings.image.startswith("/cvmfs/")),
        "bundle": submission.bundle,
        "executable": executable,
        "arguments": arguments,
        "arrived": ARRIVED,
        "environment": [f"PATH={PATH}", f"OMP_NUM_THREADS={cpus}", f"OPENBLAS_NUM_THREADS={cpus}", "PYTHONDONTWRITEBYTECODE=1"],
        "cpus": cpus,
        "memory_mib": max(math.ceil(max(job.memory_bytes for job in jobs) / 2**20), 1),
        "disk_kib": max(math.ceil(max(job.disk_bytes for job in jobs) / 2**10), 1),
        "lifetime_s": math.ceil(max(job.lifetime_s for job in jobs)),
        "conditions": [*conditions, *(_is_not(host) for host in hosts)],
        "grace_s": GRACE_S,
        "kept_s": KEPT_S,
        "left_s": LEFT_S,
        "lines": [_submit_line(f"lines[{number}]", line) for number, line in enumerate(settings.lines)],
        "items": submission.folder / ITEMS,
    }
    return render("htcondor.sub.j2", **values)


def item_file(submission: Submission) -> str:
    """What the cluster's jobs differ in, a line each: attempt and folder. The last of a line's values may have blanks.

    Raises:
        ConfigError: something in it would not arrive as it is.
    """
    lines = []
    for job in submission.jobs:
        _path("workspace", str(job.job_dir))
        lines.append(f"{name('attempt', job.attempt)} {job.job_dir}\n")
    return "".join(lines)


def one_of(attribute: str, names: Iterable[str]) -> str:
    """A constraint: the attribute is one of these names."""
    return f'stringListMember({attribute}, "{",".join(name(attribute, value) for value in names)}")'


def name(setting: str, value: str) -> str:
    """A name inside a ClassAd string, or on a command line."""
    if not _NAME.fullmatch(value):
        raise _refused(setting, value, "only letters, digits and _.- are allowed")
    return value


def _path(setting: str, value: str) -> None:
    if any(not letter.isprintable() or letter in '"\\' for letter in value) or "$(" in value or value != value.strip():
        raise _refused(setting, value, "no line breaks, double quotes, backslashes, `$(`, or blanks at its ends are allowed")


def _expression(setting: str, value: str) -> str:
    """One line whose parentheses and double quotes match, so that what follows it keeps its meaning."""
    if any(not letter.isprintable() for letter in value) or value.rstrip().endswith("\\"):
        raise _refused(setting, value, "one line is allowed, without a backslash at its end")
    depth, quoted = 0, False
    for letter in re.sub(r"\\.", "", value):
        if letter == '"':
            quoted = not quoted
        elif not quoted:
            depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
    if depth or quoted:
        raise _refused(setting, value, "its parentheses or double quotes do not match")
    return value


def _submit_line(setting: str, value: str) -> str:
    """A line of the submit file, `name = value` or `+Attribute = value`, which changes nothing that is set here."""
    if (match := _LINE.fullmatch(_expression(setting, value))) is None:
        raise _refused(setting, value, "a line is `name = value` or `+Attribute = value`")
    if re.sub(r"^(\+|MY\.)", "", match["name"], flags=re.IGNORECASE).lower() in _TAKEN_LINES:
        raise _refused(setting, value, f"{match['name']} is set by dune-prompt itself")
    return value


def _is_not(host: str) -> str:
    """A machine is not this host, or the job has waited long enough for another; a short name is that of the host in any domain."""
    machine = "TARGET.Machine" if "." in host else 'split(TARGET.Machine, ".")[0]'
    return f'{machine} != "{name("host to avoid", host)}" || time() - MY.QDate > {AVOID_FOR_S}'


def _refused(setting: str, value: str, reason: str) -> ConfigError:
    return ConfigError(f"htcondor: {setting}: {value[:200]!r}: {reason}")
