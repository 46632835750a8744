"""Reads a campaign's ini as POMS does (its `ini_to_campaign` and `save_campaign`): what it makes of the file, not what one would expect.

Options are lower-cased, values are raw, a second section or option of the same name is an error, and an empty value of a stage is that of
[campaign_defaults]. What POMS stops at with an exception, or keeps and stops at when it launches, is an error here.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dune_prompt.errors import DataError

CAMPAIGN, DEFAULTS, KEYWORDS = "campaign", "campaign_defaults", "campaign_keywords"
STAGE, DEPENDENCIES, LOGIN, JOB_TYPE = "campaign_stage", "dependencies", "login_setup", "job_type"
PARENT, PATTERN = "campaign_stage_", "file_pattern_"

# Key and value, which POMS pastes together without a blank.
Pairs = tuple[tuple[str, str], ...]

_SECTION = re.compile(r"\[(?P<name>.+)\]")
_OPTION = re.compile(r"(?P<name>[^\s#;=:][^=:]*?)\s*[=:]")


@dataclass(frozen=True, slots=True)
class IniStage:
    """A stage. `values`: what counts, the stage's own or the default; `own`: what its section says; `depends_on`: parents and patterns."""

    name: str
    values: Mapping[str, str]
    own: Mapping[str, str]
    depends_on: tuple[tuple[str, str], ...]
    param_overrides: Pairs
    test_param_overrides: Pairs


@dataclass(frozen=True, slots=True)
class IniLogin:
    """A login setup (launch template): where POMS launches, and what it does there first."""

    name: str
    host: str
    account: str
    setup: str


@dataclass(frozen=True, slots=True)
class IniJobType:
    """A job type (campaign definition): the command POMS launches."""

    name: str
    launch_script: str
    parameters: Pairs
    output_file_patterns: str
    recoveries: str


@dataclass(frozen=True, slots=True)
class Ini:
    """A campaign as POMS reads it.

    `defaults` are those it keeps: without the keywords. `header` is the section [campaign], of which it reads the name only.
    `lines` tells on which line an option is, by section and option.
    """

    name: str
    defaults: Mapping[str, str]
    keywords: Mapping[str, str]
    stages: tuple[IniStage, ...]
    login_setups: tuple[IniLogin, ...]
    job_types: tuple[IniJobType, ...]
    header: Mapping[str, str]
    lines: Mapping[tuple[str, str], int]

    def stage(self, name: str) -> IniStage | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    def login_of(self, stage: IniStage) -> IniLogin | None:
        """The stage's login setup; None: it is not in the file."""
        return next((login for login in self.login_setups if login.name == stage.values.get(LOGIN)), None)

    def job_type_of(self, stage: IniStage) -> IniJobType | None:
        """The stage's job type; None: it is not in the file."""
        return next((job_type for job_type in self.job_types if job_type.name == stage.values.get(JOB_TYPE)), None)

    def overrides_of(self, stage: IniStage) -> Pairs:
        """What the campaign puts over the job type's parameters in a launch of the stage, in order."""
        if stage.values.get("merge_overrides") in ("True", "true"):
            return _pairs(self.defaults.get("param_overrides"), DEFAULTS, "param_overrides", self.lines) + stage.param_overrides
        return stage.param_overrides


def parse(text: str) -> Ini:
    """The campaign of an ini file's text.

    Raises:
        DataError: POMS cannot read it, or could not launch what is in it; it names the line.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise DataError(f"campaign ini: {_reason(error)}") from None
    sections = {name: dict(parser.items(name)) for name in parser.sections()}
    lines = _lines(text)
    if CAMPAIGN not in sections:
        raise DataError(f"campaign ini: line 1: the section [{CAMPAIGN}] is missing")
    if not sections[CAMPAIGN].get("name"):
        raise DataError(f"campaign ini: line {lines[CAMPAIGN, '']}: [{CAMPAIGN}] name: is missing")
    stages = _named(sections, STAGE)
    if not stages:
        raise DataError(f"campaign ini: line 1: there is no section [{STAGE} …]")
    if unknown := next((name for name in _named(sections, DEPENDENCIES) if name not in stages), None):
        section = f"{DEPENDENCIES} {unknown}"
        raise DataError(f"campaign ini: line {lines[section, '']}: [{section}]: there is no stage {unknown!r}")
    defaults = sections.get(DEFAULTS, {})
    keywords = _json(defaults.pop(KEYWORDS, None), DEFAULTS, KEYWORDS, lines) or {}
    if not isinstance(keywords, dict):
        raise _bad(lines, DEFAULTS, KEYWORDS, "must be a JSON object")
    return Ini(
        name=sections[CAMPAIGN]["name"],
        defaults=defaults,
        keywords={key: str(value) for key, value in keywords.items()},
        stages=tuple(_stage(name, own, defaults, sections.get(f"{DEPENDENCIES} {name}", {}), lines) for name, own in stages.items()),
        login_setups=tuple(
            IniLogin(name, section.get("host", ""), section.get("account", ""), section.get("setup", ""))
            for name, section in _named(sections, LOGIN).items()
        ),
        job_types=tuple(_job_type(name, section, lines) for name, section in _named(sections, JOB_TYPE).items()),
        header=sections[CAMPAIGN],
        lines=lines,
    )


def joined(script: str, *parameters: Pairs) -> str:
    """The launch command as POMS puts it together, before it fills in `%(…)s`: of a key given twice the last value, at the first place."""
    merged: dict[str, str] = {}
    for pairs in parameters:
        merged.update(pairs)
    return " ".join([script, *(key + value for key, value in merged.items())])


def _named(sections: Mapping[str, dict[str, str]], kind: str) -> dict[str, dict[str, str]]:
    """The sections `[kind NAME]` by name."""
    return {name.split(" ", 1)[1]: section for name, section in sections.items() if name.startswith(f"{kind} ")}


def _stage(
    name: str, own: Mapping[str, str], defaults: Mapping[str, str], dependencies: Mapping[str, str], lines: Mapping[tuple[str, str], int]
) -> IniStage:
    values = {key: value for key in {**defaults, **own} if (value := own.get(key) or defaults.get(key))}
    parents = []
    for key, parent in dependencies.items():
        if not key.startswith(PARENT):
            continue
        pattern = PATTERN + key.rsplit("_", 1)[1]
        if pattern not in dependencies:
            raise _bad(lines, f"{DEPENDENCIES} {name}", key, f"needs {pattern} beside it")
        parents.append((parent, dependencies[pattern]))

    def pairs(key: str) -> Pairs:
        return _pairs(values.get(key), f"{STAGE} {name}" if own.get(key) else DEFAULTS, key, lines)

    return IniStage(name, values, dict(own), tuple(parents), pairs("param_overrides"), pairs("test_param_overrides"))


def _job_type(name: str, section: Mapping[str, str], lines: Mapping[tuple[str, str], int]) -> IniJobType:
    return IniJobType(
        name=name,
        launch_script=section.get("launch_script", ""),
        parameters=_pairs(section.get("parameters"), f"{JOB_TYPE} {name}", "parameters", lines),
        output_file_patterns=section.get("output_file_patterns", ""),
        recoveries=section.get("recoveries", ""),
    )


def _pairs(text: str | None, section: str, key: str, lines: Mapping[tuple[str, str], int]) -> Pairs:
    content = _json(text, section, key, lines) or []
    if not isinstance(content, list) or not all(_is_pair(item) for item in content):
        raise _bad(lines, section, key, "must be a JSON list of [key, value], both of them text")
    return tuple((item[0], item[1]) for item in content)


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(isinstance(part, str) for part in item)


def _json(text: str | None, section: str, key: str, lines: Mapping[tuple[str, str], int]) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise _bad(lines, section, key, f"not JSON ({error})") from None


def _bad(lines: Mapping[tuple[str, str], int], section: str, key: str, why: str) -> DataError:
    return DataError(f"campaign ini: line {lines.get((section, key), lines.get((section, ''), 1))}: [{section}] {key}: {why}")


def _lines(text: str) -> dict[tuple[str, str], int]:
    """The line of each section, as option '', and of each option."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if match := _SECTION.match(line):
            section = match["name"]
            found[section, ""] = number
        elif match := _OPTION.match(line):
            found[section, match["name"].lower()] = number
    return found


def _reason(error: configparser.Error) -> str:
    match error:
        case configparser.DuplicateOptionError():
            return f"line {error.lineno}: [{error.section}] {error.option}: given twice"
        case configparser.DuplicateSectionError():
            return f"line {error.lineno}: [{error.section}]: given twice"
        case configparser.MissingSectionHeaderError():
            return f"line {error.lineno}: nothing may come before the first section"
        case configparser.ParsingError():
            number, line = error.errors[0]
            return f"line {number}: neither a section nor `option = value`: {line[:80]}"
    return str(error)
