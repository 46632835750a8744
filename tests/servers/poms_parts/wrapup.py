"""wrapup_tasks and what follows from it: recoveries, then dependents (webservice/SubmissionsPOMS.py, SAMSpecifics.py)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.servers.poms_parts.problems import rewrite
from tests.servers.poms_parts.records import POMS_USER, STATUSES, Caller, Records, Submission, now

# Starts a launch with the arguments of launch_jobs.
Launcher = Callable[..., object]


def never(_: Submission) -> bool:
    """What SAM says of submissions whose completion type is `located`."""
    return False


def one_file(_: str) -> int:
    """POMS takes it for one file when SAM cannot count."""
    return 1


@dataclass
class Wrapup:
    """Looks through completed submissions; `located` and `count_files` (of dimensions) stand for SAM."""

    records: Records
    launch: Launcher
    located: Callable[[Submission], bool] = never
    count_files: Callable[[str], int] = one_file
    # Launches of recoveries and dependents that failed: POMS logs them, and never tries again.
    swallowed: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        completed = [submission for submission in self.records.submissions.values() if submission.status == "Completed"]
        said = ["wrapping up:", f"Completed submissions_ids: {[submission.submission_id for submission in completed]}"]
        finished = [submission for submission in completed if self._is_finished(submission)]
        said.append(f"marking submissions {[submission.submission_id for submission in finished]} located ")
        for submission in finished:
            submission.history.append((STATUSES["Located"], now()))
            submission.updated = now()
        for submission in finished:
            said.append(f"Starting finish_up_submissions items for submission {submission.submission_id}")
            try:
                if not self._recover(submission):
                    self._launch_dependents(submission)
            except Exception as error:  # noqa: BLE001
                self.swallowed.append(f"submission {submission.submission_id}: {rewrite(error)}")
        return said

    def _is_finished(self, submission: Submission) -> bool:
        if submission.stage_snapshot.completion_type == "complete":
            return True
        return bool(submission.submission_params.get("force_located")) or self.located(submission)

    def _caller(self, submission: Submission) -> Caller:
        stage = self.records.stages[submission.campaign_stage_id]
        return Caller(self.records.username(submission.creator), stage.experiment, stage.creator_role)

    def _recover(self, current: Submission) -> bool:
        """Launch the next recovery of a submission, or of the one this is a recovery of.

        The position is advanced before the launch, but not at the very first: so the first entry is launched twice, and if it is
        `consumed_status` on the same files both times. Known of the real server, and kept.
        """
        first = current if current.recovery_tasks_parent is None else self.records.submissions[current.recovery_tasks_parent]
        recoveries = first.job_type_snapshot.recoveries
        iterate = first.recovery_position is not None
        position = first.recovery_position or 0
        first.recovery_position = position
        while position < len(recoveries):
            kind, overrides = recoveries[position]
            files, dataset = self._recovery_dataset(first if position == 0 else current, kind)
            if iterate:
                position += 1
                first.recovery_position = position
            iterate = True
            if files > 0:
                self.launch(
                    self._caller(first),
                    campaign_stage_id=first.campaign_stage_id,
                    launcher=first.creator,
                    dataset_override=dataset,
                    parent_submission_id=first.submission_id,
                    param_overrides=list(overrides),
                    test_launch=first.submission_params.get("test", False),
                )
                return True
        return False

    def _recovery_dataset(self, submission: Submission, kind: str) -> tuple[int, str | None]:
        dimensions = self._dimensions(submission, kind)
        files = self.count_files(dimensions)
        name = None
        if files > 0:
            name = f"poms_recover_{uuid.uuid4()}_{submission.submission_id}_{submission.recovery_position or 0}"
        workflow: dict[str, Any] = submission.submission_params.setdefault("workflow", {})
        workflow.setdefault("recoveries", []).append({"name": name, "count": files, "dims": dimensions})
        return files, name

    def _dimensions(self, submission: Submission, kind: str) -> str:
        project = submission.project
        match kind:
            case "added_files":
                return f"defname:{submission.dataset} minus snapshot_for_project_name {project}"
            case "delivered_not_consumed":
                return "project_name %s and consumed_status skipped,unknown,delivered,transferred,unconsumed,cancelled"
            case "pending_files":
                patterns = (submission.job_type_snapshot.output_file_patterns or "%").split(",")
                depth = submission.stage_snapshot.output_ancestor_depth
                outputs = [
                    f"{'isparentof:( ' * depth} version {submission.stage_snapshot.software_version} and "
                    f"{pattern if ' ' in pattern else f'file_name like {pattern}'} and "
                    f"create_date > '{submission.created:%Y-%m-%dT%H:%M:%S%z}' {')' * depth}"
                    for pattern in patterns
                ]
                return f"snapshot_for_project_name {project} minus ( {' and '.join(outputs)} )"
            case _:
                # process_status has dimensions of SAM's own, which the double takes for these.
                return f"snapshot_for_project_name {project} minus (project_name {project} and consumed_status co%)"

    def _launch_dependents(self, submission: Submission) -> None:
        """Launch the stages that need this one, on dataset names only: `parent_submission_id` is not handed on."""
        if submission.recovery_tasks_parent is not None:
            submission = self.records.submissions[submission.recovery_tasks_parent]
        stage_id, test = submission.campaign_stage_id, submission.submission_params.get("test", False)
        caller = self._caller(submission)
        user = f"{caller.username}_" if caller.role == "analysis" else ""
        children = sorted(row.provides_campaign_stage_id for row in self.records.dependencies if row.needs_campaign_stage_id == stage_id)
        number = 0
        for child in children:
            dataset = None
            if child != stage_id:
                number += 1
                dataset = f"poms_{user}depends_{submission.submission_id}_{number}"
            self.launch(caller, campaign_stage_id=child, launcher=submission.creator, dataset_override=dataset, test_launch=test)


def must_be_superuser(caller: Caller) -> None:
    if caller.username != POMS_USER:
        raise PermissionError(f"user {caller.username} is not a superuser")
