"""Compares a campaign as POMS exports it with the file it should have been made from.

The export is no copy of what was uploaded: keywords are where the upload does not read them, the default dataset has become "None" and
is left out of the stages that have it, and other defaults are filled in. So compared is what counts in a launch: each stage's own values
or those of the defaults, and the datasets as POMS's list of stages has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from campaign.poms.ini import Ini, IniJobType, IniLogin, IniStage, Pairs
from dune_prompt.errors import DataError

DATASET = "dataset_or_split_data"


@dataclass(frozen=True, slots=True)
class Change:
    """One value that is otherwise in POMS. `old`: there; `new`: in the file; None: it is not there at all."""

    where: str
    key: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.where}: {self.key} is missing"
        return f"{self.where}: {self.key} is {self.old!r}, " + ("the file has none" if self.new is None else f"not {self.new!r}")


def changes(server: Ini | None, datasets: Mapping[str, str], wanted: Ini) -> tuple[Change, ...]:
    """What POMS would have to change in its campaign, or to make, for it to be the `wanted` one. Stages only POMS has are no change.

    `server` is the export, `datasets` what its stages have.
    """
    found: list[Change] = []
    for stage in wanted.stages:
        old = server.stage(stage.name) if server else None
        told = None if old is None or server is None else {**_values(old, server), DATASET: datasets.get(stage.name, "")}
        found += _differences(f"stage {stage.name}", told, _values(stage, wanted))
        before, after = dict(old.depends_on) if old else {}, dict(stage.depends_on)
        found += [
            Change(f"dependency of {stage.name} on {parent}", "file_pattern", before.get(parent), after.get(parent))
            for parent in before | after
            if before.get(parent) != after.get(parent)
        ]
    return tuple(found)


def definitions(server: Ini | None, wanted: Ini) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The login setups and job types POMS would make, and those it has under the same name with another content, which it never changes.

    The export has those its campaign uses: one that others use shows once the campaign was uploaded.
    """
    logins = {login.name: login for login in server.login_setups} if server else {}
    job_types = {job_type.name: job_type for job_type in server.job_types} if server else {}
    new: list[Change] = []
    others: list[Change] = []
    for login in wanted.login_setups:
        old_login = logins.get(login.name)
        found = _differences(f"login setup {login.name}", _login(old_login) if old_login else None, _login(login))
        (others if old_login else new).extend(found)
    for job_type in wanted.job_types:
        old_type = job_types.get(job_type.name)
        found = _differences(f"job type {job_type.name}", _job_type(old_type) if old_type else None, _job_type(job_type))
        (others if old_type else new).extend(found)
    return tuple(new), tuple(others)


def _differences(where: str, old: Mapping[str, str] | None, new: Mapping[str, str]) -> Iterator[Change]:
    for key, value in new.items():
        was = None if old is None else old[key]
        if was != value:
            yield Change(where, key, was, value)


def _values(stage: IniStage, ini: Ini) -> Mapping[str, str]:
    """What counts of a stage, each value in one form. The overrides are with those of the campaign, where they are merged."""
    values = {key: read(stage.values.get(key, "")) for key, read in _KEYS.items()}
    return values | {
        "param_overrides": _pairs(ini.overrides_of(stage)),
        "test_param_overrides": _pairs(stage.test_param_overrides),
    }


def _login(login: IniLogin) -> Mapping[str, str]:
    return {"host": login.host, "account": login.account, "setup": _exported(login.setup)}


def _job_type(job_type: IniJobType) -> Mapping[str, str]:
    return {
        "launch_script": job_type.launch_script,
        "parameters": _pairs(job_type.parameters),
        "output_file_patterns": _or_none(job_type.output_file_patterns),
        "recoveries": _recoveries(job_type.recoveries),
    }


def _pairs(pairs: Pairs) -> str:
    return json.dumps([list(pair) for pair in pairs])


def _recoveries(text: str) -> str:
    """The recoveries in one form.

    Raises:
        DataError: they are no JSON.
    """
    try:
        return json.dumps(json.loads(text or "[]"))
    except ValueError as error:
        raise DataError(f"campaign ini: recoveries: not JSON ({error}): {text[:80]}") from None


def _exported(setup: str) -> str:
    """A login setup's shell text as the export writes it: on one line."""
    return setup.replace("\r", ";").replace("\n", ";").replace(";;", ";").replace(";;", ";")


def _plain(text: str) -> str:
    return text


def _or_none(text: str) -> str:
    """The export writes "None" for what was not given, and POMS takes the word for nothing."""
    return text or "None"


def _or(default: str) -> Callable[[str], str]:
    return lambda text: text or default


def _said_true(text: str) -> str:
    return str(text in ("True", "true"))


def _not_said_false(text: str) -> str:
    return str(text not in ("False", "false"))


# The keys POMS reads of a stage, and what it makes of each; those that hold pairs are beside it.
_KEYS: Mapping[str, Callable[[str], str]] = {
    "vo_role": _plain,
    "software_version": _plain,
    DATASET: _plain,
    "cs_split_type": _or_none,
    "completion_type": _plain,
    "completion_pct": _plain,
    "merge_overrides": _said_true,
    "login_setup": _plain,
    "job_type": _plain,
    "stage_type": _or("regular"),
    "output_ancestor_depth": _or("1"),
    "default_clear_cronjob": _not_said_false,
}
