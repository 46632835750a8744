"""Renders the stage scripts of a campaign: one for each step, with everything fixed that is the same for all its jobs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from campaign.definition import CampaignFile
from campaign.layout import Step, steps_of
from dune_prompt import __version__
from stages.stage import Payload
from templates import render
from templates.payloads import payload_files


def payload_of(file: CampaignFile) -> Payload:
    """What the stages are told about the campaign."""
    settings = file.settings
    stages = settings.stages.model_dump(mode="json")
    return Payload(
        campaign=settings.campaign,
        version=settings.version,
        detector=settings.detector,
        file_hash=file.file_hash,
        code_version=__version__,
        outputs=settings.outputs.model_dump(mode="json", include={"namespace", "data_tier"}),
        stages=stages,
        files=payload_files(settings.detector, stages["nf_sp"]),
    )


def script_text(file: CampaignFile, step: Step) -> str:
    """The stage script of one step. The names in it are checked when the campaign file is read; the rest is quoted."""
    return render(
        "stage_script.py.j2",
        campaign=file.settings.campaign,
        version=file.settings.version,
        step=step.name,
        stages=step.stages,
        payload=asdict(payload_of(file)),
    )


def write_scripts(folder: Path, file: CampaignFile) -> dict[str, Path]:
    """Write the scripts of a campaign under `folder`; the path of each by step.

    The hash of the campaign file is in the path: jobs that wait keep the script they were submitted with.
    """
    target = folder / file.settings.campaign / file.settings.version / file.file_hash[:12]
    target.mkdir(parents=True, exist_ok=True)
    scripts = {}
    for step in steps_of(file.settings.layout):
        path = target / f"{step.name}.py"
        draft = path.with_suffix(".tmp")
        draft.write_text(script_text(file, step), "utf-8")
        draft.replace(path)
        scripts[step.name] = path
    return scripts
