"""What the ads of our own HTCondor jobs say: where a job is, and how it ended.

Attributes and codes: HTCondor manual, "Job ClassAd Attributes". What is the same for jobs behind jobsub is read as there.
"""

from __future__ import annotations

import re
from dataclasses import replace

from campaign.launchers import jobsub_answers
from campaign.launchers.jobsub_answers import COMPLETED, HELD, IDLE, REMOVED, Ad, handle_of, host_of, is_spooling, number
from campaign.launchers.protocol import JobStatus, Seen
from dune_prompt.errors import CLASS_OF_EXIT_CODE

# HoldReasonCode: files could not be brought back, or to the worker.
TRANSFER_OUTPUT, TRANSFER_INPUT = 12, 13

ATTRIBUTES = (
    "ClusterId,ProcId,GlobalJobId,JobStatus,LastJobStatus,EnteredCurrentStatus,QDate,NumJobStarts,HoldReason,HoldReasonCode,"
    "RemoveReason,RemoteHost,LastRemoteHost,MATCH_GLIDEIN_Site,ExitBySignal,ExitCode,ExitSignal,CompletionDate,PPRequestId,PPAttempt"
)

_NO_REPORT = re.compile(r"report\.json.*No such file", re.DOTALL)
_BY_HAND = re.compile(r"via condor_rm|NumJobStarts")
_TEXT = 300


def status_of(ad: Ad) -> JobStatus:
    """The state of a job that is in the queue. A removed one counts as running until it has left: its payload is being told to end."""
    state, status = number(ad, "JobStatus"), jobsub_answers.status_of(ad)
    if is_spooling(ad):
        return replace(status, seen=Seen.WAITING, ended_by=None, message="its files are on the way to the queue")
    if state == COMPLETED:
        return _ended(ad)
    if state == IDLE and number(ad, "NumJobStarts"):
        return replace(status, seen=Seen.GONE, ended_by="lost", message="it has lost its worker", host=host_of(ad))
    if state == HELD and number(ad, "HoldReasonCode") in (TRANSFER_OUTPUT, TRANSFER_INPUT):
        # It is on hold only because it has left nothing to bring back.
        return _ended(ad) if _NO_REPORT.search(str(ad.get("HoldReason"))) else replace(status, ended_by="site")
    if state == REMOVED and status.seen is Seen.RUNNING:
        return replace(status, message=f"removed, it is being ended: {_reason(ad)}"[:_TEXT])
    return status


def status_in_history(ad: Ad) -> JobStatus:
    """How a job ended that has left the queue."""
    if number(ad, "JobStatus") == COMPLETED:
        return _ended(ad)
    status = jobsub_answers.status_of(ad)
    if status.seen is not Seen.GONE:  # it was not on hold when it was removed
        policy = None if _BY_HAND.search(_reason(ad)) else jobsub_answers.removed_by_policy(ad)
        status = replace(status, seen=Seen.GONE, ended_by=policy[0] if policy else "lost", message=f"removed: {_reason(ad)}")
    return status


def stays(ad: Ad) -> bool:
    """Whether a job that is over is still in the queue and would stay there."""
    return number(ad, "JobStatus") in (HELD, IDLE)


def _ended(ad: Ad) -> JobStatus:
    if ad.get("ExitBySignal") is True:
        ended_by: str | None = "crashed"
        message = f"killed by signal {ad.get('ExitSignal')}"
    else:
        code = number(ad, "ExitCode")
        ended_by = CLASS_OF_EXIT_CODE.get(code, "crashed") if code else None
        message = f"ended with exit code {code}" if code is not None else "ended"
    return JobStatus(Seen.GONE, ended_by, message, handle_of(ad), host_of(ad))


def _reason(ad: Ad) -> str:
    return str(ad.get("RemoveReason", ""))[:_TEXT]
