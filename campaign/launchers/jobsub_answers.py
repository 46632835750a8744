"""What jobsub_lite 1.12 prints, read: job ids, concatenated JSON arrays between other lines, and which lines are complaints.

Its exit codes say little: 0 for a failed `condor_submit` and for whatever happened to `condor_q` (its `lib/condor.py`, `lib/mains/cmd.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from campaign.launchers.jobsub_command import ATTEMPT
from campaign.launchers.protocol import JobStatus, Seen
from dune_prompt.errors import CLASS_OF_EXIT_CODE, ConfigError, DunePromptError, TransientError
from dune_prompt.process import Completed

Ad = Mapping[str, Any]

# JobStatus of a job's ad (HTCondor manual, "Job ClassAd Attributes").
IDLE, RUNNING, REMOVED, COMPLETED, HELD, TRANSFERRING_OUTPUT, SUSPENDED = range(1, 8)
# HoldReasonCode: the files of the job have not all arrived at the queue.
SPOOLING = 16
# `timeout` on the worker, and what jobsub's script says after a SIGTERM, which it notices only when the payload has ended.
TIMED_OUT, TERMINATED = 124, 255

_SUBMITTED = re.compile(r"Use job id (?P<cluster>\d+)(?:\.\d+)?@(?P<schedd>\S+) to retrieve output")
_REMOVED = re.compile(r"^Job (?P<job>\d+\.\d+) (?:marked for removal|not found|already marked for removal)", re.MULTILINE)
_JOBSUB_ID = re.compile(r"(?P<job>\d+\.\d+)@(?P<schedd>\S+)")
# How lines begin that say a command has failed. Python's own report of the tracing library that is missing everywhere begins otherwise.
_COMPLAINT = re.compile(
    r"^(?:-- Failed .*|Error: .*|ERROR: .*|ERROR \".*|(?:AUTHENTICATE|CEDAR|SECMAN|DAEMON|GSI):\d+:.*|.*[Ff]ailed to (?:fetch|connect).*"
    r"|.*(?:can't find|cannot get|Can't find) address .*|.*jobsub_\w+: error: .*)$",
    re.MULTILINE,
)
_SILENT = re.compile(r"^-- Failed to fetch ads from: .* : (?P<schedd>\S+)\s*$", re.MULTILINE)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}(?:\.[A-Za-z0-9_-]*)?")
_TEXT = 300

# What in a complaint tells that somebody has to change something. Only what is sure: tasks are parked on it.
_WRONG_SETTING = re.compile(
    r"jobsub_\w+: error:|--global-pool value must be one of|the wrong group or role|Unable to add 'storage\.|Error: Site\w+ConflictError"
    r"|Error: SyntaxError: in --lines|MAX_JOBS_PER_SUBMISSION|on Line \d+ of submit file|[Ff]ailed to parse .*expression"
)

# A class for each reason of a hold: the first that is found in the reason, or has the code.
_HOLDS: tuple[tuple[str, frozenset[int], re.Pattern[str]], ...] = (
    ("transient", frozenset({4}), re.compile(r"credential|token", re.IGNORECASE)),
    ("memory", frozenset({34}), re.compile(r"memory", re.IGNORECASE)),
    ("time_limit", frozenset({46, 47}), re.compile(r"run ?time|duration|lifetime|wall ?(?:clock|time)", re.IGNORECASE)),
    ("crashed", frozenset({32}), re.compile(r"disk", re.IGNORECASE)),
    ("lost", frozenset({1}), re.compile(r"via condor_hold", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True)
class Queue:
    """What a look at the queues brought: the ads of jobs, the complaint if there was one, and the queues known not to have answered."""

    ads: tuple[Ad, ...]
    complaint: str | None
    silent: frozenset[str]


def submitted(stdout: str) -> tuple[str, str] | None:
    """The cluster and the queue that `jobsub_submit` names, None if it does not: then the submission has failed, whatever its exit code."""
    found = list(_SUBMITTED.finditer(stdout))
    return (found[-1]["cluster"], found[-1]["schedd"]) if found else None


def handle_of(ad: Ad) -> str | None:
    """`<cluster>.<index>@<schedd>` of a job's ad; None if the ad does not tell the queue."""
    if match := _JOBSUB_ID.fullmatch(str(ad.get("JobsubJobId", ""))):
        return match[0]
    schedd, _, rest = str(ad.get("GlobalJobId", "")).partition("#")
    return f"{rest.partition('#')[0]}@{schedd}" if rest else None


def queue(answer: Completed) -> Queue:
    """What `jobsub_q -json` says.

    Raises:
        TransientError: it failed, or its answer is cut.
    """
    complaint = complaint_in(answer.stderr)
    if answer.returncode != 0:
        raise TransientError(f"jobsub_q: exit code {answer.returncode}: {complaint or last_words(answer)}")
    ads = arrays(answer.stdout)
    return Queue(tuple(ads), complaint, frozenset(match["schedd"] for match in _SILENT.finditer(answer.stderr)))


def arrays(stdout: str) -> list[Ad]:
    """The elements of all JSON arrays in a text: one array for each queue with matches, other lines before, between, and after.

    Raises:
        TransientError: an array is not complete.
    """
    decoder = json.JSONDecoder(strict=False)
    found: list[Ad] = []
    position = 0
    while position < len(stdout):
        end_of_line = stdout.find("\n", position)
        end_of_line = len(stdout) if end_of_line < 0 else end_of_line
        if stdout.startswith("[", position):
            try:
                value, position = decoder.raw_decode(stdout, position)
            except ValueError:
                # condor_q begins with a bracket alone on its line; what begins otherwise is somebody's message.
                if stdout[position:end_of_line].strip() == "[":
                    raise TransientError("jobsub_q: its answer is cut") from None
            else:
                found += [item for item in value if isinstance(item, dict)]
                continue
        position = end_of_line + 1
    return found


def by_attempt(ads: Iterable[Ad], handles: Mapping[str, str | None]) -> tuple[dict[str, Ad], list[str]]:
    """The ad of each attempt, and the handles of jobs that are a second time of one.

    `handles` are those known by attempt: the job there counts. Among strangers it is one that is not on hold, and the first of those.
    """
    found: dict[str, list[Ad]] = {}
    attempt_of = {handle: attempt for attempt, handle in handles.items() if handle}
    for ad in ads:
        attempt = ad.get(ATTEMPT) or attempt_of.get(handle_of(ad) or "")
        if isinstance(attempt, str):
            found.setdefault(attempt, []).append(ad)
    chosen: dict[str, Ad] = {}
    second: list[str] = []
    for attempt, several in found.items():
        known = handles.get(attempt)
        several.sort(key=lambda ad: (handle_of(ad) != known, number(ad, "JobStatus") in (HELD, REMOVED), number(ad, "QDate") or 0))
        chosen[attempt] = several[0]
        second += [handle for ad in several[1:] if (handle := handle_of(ad)) and number(ad, "JobStatus") not in (REMOVED, COMPLETED)]
    return chosen, second


def status_of(ad: Ad) -> JobStatus:
    """The state of a job from its ad.

    A removed job counts as running while it is in the queue: its payload is not told and runs on (jobsub's `simple.sh` traps the signal).
    """
    state = number(ad, "JobStatus")
    handle, host = handle_of(ad), host_of(ad)
    site = ad.get("MATCH_GLIDEIN_Site") or ad.get("MATCH_EXP_JOB_GLIDEIN_Site")
    where = f"at {site}" if isinstance(site, str) else None
    if state == IDLE:
        return JobStatus(Seen.WAITING, handle=handle, host=None)
    if state in (RUNNING, TRANSFERRING_OUTPUT, SUSPENDED):
        return JobStatus(Seen.RUNNING, message=where, handle=handle, host=host)
    if state == REMOVED:
        reason = str(ad.get("RemoveReason", ""))[:_TEXT]
        if number(ad, "LastJobStatus") == HELD:
            return JobStatus(Seen.GONE, _class_of_hold(None, reason), f"removed while on hold: {reason}", handle, host)
        return JobStatus(Seen.RUNNING, message=f"removed, its payload may still run: {reason}", handle=handle, host=host)
    if state == HELD:
        code, reason = number(ad, "HoldReasonCode"), str(ad.get("HoldReason", ""))[:_TEXT]
        return JobStatus(Seen.GONE, _class_of_hold(code, reason), f"on hold ({code}): {reason}", handle, host)
    if state == COMPLETED:
        return JobStatus(Seen.GONE, *_end_of(ad), handle=handle, host=host)
    return JobStatus(Seen.UNKNOWN, message=f"JobStatus {ad.get('JobStatus')}", handle=handle, host=host)


def removed_by_policy(ad: Ad) -> tuple[str, str] | None:
    """Class and reason of a removal that neither we nor another user asked for; None for other jobs."""
    reason = str(ad.get("RemoveReason", ""))[:_TEXT]
    if number(ad, "JobStatus") != REMOVED or not reason or "via condor_rm" in reason:
        return None
    return _class_of_hold(None, reason), f"removed: {reason}"


def is_spooling(ad: Ad) -> bool:
    """The files of the job have not all arrived at the queue yet; it is on hold until then."""
    return number(ad, "JobStatus") == HELD and number(ad, "HoldReasonCode") == SPOOLING


def held_for_s(ad: Ad, now: float) -> float:
    since = number(ad, "EnteredCurrentStatus") or number(ad, "QDate")
    return now - since if since else 0.0


def host_of(ad: Ad) -> str | None:
    """The machine of `slot1_2@glidein_1_2@machine`."""
    host = ad.get("RemoteHost") or ad.get("LastRemoteHost")
    return host.rpartition("@")[2] if isinstance(host, str) else None


def number(ad: Ad, attribute: str) -> int | None:
    """A whole number of the ad; None for an undefined one and for an expression, which JSON has as a text."""
    value = ad.get(attribute)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def not_removed(stdout: str, stderr: str, handles: Iterable[str]) -> list[str]:
    """The handles that `jobsub_rm` says nothing of: neither that the job is removed nor that there is none."""
    answered = {match["job"] for match in _REMOVED.finditer(f"{stdout}\n{stderr}")}
    return [handle for handle in handles if handle.partition("@")[0] not in answered]


def complaint_in(stderr: str) -> str | None:
    """The first line that says that something has failed."""
    match = _COMPLAINT.search(stderr)
    return without_tokens(match[0].strip()) if match else None


def refusal(answer: Completed) -> DunePromptError:
    """Why `jobsub_submit` named no job, as the error to raise."""
    text = answer.stderr
    lines = [line.strip() for line in text.splitlines() if _COMPLAINT.match(line)]
    if lines and (failed := lines[0]).startswith("Error: condor_submit exited"):
        # condor's own reason comes before and may have any form.
        before = [line.strip() for line in text.partition(failed)[0].splitlines() if line.strip(" =-")]
        lines.insert(0, " ".join(before[-3:]))
    reason = without_tokens(" | ".join(lines)) if lines else last_words(answer)
    message = f"jobsub_submit named no job (exit code {answer.returncode}): {reason}"
    return ConfigError(message) if answer.returncode == 2 or _WRONG_SETTING.search(text) else TransientError(message)


def last_words(answer: Completed) -> str:
    return without_tokens((answer.stderr or answer.stdout).strip()[-_TEXT:]) or "it printed nothing"


def without_tokens(text: str) -> str:
    """A text of a program, short, with what looks like a token taken out."""
    return _TOKEN.sub("<token>", text)[:_TEXT]


def _class_of_hold(code: int | None, reason: str) -> str:
    for name, codes, pattern in _HOLDS:
        if code in codes or pattern.search(reason):
            return name
    return "site"


def _end_of(ad: Ad) -> tuple[str | None, str]:
    """Class and words of how a completed job ended."""
    if ad.get("ExitBySignal") is True:
        return "crashed", f"killed by signal {ad.get('ExitSignal')}"
    code = number(ad, "ExitCode")
    if code == TIMED_OUT:
        return "time_limit", "ended by its time limit (exit code 124)"
    if code == TERMINATED:
        return None, "ended after it was removed, held or evicted (exit code 255)"
    if code is None or code == 0:
        return None, "ended" if code is None else "ended with exit code 0"
    return CLASS_OF_EXIT_CODE.get(code, "crashed"), f"ended with exit code {code}"
