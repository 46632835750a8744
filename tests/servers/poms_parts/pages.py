"""Methods that show something; all take `fmt=json`, and answer a web page without it (webservice/CampaignsPOMS.py, StagesPOMS.py)."""

from __future__ import annotations

import re
from typing import Any

from tests.servers.poms_parts.records import RECOVERY_TYPES, STATUS_NAMES, Caller, Records, Stage, one
from tests.servers.poms_parts.rows import campaign_row, stage_row, submission_row

Form = dict[str, Any]
UNKNOWN_JOB = "unknown.0@unknown.un.known"
FROM_PARENT = re.compile(r"poms_(depends|recover)_(?:[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}_)?(\d+)_[0-9]")


def get_campaign_id(records: Records, caller: Caller, campaign_name: str) -> int | None:
    campaign = records.campaign_named(caller.experiment, campaign_name)
    return campaign.campaign_id if campaign else None


def get_campaign_stage_id(records: Records, caller: Caller, campaign_name: str, campaign_stage_name: str) -> int | None:
    stage = records.stage_named(caller.experiment, campaign_name, campaign_stage_name)
    return stage.campaign_stage_id if stage else None


def show_campaigns(records: Records, caller: Caller, **view: Any) -> Form:
    """Campaigns of the caller's experiment and role, by name; the active ones only, unless `update_view` and `view_…` say otherwise."""
    campaigns = sorted(records.campaigns.values(), key=lambda campaign: campaign.name)
    shown = [
        campaign_row(records, campaign)
        for campaign in campaigns
        if campaign.experiment == caller.experiment and campaign.creator_role == caller.role and _is_in_view(view, campaign.active)
    ]
    data = {"authorized": [True] * len(shown), "authorized_shifter": [True] * len(shown), "watching": []}
    return {"tl": shown, "last_activity": "", "msg": "OK", "data": data}


def show_campaign_stages(
    records: Records, caller: Caller, campaign_ids: str | None = None, campaign_name: str | None = None, **view: Any
) -> Form:
    """`campaign_ids` are ids of stages. A detached stage is in no campaign, active or not, and never shown."""
    wanted = None if not campaign_ids else {int(stage_id) for stage_id in campaign_ids.split(",")}
    shown = []
    for stage in records.stages.values():
        campaign = records.campaign_of(stage)
        if campaign is None or (stage.experiment, stage.creator_role) != (caller.experiment, caller.role):
            continue
        if (wanted is None or stage.campaign_stage_id in wanted) and campaign_name in (None, "", campaign.name):
            shown += [stage] if _is_in_view(view, campaign.active) else []
    rows = [stage_row(records, stage) for stage in shown]
    return {
        "campaign_stages": rows,
        "data": {"authorized": [True] * len(rows)},
        "template": "show_campaign_stages_stats.html" if campaign_ids else "show_campaign_stages.html",
        "limit_experiment": caller.experiment,
        "key": "",
    }


def campaign_stage_submissions(
    records: Records,
    caller: Caller,
    campaign_name: str = "",
    stage_name: str = "",
    campaign_stage_id: str | None = None,
    campaign_id: str | None = None,
) -> Form:
    """Where there are no submissions, there is no key `submissions`, unless the campaign or the stage is not known."""
    nothing = (None, "None", "")
    data: Form = {"tmin": None, "tmax": None, "tdays": None}
    if campaign_name and campaign_id in nothing:
        known = get_campaign_id(records, caller, campaign_name)
        if known is None:
            return {"data": data | {"submissions": []}}
        campaign_id = str(known)
    if stage_name not in (*nothing, "*") and campaign_stage_id in nothing:
        named = [stage for stage in records.stages.values() if str(stage.campaign_id) == campaign_id and stage.name == stage_name]
        if not named:
            return {"data": data | {"submissions": []}}
        campaign_stage_id = str(named[0].campaign_stage_id)
    if campaign_id in nothing and campaign_stage_id in nothing:
        raise AssertionError("campaign_stage_submissions needs either campaign_id or campaign_stage_id not None")
    if campaign_stage_id not in nothing:
        stage_ids = {int(str(campaign_stage_id))}
    else:
        stage_ids = {stage.campaign_stage_id for stage in records.stages.values() if str(stage.campaign_id) == campaign_id}
    found = {key: submission for key, submission in records.submissions.items() if submission.campaign_stage_id in stage_ids}
    parents = {key: FROM_PARENT.match(submission.dataset or "") for key, submission in found.items()}
    data["depends"] = {key: int(match[2]) if match else None for key, match in parents.items()}
    data["depth"] = dict.fromkeys(found, 0)
    for key, parent in data["depends"].items():
        data["depth"][key] = data["depth"].get(parent, -1) + 1
    data["darrow"] = {key: ("&#x21b3;" if match[1] == "depends" else "&#x21ba;") if match else "" for key, match in parents.items()}
    rows = []
    for key, submission in found.items():
        cluster, _, schedd = (submission.jobsub_job_id or UNKNOWN_JOB).partition("@")
        rows.append(
            {
                "submission_id": key,
                "jobsub_job_id": submission.jobsub_job_id,
                "created": submission.created,
                "creator": records.username(submission.creator),
                "status": submission.status,
                "jobsub_cluster": cluster,
                "jobsub_schedd": schedd,
                "campaign_stage_name": records.stages[submission.campaign_stage_id].name,
                "available_output": 0,
                "output_dims": "",
            }
        )
    return {"data": data | ({"submissions": rows} if rows else {})}


def submission_details(records: Records, caller: Caller, submission_id: str) -> Form:
    """The statuses by SAM's counts are empty here; recoveries are never found, since their names start with a uuid."""
    submission = one(row for row in records.submissions.values() if row.submission_id == int(submission_id))
    dependents = re.compile(f"poms_depends_{submission_id}_")
    return {
        "submission": submission_row(records, submission),
        "history": [
            {"submission_id": submission.submission_id, "created": created, "status_id": status_id, "status_type": None}
            for status_id, created in submission.history
        ],
        "dataset": submission.dataset,
        "recoverymap": {name: [number, ""] for number, name in enumerate(RECOVERY_TYPES, start=1)},
        "statusmap": STATUS_NAMES,
        "ds": f"{submission.created:%Y%m%d_%H%M%S}",
        "submission_log_format": 3,
        "recovery_ids": [],
        "depend_ids": [row.submission_id for row in records.submissions.values() if dependents.match(row.dataset or "")],
        "statuses": [],
    }


def running_submissions(records: Records, caller: Caller, campaign_id_list: str) -> dict[int, int] | list[tuple[int, str | None, str]]:
    """Counts by campaign id, or with an empty list all submissions that run: id, job id, experiment."""
    running = [submission for submission in records.submissions.values() if submission.status in ("New", "Idle", "Running")]
    stages: dict[int, Stage] = records.stages
    if not campaign_id_list:
        return [(row.submission_id, row.jobsub_job_id, stages[row.campaign_stage_id].experiment) for row in running]
    campaigns = [stages[submission.campaign_stage_id].campaign_id for submission in running]
    return {campaign_id: campaigns.count(campaign_id) for campaign_id in map(int, campaign_id_list.split(","))}


def schedule_launch(records: Records, caller: Caller, campaign_stage_id: str) -> Form:
    """The line of the crontab. The real page has a form with its values; its `fmt=json` fails on the line, and so does this."""
    line = records.crontab.get(int(campaign_stage_id))
    return {"job": line if line is None else CronItem(line)}


class CronItem(str):
    """A line of a crontab, which the JSON encoder does not know."""

    __slots__ = ()


def _is_in_view(view: Form, active: bool) -> bool:
    if view.get("update_view") is None:
        return active
    asked, asked_not = bool(view.get("view_active")), bool(view.get("view_inactive"))
    return asked == asked_not or active == asked
