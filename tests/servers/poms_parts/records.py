"""The tables of the POMS double, in memory. Columns are called as in webservice/poms_model.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from tests.servers.poms_parts.problems import MultipleResultsFound, NoResultFound

STATUSES = {
    "New": 1000,
    "Cancelled": 1500,
    "LaunchFailed": 2000,
    "Awaiting Approval": 2400,
    "Approved": 2500,
    "Idle": 3000,
    "Running": 4000,
    "Held": 5000,
    "Failed": 6000,
    "Completed": 7000,
    "Located": 8000,
    "Removed": 9000,
}
STATUS_NAMES = {status_id: name for name, status_id in STATUSES.items()}
RECOVERY_TYPES = ("consumed_status", "process_status", "added_files", "pending_files", "delivered_not_consumed")
# The user of cron, of the agent, and the only superuser here.
POMS_USER = "poms"
# Login setups and job types of this experiment may be used by all.
COMMON_EXPERIMENT = "samdev"

Pairs = list[list[str]]
T = TypeVar("T")


@dataclass(frozen=True)
class Caller:
    """Who asks, for which experiment, in which role."""

    username: str
    experiment: str
    role: str


@dataclass
class LoginSetup:
    login_setup_id: int
    experiment: str
    name: str
    launch_host: str
    launch_account: str
    launch_setup: str


@dataclass
class JobType:
    job_type_id: int
    experiment: str
    name: str
    launch_script: str | None
    definition_parameters: Any
    output_file_patterns: str | None
    # What CampaignRecovery rows hold: type and parameter overrides, in order.
    recoveries: list[tuple[str, Pairs]] = field(default_factory=list)


@dataclass
class Campaign:
    campaign_id: int
    experiment: str
    name: str
    creator: int
    creator_role: str
    defaults: dict[str, Any]
    campaign_keywords: dict[str, Any]
    active: bool = True
    campaign_type: str | None = None


@dataclass
class Stage:
    campaign_stage_id: int
    experiment: str
    campaign_id: int | None
    name: str
    creator: int
    creator_role: str
    created: datetime
    vo_role: str
    software_version: str
    dataset: str
    cs_split_type: str | None
    completion_type: str
    completion_pct: int
    job_type_id: int
    login_setup_id: int
    param_overrides: Pairs
    test_param_overrides: Pairs | None
    merge_overrides: bool
    campaign_stage_type: str
    output_ancestor_depth: int
    default_clear_cronjob: bool
    cs_last_split: int | None = None
    hold_experimenter_id: int | None = None
    role_held_with: str | None = None
    updater: int | None = None
    updated: datetime | None = None


@dataclass(frozen=True)
class Dependency:
    """POMS calls the parent the stage that is needed, and the child the one that is provided for."""

    needs_campaign_stage_id: int
    provides_campaign_stage_id: int
    file_patterns: str


@dataclass
class Submission:
    submission_id: int
    campaign_stage_id: int
    creator: int
    created: datetime
    updated: datetime
    # Copies of the rows as they were when it was launched.
    stage_snapshot: Stage
    job_type_snapshot: JobType
    login_setup_snapshot: LoginSetup
    history: list[tuple[int, datetime]]
    submission_params: dict[str, Any] = field(default_factory=dict)
    command_executed: str = ""
    jobsub_job_id: str | None = None
    project: str | None = None
    recovery_position: int | None = None
    recovery_tasks_parent: int | None = None

    @property
    def status(self) -> str:
        return STATUS_NAMES[self.history[-1][0]]

    @property
    def dataset(self) -> str | None:
        dataset: str | None = self.submission_params.get("dataset")
        return dataset


@dataclass(frozen=True)
class HeldLaunch:
    """A launch of a held stage, to be repeated later; that it was a test is forgotten."""

    campaign_stage_id: int
    launcher: int
    dataset: str | None
    parent_submission_id: int | None
    param_overrides: Any


class Records:
    """All rows. Nothing here locks; whoever calls holds the lock of the server."""

    def __init__(self) -> None:
        self.login_setups: dict[int, LoginSetup] = {}
        self.job_types: dict[int, JobType] = {}
        self.campaigns: dict[int, Campaign] = {}
        self.stages: dict[int, Stage] = {}
        self.dependencies: list[Dependency] = []
        self.submissions: dict[int, Submission] = {}
        self.held_launches: list[HeldLaunch] = []
        # The crontab of the poms user: the line of each stage.
        self.crontab: dict[int, str] = {}
        self._experimenters: dict[str, int] = {}
        self._ids: dict[str, itertools.count[int]] = {}
        self.experimenter(POMS_USER)

    def new_id(self, table: str) -> int:
        return next(self._ids.setdefault(table, itertools.count(1)))

    def experimenter(self, username: str) -> int:
        """The id of a user, who is made known if need be (on a real server, an unknown user gets an error 500)."""
        if username not in self._experimenters:
            self._experimenters[username] = self.new_id("experimenters")
        return self._experimenters[username]

    def username(self, experimenter_id: int) -> str:
        return one(name for name, known in self._experimenters.items() if known == experimenter_id)

    def known_user(self, username: str) -> int:
        return one(known for name, known in self._experimenters.items() if name == username)

    def campaign_named(self, experiment: str, name: str) -> Campaign | None:
        return next((campaign for campaign in self.campaigns.values() if (campaign.experiment, campaign.name) == (experiment, name)), None)

    def stages_of(self, campaign: Campaign) -> list[Stage]:
        return [stage for stage in self.stages.values() if stage.campaign_id == campaign.campaign_id]

    def campaign_of(self, stage: Stage) -> Campaign | None:
        return self.campaigns[stage.campaign_id] if stage.campaign_id is not None else None

    def stage_named(self, experiment: str, campaign_name: str, name: str) -> Stage | None:
        campaign = self.campaign_named(experiment, campaign_name)
        return next((stage for stage in self.stages_of(campaign) if stage.name == name), None) if campaign else None

    def login_setup_named(self, experiment: str, name: str) -> LoginSetup | None:
        return _named(self.login_setups.values(), experiment, name)

    def job_type_named(self, experiment: str, name: str) -> JobType | None:
        return _named(self.job_types.values(), experiment, name)


def _named(rows: Iterable[T], experiment: str, name: str) -> T | None:
    found = {row.experiment: row for row in rows if row.name == name}  # type: ignore[attr-defined]
    return found.get(experiment) or found.get(COMMON_EXPERIMENT)


def one(rows: Iterable[T]) -> T:
    """The only row.

    Raises:
        NoResultFound: there is none.
        MultipleResultsFound: there are several.
    """
    found = list(rows)
    if not found:
        raise NoResultFound("No row was found when one was required")
    if len(found) > 1:
        raise MultipleResultsFound("Multiple rows were found when exactly one was required")
    return found[0]


def now() -> datetime:
    return datetime.now(UTC)
