"""campaign_deps_ini: the ini text of a campaign (webservice/CampaignsPOMS.py), which is not the one that was uploaded.

Keywords are written where the upload does not read them; the default dataset is looked up under a key nobody sets, and becomes "None";
default_clear_cronjob is True whatever the default was. The stages repeat what differs from the defaults, and so repair all but the dataset.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.servers.poms_parts.records import Caller, Campaign, Records, Stage

# Default written, and what stands there when it is not set.
OPTIONAL = {
    "param_overrides": "[]",
    "test_param_overrides": "[]",
    "merge_overrides": "False",
    "login_setup": "generic",
    "job_type": "generic",
    "stage_type": "regular",
    "output_ancestor_depth": "1",
}


def campaign_deps_ini(
    records: Records,
    caller: Caller,
    name: str | None = None,
    stage_id: str | None = None,
    login_setup: str | None = None,
    job_type: str | None = None,
    full: str | None = None,
) -> str:
    """The text, or a sentence with HTTP 200 when there is no such campaign. `full` adds nothing to a campaign made from a file."""
    if login_setup is not None or job_type is not None:
        raise NotImplementedError("the double writes campaigns only")
    if name is None:
        # `defaults` is set only where there is a campaign, and read always.
        raise UnboundLocalError("cannot access local variable 'defaults' where it is not associated with a value")
    campaign = records.campaign_named(caller.experiment, name)
    if campaign is None:
        return f"Error: Campaign '{name}' was not found for '{caller.experiment}' experiment"
    stages = {stage.campaign_stage_id: stage for stage in records.stages_of(campaign)}
    parents = {stage_id: [row for row in records.dependencies if row.provides_campaign_stage_id == stage_id] for stage_id in stages}
    defaults = campaign.defaults["defaults"]
    lines = _campaign(campaign, [stage.name for stage in stages.values()])
    if defaults:
        lines += _defaults(defaults)
    for stage in stages.values():
        lines += _stage(records, stage, defaults)
    for login_setup_id in dict.fromkeys(stage.login_setup_id for stage in stages.values()):
        setup = records.login_setups[login_setup_id]
        text = re.sub(";;", ";", re.sub(";;", ";", re.sub(r"[\r\n]", ";", setup.launch_setup)))
        lines += [f"[login_setup {setup.name}]", f"host={setup.launch_host}", f"account={setup.launch_account}", f"setup={text}", ""]
    for job_type_id in dict.fromkeys(stage.job_type_id for stage in stages.values()):
        kind = records.job_types[job_type_id]
        lines += [
            f"[job_type {kind.name}]",
            f"launch_script={kind.launch_script}",
            f"parameters={json.dumps(kind.definition_parameters)}",
            f"output_file_patterns={kind.output_file_patterns}",
            f"recoveries = {json.dumps(kind.recoveries)}",
            "",
        ]
    for child, rows in parents.items():
        if rows:
            lines.append(f"[dependencies {stages[child].name}]")
            for number, row in enumerate(rows, start=1):
                lines.append(f"campaign_stage_{number} = {stages[row.needs_campaign_stage_id].name}")
                lines.append(f"file_pattern_{number} = {row.file_patterns}")
            lines.append("")
    return "\n".join([*lines, ""])


def _campaign(campaign: Campaign, stage_names: list[str]) -> list[str]:
    return [
        "[campaign]",
        f"experiment={campaign.experiment}",
        f"poms_role={campaign.creator_role}",
        f"name={campaign.name}",
        f"state={'Active' if campaign.active else 'Inactive'}",
        f"campaign_keywords={json.dumps(campaign.campaign_keywords)}",
        f"campaign_stage_list={','.join(stage_names)}",
        "",
    ]


def _defaults(defaults: dict[str, Any]) -> list[str]:
    return [
        "[campaign_defaults]",
        f"vo_role={defaults.get('vo_role')}",
        f"software_version={defaults.get('software_version')}",
        f"dataset_or_split_data={defaults.get('dataset')}",
        f"cs_split_type={defaults.get('cs_split_type')}",
        "default_clear_cronjob=True",
        f"completion_type={defaults.get('completion_type')}",
        f"completion_pct={defaults.get('completion_pct')}",
        *(f"{key}={defaults.get(key) or otherwise}" for key, otherwise in OPTIONAL.items()),
        "",
    ]


def _stage(records: Records, stage: Stage, defaults: dict[str, Any]) -> list[str]:
    lines = [f"[campaign_stage {stage.name}]"]
    values = {
        "vo_role": stage.vo_role,
        "software_version": stage.software_version,
        # A number here, a text in the defaults: always written.
        "output_ancestor_depth": stage.output_ancestor_depth,
        "dataset_or_split_data": stage.dataset,
        "cs_split_type": stage.cs_split_type,
        "completion_type": stage.completion_type,
        "completion_pct": str(stage.completion_pct),
        "param_overrides": json.dumps(stage.param_overrides),
        "test_param_overrides": json.dumps(stage.test_param_overrides),
        "login_setup": records.login_setups[stage.login_setup_id].name,
        "job_type": records.job_types[stage.job_type_id].name,
    }
    for key, value in values.items():
        default = defaults.get(key, 1) if key == "output_ancestor_depth" else defaults.get(key)
        if value != default:
            lines.append(f"{key}={'[]' if value == 'null' else value}")
    lines += [
        f"merge_overrides={stage.merge_overrides}",
        f"stage_type={stage.campaign_stage_type}",
        f"default_clear_cronjob={stage.default_clear_cronjob}",
        "",
    ]
    return lines
