"""Methods that change campaigns and stages, other than by upload (webservice/StagesPOMS.py, CampaignsPOMS.py)."""

from __future__ import annotations

import ast
import re
from typing import Any

from tests.servers.poms_parts.problems import HTTPError, StatementError
from tests.servers.poms_parts.records import Caller, Records, Stage, now
from tests.servers.poms_parts.schedule import update_launch_schedule
from tests.servers.poms_parts.upload import checked

JSON_COLUMNS = {"param_overrides", "test_param_overrides"}
BOOLEAN_COLUMNS = {"merge_overrides", "default_clear_cronjob"}
OTHER_COLUMNS = {
    "name",
    "vo_role",
    "cs_last_split",
    "cs_split_type",
    "dataset",
    "software_version",
    "completion_type",
    "completion_pct",
    "campaign_stage_type",
    "output_ancestor_depth",
    "role_held_with",
}


def update_campaign_stage(records: Records, caller: Caller, campaign_stage: str | list[str], **values: Any) -> str | None:
    """`Success`, also where no column was meant; an empty answer for an unknown stage.

    Raises:
        StatementError: a yes or no, which comes as text and is not taken as such.
    """
    stage = _stage(records, caller, campaign_stage)
    if stage is None:
        return None
    changes: dict[str, Any] = {}
    for column, value in values.items():
        if column in JSON_COLUMNS:
            changes[column] = ast.literal_eval(value)
        elif column in BOOLEAN_COLUMNS:
            raise StatementError(f"(builtins.TypeError) Not None/True/False: {value!r}")
        elif column in OTHER_COLUMNS:
            changes[column] = value
    checked(changes)
    for column, value in changes.items():
        setattr(stage, column, value)
    if changes:
        stage.updated, stage.updater = now(), records.experimenter(caller.username)
    return "Success"


def update_stage_param_overrides(
    records: Records,
    caller: Caller,
    campaign_stage: str | list[str],
    param_overrides: str | None = None,
    test_param_overrides: str | None = None,
) -> str | None:
    """Set the given pairs among those the stage has; an empty value takes one away. Empty answer for an unknown stage."""
    stage = _stage(records, caller, campaign_stage)
    if stage is None:
        return None
    if param_overrides:
        stage.param_overrides = _merged(stage.param_overrides, param_overrides)
    if test_param_overrides:
        # None where there are no such overrides yet: a TypeError.
        stage.test_param_overrides = _merged(stage.test_param_overrides, test_param_overrides)  # type: ignore[arg-type]
    said = (stage.param_overrides if param_overrides else None, stage.test_param_overrides if test_param_overrides else None)
    return str(said)


def mark_campaign_hold(records: Records, caller: Caller, ids2HR: str, is_hold: str, clear_cron: Any = True) -> None:
    """Hold stages, which takes them off the crontab, or release them, which does not bring them back there."""
    stage_ids = [int(re.sub(r"\D", "", text)) for text in ids2HR.split(",")]
    for stage in [stage for stage in records.stages.values() if stage.campaign_stage_id in stage_ids]:
        if is_hold in ("Hold", "Queue"):
            stage.hold_experimenter_id, stage.role_held_with = records.experimenter(caller.username), caller.role
            if clear_cron:
                for stage_id in stage_ids:
                    update_launch_schedule(records, caller, stage_id, delete=True)
        elif is_hold == "Release":
            stage.hold_experimenter_id = stage.role_held_with = None
        else:
            raise HTTPError(400, "The action is not supported. You can only Hold/Queue or Release.")


def mark_campaign_active(
    records: Records,
    caller: Caller,
    campaign_id: str | None = None,
    is_active: str | None = None,
    camp_l: str = "",
    clear_cron: Any = False,
) -> None:
    """Raises: AttributeError, always, where the crontab is to be cleared; then nothing is changed."""
    campaign_ids = [int(text) for text in (campaign_id or camp_l).split(",")]
    if clear_cron and any(stage.campaign_id in campaign_ids for stage in records.stages.values()):
        raise AttributeError("'CampaignsPOMS' object has no attribute 'ps'")
    for known in campaign_ids:
        if known in records.campaigns:
            records.campaigns[known].active = is_active in ("True", "Active", "true", "1")


def _merged(pairs: list[list[str]], text: str) -> list[list[str]]:
    merged = {pair[0]: pair[1] for pair in pairs}
    for key, value in dict(ast.literal_eval(text)).items():
        if value:
            merged[key] = value
        else:
            merged.pop(key, None)
    return [[key, value] for key, value in merged.items()]


def _stage(records: Records, caller: Caller, campaign_stage: str | list[str]) -> Stage | None:
    if isinstance(campaign_stage, list):
        campaign_name, stage_name = campaign_stage
        return records.stage_named(caller.experiment, campaign_name, stage_name)
    return records.stages.get(int(campaign_stage)) if campaign_stage.isdecimal() else None
