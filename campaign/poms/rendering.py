"""Renders what a version of a campaign needs to run under POMS: a set of text files that is the same for the same site and campaign files.

What POMS pastes into shell commands, it pastes as it is: only what no shell would change is let through.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path, PurePath
from typing import Any

from campaign.definition import CampaignFile
from campaign.installation import ActiveCampaign
from campaign.launchers import jobsub_command
from campaign.launchers.protocol import Job, Submission
from campaign.layout import Step, steps_of
from campaign.poms.definitions import open_inputs, open_query
from campaign.poms.ini import Ini, Pairs, joined, parse
from campaign.poms.names import campaign_name, job_type_name, login_name
from campaign.scripts import script_text
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site
from dune_prompt.settings.launchers import PomsLauncherSettings
from templates import render

INI = "campaign.ini"
LAUNCH_SCRIPT = "dune-prompt launch"
NO_RECOVERIES = "[]"
TEST_PARAMETERS: Pairs = (("--jobs=", "1"),)
# POMS's `declare` ends when the outputs are registered, so that its children find them.
WAIT = "30min"
# What each step leaves in the catalogues for the next, as the end of SQL patterns; `dqm_upload` leaves nothing.
OUTPUTS = {"nf_sp": "gauss.%", "declare": "gauss.%", "evaluate": "metrics.json", "dqm_upload": "%", "chain": "%"}

# What no shell changes: also what jobsub lets through.
PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+")


@dataclass(frozen=True, slots=True)
class PomsSet:
    """The files of a set, by their paths in it. `name` is the campaign's in POMS."""

    name: str
    files: Mapping[str, str]

    @property
    def ini(self) -> Ini:
        """The campaign, as POMS reads it."""
        return parse(self.files[INI])


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage of POMS. The outputs are SQL patterns of file names; `parent_outputs` is None for the first stage."""

    step: Step
    dataset: str
    split_type: str
    overrides: Pairs
    outputs: str
    parent_outputs: str | None
    job_type: str


def render_set(site: Site, settings: PomsLauncherSettings, file: CampaignFile) -> PomsSet:
    """The files of a campaign's version for POMS.

    Raises:
        ConfigError: a value would not come through POMS's shell commands as it is, or the catalogues cannot be asked for the inputs.
    """
    campaign = file.settings
    name = campaign_name(campaign)
    definition = open_inputs(site, campaign)
    login = settings.login
    setup = _setup(login.setup)
    setup_in_ini = setup.replace("%", "%%")
    parameters = _parameters(site, settings, file)
    stages = tuple(_stages(settings, file, definition.name, parameters))
    known: dict[str, Any] = {
        "name": name,
        "campaign": campaign,
        "file_hash": file.file_hash,
        "settings": settings,
        "stages": stages,
        "definition": definition,
        "query": open_query(site, campaign),
        "every_min": round(settings.every / 60),
        "test_command": " ".join(key + value for key, value in TEST_PARAMETERS),
    }
    files = {
        INI: render(
            "poms/campaign.ini.j2",
            **known,
            login_name=login_name(campaign, login.host, login.account, setup_in_ini),
            setup=setup_in_ini,
            launch_script=LAUNCH_SCRIPT,
            parameters=parameters,
            recoveries=NO_RECOVERIES,
            test_parameters=TEST_PARAMETERS,
            pairs=_json_pairs,
        ),
        "login_setup.sh": render("poms/login_setup.sh.j2", **known, setup=setup),
        "fife_launch.cfg": render("poms/fife_launch.cfg.j2", **known, **_fife_options(settings, file)),
        "sam_definition.txt": render("poms/sam_definition.txt.j2", **known),
        "metacat_query.mql": render("poms/metacat_query.mql.j2", **known),
        "README.md": render("poms/README.md.j2", **known),
    }
    for stage in stages:
        command = joined(LAUNCH_SCRIPT, parameters, stage.overrides)
        dataset = definition.name if stage.step.after is None else "poms_depends_SUBMISSION_1"
        files[f"launch_{stage.step.name}.txt"] = render("poms/launch.txt.j2", **known, stage=stage, command=command % {"dataset": dataset})
        files[f"stages/{stage.step.name}.py"] = script_text(file, stage.step)
    return PomsSet(name, dict(sorted(files.items())))


def poms_settings(site: Site) -> PomsLauncherSettings:
    """The site's launcher of kind `poms`.

    Raises:
        ConfigError: it has none.
    """
    found = next((launcher for launcher in site.launchers if isinstance(launcher, PomsLauncherSettings)), None)
    if found is None:
        raise ConfigError(f"site {site.site}: launchers: none of them is of kind poms")
    return found


def changed(folder: Path, poms_set: PomsSet) -> tuple[str, ...]:
    """The files of a set that are not in `folder` as they are in the set."""
    return tuple(name for name, text in poms_set.files.items() if not _holds(folder / name, text))


def write_set(folder: Path, poms_set: PomsSet) -> tuple[str, ...]:
    """Write the files of a set that have changed; which ones. What else is in the folder stays."""
    names = changed(folder, poms_set)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(poms_set.files[name].encode())
    return names


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


# --- the stages and their launches


def _stages(settings: PomsLauncherSettings, file: CampaignFile, dataset: str, parameters: Pairs) -> Iterator[_Stage]:
    campaign = file.settings
    previous: str | None = None
    for step in steps_of(campaign.layout):
        overrides = [("--stage=", step.name), *([("--site=", settings.site)] if settings.site else []), ("--dataset=", "%(dataset)s")]
        if step.name == "declare":
            overrides.append(("--wait=", WAIT))
        outputs = f"%_{campaign_name(campaign)}_{OUTPUTS[step.name]}"
        yield _Stage(
            step=step,
            dataset=dataset if step.after is None else "from_parent",
            split_type="draining" if step.after is None else "None",
            overrides=tuple(overrides),
            outputs=outputs,
            parent_outputs=previous,
            job_type=job_type_name(campaign, step.name, LAUNCH_SCRIPT, parameters, outputs, NO_RECOVERIES),
        )
        previous = outputs


def _parameters(site: Site, settings: PomsLauncherSettings, file: CampaignFile) -> Pairs:
    """What all launches of the campaign's version have in common."""
    pairs = [
        ("--service=", _plain("service.url", site.service.base_url)),
        ("--token-file=", _plain("launchers: poms: login.token_file", settings.login.token_file)),
        ("--campaign=", file.settings.campaign),
        ("--campaign-version=", file.settings.version),
        ("--poms-url=", _plain("launchers: poms: url", str(settings.url).rstrip("/"))),
    ]
    return tuple(pairs + ([("--poms-role=", settings.poms_role)] if settings.poms_role != "production" else []))


def _plain(setting: str, value: str | PurePath) -> str:
    if not PLAIN.fullmatch(str(value)):
        raise ConfigError(f"{setting}: {str(value)[:200]!r}: only letters, digits and _./:=,@+- come through POMS as they are")
    return str(value)


def _setup(setup: str) -> str:
    """The login setup, checked: POMS puts lines of its own before and after it."""
    setup = setup.strip() or "true"
    try:
        shlex.split(setup)
    except ValueError as error:
        raise ConfigError(f"launchers: poms: login.setup: {setup[:200]!r}: the shell cannot read it ({error})") from None
    if not setup.isprintable():
        raise ConfigError(f"launchers: poms: login.setup: {setup[:200]!r}: has control characters in it")
    return setup


def _json_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return json.dumps([list(pair) for pair in pairs])


# --- fife_launch

_LIMITS = ("memory", "disk", "cpu", "expected-lifetime", "timeout")
# What a slice decides: a stand-in `__name__` while the command line is made, then the macro of that name in [global].
_STAND_IN = re.compile(r"/?__(bundle|assignments|request|attempts)__")


def _fife_options(settings: PomsLauncherSettings, file: CampaignFile) -> dict[str, Any]:
    """What our own command line for jobsub says, in fife_launch's words: `submit` for all steps, `limits` of each."""
    submit: dict[str, str] = {}
    limits: dict[str, dict[str, str]] = {}
    environment: dict[str, str] = {}
    for step in steps_of(file.settings.layout):
        lines = count(1)
        submit, limits[step.name] = {}, {}
        for option, value in _options(settings, _example(file, step)):
            if option in _LIMITS:
                limits[step.name][option] = value
            elif option == "e":
                name, _, content = value.partition("=")
                environment[name] = _with_macros(content)
            else:
                submit[f"lines_{next(lines)}" if option == "l" else option] = _with_macros(value)
    return {"submit": submit, "limits": limits, "environment": environment}


def _options(settings: PomsLauncherSettings, submission: Submission) -> Iterator[tuple[str, str]]:
    """The options of the command line without their hyphens, but for the number of jobs; a flag has the value True."""
    command = jobsub_command.submit_command(settings, submission)[1:]
    words = takewhile(lambda word: not word.startswith("file://"), command)
    for word in words:
        option, equals, value = word.partition("=")
        if word == "--managed-token":
            value = "True"
        elif not equals:
            value = next(words)
        if option != "-N":
            yield option.lstrip("-"), value


def _with_macros(value: str) -> str:
    """The value as fife_launch hands it on through a shell; its own sign for macros is doubled."""
    return _STAND_IN.sub(r"%(\1)s", shlex.quote(value).replace("%", "%%"))


def _example(file: CampaignFile, step: Step) -> Submission:
    """A submission of one job, with stand-ins for what a slice decides."""
    limits = ActiveCampaign(0, file, {}, behind=False).limits(step.stages)
    nowhere = Path("/nowhere")
    job = Job("__attempts__", nowhere, nowhere, limits.memory_bytes, limits.lifetime_s, cpus=limits.cpus, disk_bytes=limits.disk_bytes)
    return Submission(
        id="__request__",
        campaign=file.settings.campaign,
        version=file.settings.version,
        step=step.name,
        jobs=(job,),
        folder=nowhere,
        bundle=Path("/__bundle__"),
        outputs_url=file.settings.outputs.worker_url,
        assignments_url="__assignments__",
    )
