"""Looks for faults in a campaign's ini before POMS has it: what POMS takes without a word and then does otherwise, or stops at in a launch.

Each rule is one function. The facts behind them are POMS's own code: `save_campaign`, `launch_jobs`, and its `split_types`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from campaign.poms.ini import CAMPAIGN, DEFAULTS, DEPENDENCIES, JOB_TYPE, KEYWORDS, LOGIN, STAGE, Ini, IniJobType, IniStage, Pairs, joined
from campaign.poms.names import job_type_hash, login_hash
from dune_prompt.settings.launchers import PomsLauncherSettings

MANDATORY = ("vo_role", "software_version", "dataset_or_split_data", "completion_type", "completion_pct", JOB_TYPE, LOGIN)
STAGE_TYPES = ("regular", "test", "generator", "approval", "datatransfer")
COMPLETION_TYPES = ("complete", "located")
# `delivered_not_consumed` is there too, but its question to SAM has a hole in it.
RECOVERIES = ("consumed_status", "process_status", "proj_status", "added_files", "pending_files")
# Splits that POMS finds and that work; it takes any other text, and fails when it launches.
_SPLIT = re.compile(
    r"None|none|draining|list|multiparam"
    r"|(drainingn|nfiles|mod|limitn|stagedfiles)\([1-9]\d*\)"
    r"|byrun\((low|high)=\d+(,(low|high)=\d+)?\)"
    r"|new\((window|round|fts|firsttime|lasttime)=\d+[wdhms]?(,(window|round|fts|firsttime|lasttime)=\d+[wdhms]?)*\)"
)
# Programs that submit jobs of their own; what else a stage launches is a script, and its end is the stage's.
_SUBMITTING = ("fife_launch", "jobsub_submit", "jobsub")

# What is filled in for `%(…)s`; keywords come on top in launch commands.
FILLED_IN = ("dataset", "parameter", "version", "group", "experimenter", "experiment")
_PERCENT = re.compile(r"%%|%\((?P<key>[^()]*)\)s|%")
_PLAIN = re.compile(r"([A-Za-z0-9_./:=,@+%-]|%\([^()]*\))*")
_NAME = re.compile(r"[A-Za-z0-9_.+-]+")
_HOST = re.compile(r"[A-Za-z0-9.-]+")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LOOPBACK = ("127.", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Complaint:
    """A fault, and where it is: `[section] key`. A warning is about what POMS alone knows; it keeps nothing from being uploaded."""

    where: str
    text: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def complaints(ini: Ini, settings: PomsLauncherSettings) -> list[Complaint]:
    """The faults of a campaign's ini, in the order of the rules."""
    return [complaint for rule in RULES for complaint in rule(ini, settings)]


# --- keys


def mandatory_keys(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """Without them the upload stops half-way, or the first launch does."""
    for stage in ini.stages:
        for key in MANDATORY:
            if key not in stage.values:
                yield _at_stage(stage, key, f"is missing, here and in [{DEFAULTS}]")
    for login in ini.login_setups:
        for key in ("host", "account", "setup"):
            if not getattr(login, key):
                yield Complaint(f"[{LOGIN} {login.name}] {key}", "is missing")
    for job_type in ini.job_types:
        for key in ("launch_script", "output_file_patterns"):
            if not getattr(job_type, key):
                yield Complaint(f"[{JOB_TYPE} {job_type.name}] {key}", "is missing")


def keywords_where_they_are_read(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    if KEYWORDS in ini.header:
        yield Complaint(f"[{CAMPAIGN}] {KEYWORDS}", f"is not read here; it belongs in [{DEFAULTS}]")
    for stage in ini.stages:
        if KEYWORDS in stage.own:
            yield _at_stage(stage, KEYWORDS, f"is not read here; it belongs in [{DEFAULTS}]")


def what_stages_name_is_there(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """A name that is not in the file may be one POMS has, whose content nobody can check here."""
    for stage in ini.stages:
        for key, found in ((LOGIN, ini.login_of(stage)), (JOB_TYPE, ini.job_type_of(stage))):
            if key in stage.values and found is None:
                yield _at_stage(stage, key, f"{stage.values[key]!r} is not in this file: POMS takes one it has, whatever is in it")


def names_hold_their_content(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """POMS never changes a login setup or job type that is there, so changed content needs another name."""
    for login in ini.login_setups:
        ending = login_hash(login.host, login.account, login.setup)
        if not login.name.endswith(f"_{ending}"):
            yield Complaint(f"[{LOGIN} {login.name}]", _unhashed(ending))
    for job_type in ini.job_types:
        ending = job_type_hash(job_type.launch_script, job_type.parameters, job_type.output_file_patterns, job_type.recoveries)
        if not job_type.name.endswith(f"_{ending}"):
            yield Complaint(f"[{JOB_TYPE} {job_type.name}]", _unhashed(ending))


def _unhashed(ending: str) -> str:
    return f"its name must end with _{ending}, the hash of what is in it: under a name it has, POMS keeps what was there"


# --- what POMS does with a stage


def schedule_stays(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    for stage in ini.stages:
        if stage.values.get("default_clear_cronjob") not in ("False", "false"):
            yield _at_stage(stage, "default_clear_cronjob", "must be False: else POMS takes the schedule away when nothing is open")


def known_values(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    for stage in ini.stages:
        for key, allowed, default in (
            ("stage_type", STAGE_TYPES, "regular"),
            ("completion_type", COMPLETION_TYPES, "complete"),
            ("vo_role", ("Production", "production", "Analysis", "analysis"), "Production"),
        ):
            if (value := stage.values.get(key, default)) not in allowed:
                yield _at_stage(stage, key, f"{value!r} is none of {', '.join(allowed)}")


def percentages(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    for stage in ini.stages:
        value = stage.values.get("completion_pct", "100")
        if not re.fullmatch(r"[1-9]\d?|100", value):
            yield _at_stage(stage, "completion_pct", f"{value!r} is no whole number from 1 to 100")


def complete_where_nothing_is_located(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """With `located` POMS counts children in SAM: of a stage without dependents by a pattern no file fits, of a script in no project."""
    parents = {parent for stage in ini.stages for parent, _ in stage.depends_on}
    for stage in ini.stages:
        if stage.values.get("completion_type") != "located":
            continue
        job_type = ini.job_type_of(stage)
        program = (job_type.launch_script.split() or [""])[0] if job_type else ""
        if stage.name not in parents:
            yield _at_stage(stage, "completion_type", "must be complete: no stage depends on it")
        elif program and program not in _SUBMITTING:
            yield _at_stage(stage, "completion_type", f"must be complete: {program} is a script, which has no project in SAM")


def split_types(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    for stage in ini.stages:
        split = stage.values.get("cs_split_type", "None")
        if not _SPLIT.fullmatch(split):
            yield _at_stage(stage, "cs_split_type", f"{split!r} is none POMS can do; spelled exactly: None, draining, drainingn(100), …")


def recoveries(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """POMS keeps a job type without its recoveries when it cannot read them, and says that it exists already."""
    for job_type in ini.job_types:
        if (wrong := _wrong_recoveries(job_type)) is not None:
            yield Complaint(f"[{JOB_TYPE} {job_type.name}] recoveries", wrong)


def no_recoveries_with_draining(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    for stage in ini.stages:
        job_type = ini.job_type_of(stage)
        if stage.values.get("cs_split_type") == "draining" and job_type is not None and job_type.recoveries not in ("", "[]"):
            text = f"the stage {stage.name} is draining: its next launch has the failed files anyway, a recovery would do them twice"
            yield Complaint(f"[{JOB_TYPE} {job_type.name}] recoveries", text)


def _wrong_recoveries(job_type: IniJobType) -> str | None:
    try:
        content = json.loads(job_type.recoveries or "[]")
    except ValueError as error:
        return f"not JSON ({error})"
    if not isinstance(content, list) or not all(isinstance(item, list) and len(item) == 2 for item in content):
        return "must be a JSON list of [type, [[key, value], …]]"
    return next((f"{kind!r} is none of {', '.join(RECOVERIES)}" for kind, _ in content if kind not in RECOVERIES), None)


# --- dependencies


def parents_exist(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    for stage in ini.stages:
        for parent, _ in stage.depends_on:
            if ini.stage(parent) is None:
                yield Complaint(f"[{DEPENDENCIES} {stage.name}]", f"there is no stage {parent!r}")


def no_cycles(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """A stage that waits for itself, directly or not, launches itself until its first empty split, and then never again."""
    waits_for = {stage.name: {parent for parent, _ in stage.depends_on} for stage in ini.stages}
    for name in waits_for:
        seen: set[str] = set()
        ahead = {name}
        while ahead := {parent for each in ahead for parent in waits_for.get(each, ())} - seen:
            seen |= ahead
        if name in seen:
            yield Complaint(f"[{DEPENDENCIES} {name}]", "waits for itself: its parents, or theirs, depend on it")


# --- what is pasted into commands


def percent_signs(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """POMS stops in the launch, after it has made a submission, which then stays for ever."""
    for where, text, known in _filled_in(ini):
        for match in _PERCENT.finditer(text):
            if match["key"] is not None and match["key"] not in known:
                yield Complaint(where, f"nothing is known to fill in for {match[0]}; known: {', '.join(sorted(known))}")
            elif match[0] == "%":
                yield Complaint(where, f"the % in {text[max(match.start() - 8, 0) : match.end() + 8]!r} must be doubled")


def _filled_in(ini: Ini) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Where each text is that POMS fills in, the text, and what is known there. File patterns are none: there % stands for anything."""
    setup, keywords = frozenset(FILLED_IN), frozenset(ini.keywords)
    for login in ini.login_setups:
        yield f"[{LOGIN} {login.name}] setup", login.setup, setup
    for where, text in _commands(ini):
        yield where, text, setup | keywords
    for stage in ini.stages:
        for key in ("dataset_or_split_data", "software_version"):
            text = stage.values.get(key, "")
            if "%(" in text and ")s" in text:
                yield _where(stage, key), text, keywords


def _commands(ini: Ini) -> Iterator[tuple[str, str]]:
    """Where each part of a launch command is, and the part: the script, or key and value pasted together."""
    for job_type in ini.job_types:
        yield f"[{JOB_TYPE} {job_type.name}] launch_script", job_type.launch_script
        for key, value in job_type.parameters:
            yield f"[{JOB_TYPE} {job_type.name}] parameters", key + value
    for stage in ini.stages:
        for option in ("param_overrides", "test_param_overrides"):
            pairs: Pairs = getattr(stage, option)
            for key, value in pairs:
                yield _where(stage, option), key + value


def shell_safe(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """All of this stands unquoted in a shell command, blanks parting the words. What is filled in is looked at where it comes from."""
    for where, text in _commands(ini):
        if not _PLAIN.fullmatch(text.replace(" ", "")):
            yield Complaint(where, f"{text!r}: only letters, digits and _./:=,@+- come through the shell as they are")
    for stage in ini.stages:
        for key in ("dataset_or_split_data", "software_version"):
            text = stage.values.get(key, "")
            # The parts of multiparam are JSON; POMS joins them.
            if stage.values.get("cs_split_type") != "multiparam" and not _PLAIN.fullmatch(text):
                yield _at_stage(stage, key, f"{text!r}: only letters, digits and _./:=,@+- come through the shell as they are")
    for key, value in ini.keywords.items():
        if not _PLAIN.fullmatch(value):
            yield Complaint(f"[{DEFAULTS}] {KEYWORDS}", f"{key} {value!r}: only letters, digits and _./:=,@+- come through the shell")
    for kind, name in ((CAMPAIGN, ini.name), *((STAGE, stage.name) for stage in ini.stages)):
        if not _NAME.fullmatch(name):
            yield Complaint(f"[{kind}]", f"the name {name!r}: only letters, digits and _.+- come through the shell as they are")


def login_shell(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """The setup is a line of a script, between lines of POMS; host and account stand in its ssh command."""
    for login in ini.login_setups:
        for key, pattern in (("host", _HOST), ("account", _ACCOUNT)):
            if (value := getattr(login, key)) and not pattern.fullmatch(value):
                yield Complaint(f"[{LOGIN} {login.name}] {key}", f"{value!r} is none that ssh could be given without quotes")
        try:
            shlex.split(login.setup)
        except ValueError as error:
            yield Complaint(
                f"[{LOGIN} {login.name}] setup", f"the shell cannot read it ({error}), and takes POMS's next lines for a part of it"
            )


def no_key_twice(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """Of a key given twice POMS takes the last value, in the first place, without a word. Test launches are there to do that."""
    for job_type in ini.job_types:
        for key in _twice(job_type.parameters):
            yield Complaint(
                f"[{JOB_TYPE} {job_type.name}] parameters", f"{key!r} is given twice: the last value counts, in the first place"
            )
    for stage in ini.stages:
        for option in ("param_overrides", "test_param_overrides"):
            for key in _twice(getattr(stage, option)):
                yield _at_stage(stage, option, f"{key!r} is given twice: the last value counts, in the first place")
        job_type_ = ini.job_type_of(stage)
        for key in dict(job_type_.parameters if job_type_ else ()).keys() & dict(ini.overrides_of(stage)).keys():
            text = f"{key!r} is in the parameters of its job type too: this value counts, in that place; leave one of them out"
            yield _at_stage(stage, "param_overrides", text)


def _twice(pairs: Pairs) -> list[str]:
    keys = [key for key, _ in pairs]
    return sorted({key for key in keys if keys.count(key) > 1})


def restricted_to_the_site(ini: Ini, settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """POMS knows no sites: a launch is restricted by what it is told, and a test launch too."""
    if settings.site is None:
        return
    for stage in ini.stages:
        job_type = ini.job_type_of(stage)
        if job_type is None:
            continue
        for option, more in (("param_overrides", ()), ("test_param_overrides", stage.test_param_overrides)):
            words = _filled(joined(job_type.launch_script, job_type.parameters, ini.overrides_of(stage), more), ini.keywords).split()
            sites = [word.partition("=")[2] for word in words if word.startswith(("--site=", "-Osubmit.site="))]
            if not sites or any(site != settings.site for site in sites):
                told = f"is restricted to {', '.join(sites)}" if sites else "is restricted to no site"
                text = f"a launch {told}; it needs --site={settings.site}, or -Osubmit.site={settings.site} for fife_launch"
                yield _at_stage(stage, option, text)
                break


def _filled(text: str, keywords: Mapping[str, str]) -> str:
    return _PERCENT.sub(lambda match: keywords.get(match["key"] or "", match[0]), text)


# --- where it launches


def launch_host(ini: Ini, settings: PomsLauncherSettings) -> Iterator[Complaint]:
    """In production POMS refuses launch hosts of others; for analysis it has a list of its own."""
    for stage in ini.stages:
        login = ini.login_of(stage)
        if login is None or not login.host or settings.group in login.host:
            continue
        where = f"[{LOGIN} {login.name}] host"
        if stage.values.get("vo_role", "").lower() == "analysis":
            yield Complaint(
                where, f"{login.host} must be one of POMS's launch hosts for analysis, which cannot be known here", warning=True
            )
        else:
            yield Complaint(
                where, f"{login.host} is no host of {settings.group}, as its name does not say so: POMS launches no production there"
            )
        return


def service_within_reach(ini: Ini, _settings: PomsLauncherSettings) -> Iterator[Complaint]:
    for job_type in ini.job_types:
        for key, value in job_type.parameters:
            if key == "--service=" and urlsplit(value).netloc.startswith(_LOOPBACK):
                text = f"{value} means the launch host itself there; set service.url in the site file"
                yield Complaint(f"[{JOB_TYPE} {job_type.name}] parameters", text, warning=True)


def _where(stage: IniStage, key: str) -> str:
    """The place of a stage's value: its own section, or the defaults."""
    return f"[{STAGE} {stage.name}] {key}" if stage.own.get(key) else f"[{DEFAULTS}] {key}"


def _at_stage(stage: IniStage, key: str, text: str) -> Complaint:
    return Complaint(f"[{STAGE} {stage.name}] {key}", text)


Rule = Callable[[Ini, PomsLauncherSettings], Iterator[Complaint]]
RULES: tuple[Rule, ...] = (
    mandatory_keys,
    keywords_where_they_are_read,
    what_stages_name_is_there,
    names_hold_their_content,
    schedule_stays,
    known_values,
    percentages,
    complete_where_nothing_is_located,
    split_types,
    recoveries,
    no_recoveries_with_draining,
    parents_exist,
    no_cycles,
    percent_signs,
    shell_safe,
    login_shell,
    no_key_twice,
    restricted_to_the_site,
    launch_host,
    service_within_reach,
)
