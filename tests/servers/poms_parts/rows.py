"""Rows of the tables as POMS writes them in JSON: columns, and of related rows those its encoder follows (webservice/poms_method.py)."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from tests.servers.poms_parts.records import Campaign, JobType, LoginSetup, Records, Stage, Submission

Row = dict[str, Any]


def default(value: Any) -> Any:
    """What json.dumps asks for values it does not know."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S")
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def experimenter_row(records: Records, experimenter_id: int | None) -> Row | None:
    """The real row has names and rights too."""
    return None if experimenter_id is None else {"experimenter_id": experimenter_id, "username": records.username(experimenter_id)}


def campaign_row(records: Records, campaign: Campaign) -> Row:
    stages = [stage_row(records, stage) for stage in records.stages_of(campaign)]
    return _columns(campaign) | {
        "tags": None,
        "stages": stages,
        "experimenter_creator_obj": experimenter_row(records, campaign.creator),
    }


def stage_row(records: Records, stage: Stage) -> Row:
    campaign = records.campaign_of(stage)
    return _columns(stage) | {
        "experimenter_creator_obj": experimenter_row(records, stage.creator),
        "experimenter_updater_obj": experimenter_row(records, stage.updater),
        "experimenter_holder_obj": experimenter_row(records, stage.hold_experimenter_id),
        "experiment_obj": None,
        "job_type_obj": None,
        "login_setup_obj": None,
        "campaign_obj": {"name": campaign.name} if campaign else None,
        "providers": None,
        "consumers": None,
    }


def submission_row(records: Records, submission: Submission) -> Row:
    hidden = {"history", "stage_snapshot", "job_type_snapshot", "login_setup_snapshot"}
    return {key: value for key, value in _columns(submission).items() if key not in hidden} | {
        "campaign_stage_obj": stage_row(records, records.stages[submission.campaign_stage_id]),
        "campaign_stage_snapshot_obj": _columns(submission.stage_snapshot),
        "job_type_snapshot_obj": _columns(submission.job_type_snapshot),
        "login_setup_snapshot_obj": _columns(submission.login_setup_snapshot),
        "experimenter_creator_obj": experimenter_row(records, submission.creator),
        "parent_obj": None,
        "status_history": None,
    }


def _columns(row: Campaign | Stage | Submission | JobType | LoginSetup) -> Row:
    # The recoveries of a job type are a table of their own.
    return {column.name: getattr(row, column.name) for column in fields(row) if column.name != "recoveries"}
