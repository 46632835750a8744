"""What moves a submission from status to status (webservice/SubmissionsPOMS.py)."""

from __future__ import annotations

from typing import Any

from tests.servers.poms_parts.launching import allocate, stage_called
from tests.servers.poms_parts.records import POMS_USER, STATUSES, Caller, Records, Submission, now

FINAL = ("Located", "Removed", "Failed")


def update_submission(
    records: Records,
    caller: Caller,
    submission_id: str,
    jobsub_job_id: str,
    pct_complete: str | None = None,
    status: str | None = None,
    project: str | None = None,
) -> str:
    """Take over what is reported; a status that is not known, or not allowed from here, is `Ok.` too."""
    submission = records.submissions.get(int(submission_id))
    if submission is None:
        return "Unknown."
    submission.jobsub_job_id = jobsub_job_id or submission.jobsub_job_id
    submission.project = project or submission.project
    if status == "Running" and pct_complete and float(pct_complete) >= submission.stage_snapshot.completion_pct:
        status = "Completed"
    if status is not None:
        move(submission, status, caller.username)
    return "Ok."


def move(submission: Submission, status: str, username: str) -> None:
    """Enter a status, unless POMS silently does not.

    Only the user "poms" (agent, cron) may not leave the final statuses: anybody else can take a submission from Located to New.
    """
    if status == "Failed" and submission.recovery_tasks_parent is not None:
        status = "Completed"
    if status not in STATUSES:
        return
    last = submission.status
    rolls_back = last == "Completed" and STATUSES[status] <= STATUSES["Completed"]
    if (last in FINAL and username == POMS_USER) or rolls_back or last == status:
        return
    moment = now()
    submission.history.append((STATUSES[status], moment))
    if status in FINAL:
        submission.updated = moment


def get_submission_id_for(
    records: Records,
    caller: Caller,
    campaign: str | None = None,
    command_executed: str = "",
    input_dataset: str = "",
    parent_submission_id: str | None = None,
    submission_id: str | None = None,
    launch_time: str | None = None,
    task_id: str | None = None,
    user: str | None = None,
    campaign_stage_id: str | None = None,
    test: str | None = None,
) -> str:
    """Register a submission from outside, or say what was executed for one."""
    submission_id = submission_id or task_id
    stage = stage_called(records, caller, campaign or campaign_stage_id or "None", part_of_name=True)
    if submission_id:
        submission = records.submissions[int(submission_id)]
        submission.command_executed = command_executed or submission.command_executed
        if caller.username != POMS_USER:
            submission.creator = records.experimenter(caller.username)
    else:
        submission = allocate(records, caller, stage)
        submission.command_executed = command_executed
    if parent_submission_id not in (None, "None"):
        submission.recovery_tasks_parent = int(parent_submission_id)
    return f"Task={submission.submission_id}"


def force_locate_submission(records: Records, caller: Caller, submission_id: str, **_: Any) -> str:
    records.submissions[int(submission_id)].submission_params["force_located"] = True
    return "Ok."
