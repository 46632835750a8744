"""ini_to_campaign: what a campaign file becomes (webservice/poms_service.py and save_campaign of CampaignsPOMS.py).

The steps are committed one by one, as POMS does it: login setups and job types; the campaign and the stages it loses; all stages together;
all dependencies together. What an error leaves behind follows from that.
"""

from __future__ import annotations

import json
from configparser import ConfigParser, Error
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from tests.servers.poms_parts.problems import DataError, IntegrityError
from tests.servers.poms_parts.records import (
    RECOVERY_TYPES,
    Caller,
    Campaign,
    Dependency,
    JobType,
    LoginSetup,
    Pairs,
    Records,
    Stage,
    now,
)

Form = dict[str, Any]
COMPLETION_TYPES = ("located", "complete")
STAGE_TYPES = ("test", "generator", "approval", "regular", "datatransfer")
TRUE, FALSE = (True, "True", "true"), (False, "False", "false")


@dataclass(frozen=True)
class UploadedFile:
    """A file of a form."""

    filename: str
    file: BytesIO

    def text(self) -> str:
        """For those who look, whatever it holds."""
        return self.file.getvalue().decode(errors="replace")


def ini_to_campaign(records: Records, caller: Caller, upload: UploadedFile | None = None, pcl_call: Any = 0, **kwargs: Any) -> Form:
    """Returns: status, message and, after a success, the ids. Raises: what the error rewriter makes an HTTP error of."""
    # A text in place of a file has no `file` either: both are a "Not found item".
    text = upload.file.read().decode()  # type: ignore[union-attr]
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except Error as error:
        return _bad_request(f"Bad file format {error}")
    sections = {section: dict(parser.items(section)) for section in parser.sections()}
    if "campaign" not in sections:
        return _bad_request("No Campaign section in the file")
    name = sections["campaign"]["name"]
    stages = _titled(sections, "campaign_stage ")
    if not stages:
        return _bad_request("No Campaign Stage sections in the file")
    dependencies = [
        (section[key], child, section[f"file_pattern_{key.rsplit('_', 1)[1]}"])
        for child, section in _titled(sections, "dependencies ").items()
        for key in section
        if key.startswith("campaign_stage_")
    ]
    return _Saving(records, caller).save(name, sections, stages, dependencies)


class _Saving:
    def __init__(self, records: Records, caller: Caller) -> None:
        self.records, self.caller = records, caller
        self.experiment = caller.experiment
        self.messages: list[str] = []

    def save(self, name: str, sections: dict[str, Form], stages: dict[str, Form], dependencies: list[tuple[str, str, str]]) -> Form:
        for title, section in sections.items():
            kind, _, called = title.partition(" ")
            if kind == "job_type" and called:
                self._job_type(called, section)
            elif kind == "login_setup" and called:
                self._login_setup(called, section)
        defaults = dict(sections.get("campaign_defaults", {}))
        campaign = self._campaign(name, defaults)
        self._detach(campaign, set(stages))
        rows = []
        for stage_name, section in stages.items():
            # An empty value counts as none.
            form = {key: section.get(key) or defaults.get(key) for key in set(defaults) | set(section)}
            row = self._stage(campaign, stage_name, form)
            if row is None:
                return _bad_request(self.messages)
            rows.append(row)
        for row in rows:
            self.records.stages[row.campaign_stage_id] = row
        self._depend(campaign, dependencies)
        ids = [(stage.campaign_stage_id, stage.name) for stage in self.records.stages_of(campaign)]
        return {
            "status": "201 Created",
            "message": self.messages or "OK",
            "campaign_id": campaign.campaign_id,
            "campaign_stage_ids": ids,
        }

    def _job_type(self, name: str, form: Form) -> None:
        parameters = json.loads(form["parameters"]) if form.get("parameters") else form.get("parameters")
        exists = f"Warning: JobType '{name}' already exists and will not change."
        known = self.records.job_type_named(self.experiment, name)
        if known is not None and known.experiment == self.experiment:
            self.messages.append(exists)
            return
        job_type_id = self.records.new_id("job_types")
        job_type = JobType(job_type_id, self.experiment, name, form.get("launch_script"), parameters, form.get("output_file_patterns"))
        self.records.job_types[job_type_id] = job_type
        recoveries = [(entry[0], entry[1]) for entry in json.loads(form.get("recoveries") or "[]")]
        if all(kind in RECOVERY_TYPES for kind, _ in recoveries):
            job_type.recoveries = recoveries
        else:
            # The database refuses the rows of recoveries, and the message is that of the only refusal anybody thought of.
            self.messages.append(exists)

    def _login_setup(self, name: str, form: Form) -> None:
        known = self.records.login_setup_named(self.experiment, name)
        host, account, setup = (form.get(key) for key in ("host", "account", "setup"))
        # A missing value is refused by the database, with the same message.
        if host is None or account is None or setup is None or (known is not None and known.experiment == self.experiment):
            self.messages.append(f"Warning: LoginSetup '{name}' already exists and will not change.")
            return
        login_setup_id = self.records.new_id("login_setups")
        self.records.login_setups[login_setup_id] = LoginSetup(login_setup_id, self.experiment, name, host, account, setup)

    def _campaign(self, name: str, defaults: Form) -> Campaign:
        keywords = json.loads(defaults.pop("campaign_keywords", "") or "{}")
        stored = {"defaults": defaults, "positions": None}
        campaign = self.records.campaign_named(self.experiment, name)
        if campaign is None:
            campaign_id = self.records.new_id("campaigns")
            creator = self.records.experimenter(self.caller.username)
            campaign = Campaign(campaign_id, self.experiment, name, creator, self.caller.role, stored, keywords)
            self.records.campaigns[campaign_id] = campaign
        campaign.defaults, campaign.campaign_keywords = stored, keywords
        return campaign

    def _detach(self, campaign: Campaign, kept: set[str]) -> None:
        lost = {stage.campaign_stage_id: stage for stage in self.records.stages_of(campaign) if stage.name not in kept}
        for stage in lost.values():
            stage.campaign_id = None
        self.records.dependencies = [
            dependency
            for dependency in self.records.dependencies
            if not {dependency.needs_campaign_stage_id, dependency.provides_campaign_stage_id} & set(lost)
        ]

    def _stage(self, campaign: Campaign, name: str, form: Form) -> Stage | None:
        """The new row of a stage; None if its login setup or job type is not known.

        Raises:
            KeyError: a mandatory value is neither in the stage nor in the defaults.
            IntegrityError, DataError: the database does not take a value.
        """
        values: Form = {
            "completion_pct": form.pop("completion_pct"),
            "completion_type": form.pop("completion_type"),
            "cs_split_type": form.pop("cs_split_type", None),
            "default_clear_cronjob": form.pop("default_clear_cronjob", True) not in FALSE,
            "dataset": form.pop("dataset_or_split_data"),
        }
        job_type_name, login_setup_name = form.pop("job_type"), form.pop("login_setup")
        values["param_overrides"] = json.loads(form.pop("param_overrides", None) or "[]")
        values["merge_overrides"] = form.pop("merge_overrides", False) in TRUE
        values["software_version"] = form.pop("software_version")
        tests: Pairs | None = json.loads(form.pop("test_param_overrides", None) or "null")
        values["test_param_overrides"] = tests
        values["output_ancestor_depth"] = form.pop("output_ancestor_depth", 1)
        values["vo_role"] = form.pop("vo_role")
        values["campaign_stage_type"] = form.pop("stage_type", "regular")
        login_setup = self.records.login_setup_named(self.experiment, login_setup_name)
        if login_setup is None:
            self.messages.append(f"Error: LoginSetup '{login_setup_name}' not found! Campaign is incomplete!")
            return None
        job_type = self.records.job_type_named(self.experiment, job_type_name)
        if job_type is None:
            self.messages.append(f"Error: JobType '{job_type_name}' not found! Campaign is incomplete!")
            return None
        values |= {"login_setup_id": login_setup.login_setup_id, "job_type_id": job_type.job_type_id}
        checked(values)
        return self._row(campaign, name, values)

    def _row(self, campaign: Campaign, name: str, values: Form) -> Stage:
        user = self.records.experimenter(self.caller.username)
        old = self.records.stage_named(self.experiment, campaign.name, name)
        if old is not None:
            return replace(old, **values, updater=user, updated=now())
        return Stage(
            campaign_stage_id=self.records.new_id("campaign_stages"),
            experiment=self.experiment,
            campaign_id=campaign.campaign_id,
            name=name,
            creator=user,
            creator_role=self.caller.role,
            created=now(),
            **values,
        )

    def _depend(self, campaign: Campaign, dependencies: list[tuple[str, str, str]]) -> None:
        """Replace all dependencies of the campaign, or none if one of them cannot be.

        Raises:
            IntegrityError: a parent or child is not a stage of this campaign.
        """
        ids = {stage.name: stage.campaign_stage_id for stage in self.records.stages_of(campaign)}
        rows = []
        for parent, child, pattern in dependencies:
            if parent not in ids or child not in ids:
                column = "needs_campaign_stage_id" if parent not in ids else "provides_campaign_stage_id"
                raise IntegrityError(f'null value in column "{column}" violates not-null constraint')
            rows.append(Dependency(ids[parent], ids[child], pattern))
        own = set(ids.values())
        others = [row for row in self.records.dependencies if not {row.needs_campaign_stage_id, row.provides_campaign_stage_id} & own]
        self.records.dependencies = others + rows


def checked(values: Form) -> None:
    """What the database does to the columns of a stage: numbers are read from text, forbidden values refused.

    Raises:
        DataError: not a number.
        IntegrityError: a value is missing or not allowed.
    """
    for column in ("completion_pct", "completion_type", "dataset", "software_version", "vo_role", "campaign_stage_type"):
        if column in values and values[column] is None:
            raise IntegrityError(f'null value in column "{column}" violates not-null constraint')
    for column in ("completion_pct", "output_ancestor_depth"):
        if column in values and values[column] is not None:
            try:
                values[column] = int(values[column])
            except ValueError:
                raise DataError(f'invalid input syntax for type integer: "{values[column]}"') from None
    if not 0 < values.get("completion_pct", 100) <= 100:
        raise IntegrityError('violates check constraint "ck_campaigns_completion_pct"')
    if values.get("completion_type", "located") not in COMPLETION_TYPES:
        raise IntegrityError('violates check constraint "ck_campaigns_completion_type"')
    if values.get("campaign_stage_type", "regular") not in STAGE_TYPES:
        raise IntegrityError('violates check constraint "ck_campaign_stage_type"')


def _bad_request(message: str | list[str]) -> Form:
    return {"status": "400 Bad Request", "message": message}


def _titled(sections: dict[str, Form], start: str) -> dict[str, Form]:
    return {title.removeprefix(start): section for title, section in sections.items() if title.startswith(start)}
