"""Alarms in the site file: what is looked for and when it is an alarm (`watch`), who is told, and when nobody is (`alarms`)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, HttpUrl, field_validator, model_validator

from dune_prompt.settings.paths import FilePath
from dune_prompt.settings.units import DurationS, Fraction, parse_date
from dune_prompt.settings.yaml_file import Strict

# A rule is called as the key that holds its limit.
RuleName = Literal[
    "no_file_for",
    "no_decision_for",
    "no_heartbeat_for",
    "no_good_probe_for",
    "clock_skew",
    "buffer_above",
    "disk_full_within",
    "away_for",
    "launcher_out_for",
    "behind",
    "late",
    "failures",
    "parked",
    "stopped",
    "quality_bad",
]
RULE_NAMES: tuple[RuleName, ...] = get_args(RuleName)
NoticeKind = Literal["raised", "returned", "cleared"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

# Looks in a row; a rule whose limit is no duration itself needs more of them, so that a moment makes no alarm.
_AFTER: dict[RuleName, int] = {"behind": 10, "failures": 4}
_AFTER_ELSE = 2
_DAYS: tuple[Day, ...] = get_args(Day)
_MINUTES_A_DAY = 24 * 60
_HH_MM = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")


def _minutes(value: object) -> int:
    """Minutes since midnight of `HH:MM`."""
    # YAML 1.1 reads 10:30 without quotes as a number of base 60.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MINUTES_A_DAY:
        return value
    match = _HH_MM.fullmatch(value) if isinstance(value, str) else None
    minutes = 60 * int(match[1]) + int(match[2]) if match else -1
    if not 0 <= minutes <= _MINUTES_A_DAY:
        raise ValueError("write a time of day, UTC, as 08:30; the end of the day is 24:00")
    return minutes


def _moment(value: object) -> float:
    """Seconds since the Unix epoch of an ISO 8601 date; a day is its beginning, and everything UTC that does not say otherwise."""
    if isinstance(value, str):
        try:
            return parse_date(value)
        except ValueError:
            pass
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise ValueError("write a date, UTC, as 2026-11-26 or 2026-11-26T08:00")
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


TimeOfDay = Annotated[int, BeforeValidator(_minutes)]
Moment = Annotated[float, BeforeValidator(_moment)]


class WatchSettings(Strict):
    """What is looked for, each with its limit; null switches a rule off."""

    no_file_for: DurationS | None = Field(900.0, description="a run is going, and no new raw file was found for so long")
    run_over_after: DurationS = Field(6 * 3600.0, description="a run whose last file was found so long ago is over, not silent")
    no_decision_for: DurationS | None = Field(120.0, description="the engine has decided nothing for so long")
    no_heartbeat_for: DurationS | None = Field(60.0, description="the declare daemon's lease has run out for so long")
    no_good_probe_for: DurationS | None = Field(3 * 3600.0, description="no probe came through as it should for so long; needs `probe`")
    clock_skew: DurationS | None = Field(5.0, description="clocks of worker, daemon, storage and service differ by more than this")
    buffer_above: Fraction | None = Field(0.95, description="the buffer is fuller than this; take more than `buffer.high_water`")
    disk_full_within: DurationS | None = Field(6 * 3600.0, description="the buffer will be full within this time, as fast as it fills now")
    away_for: DurationS | None = Field(300.0, description="a catalogue, the buffer or a storage does not answer the daemon for so long")
    launcher_out_for: DurationS | None = Field(600.0, description="a batch system takes no jobs for so long")
    behind: float | None = Field(2.0, gt=0, description="what waits takes more than so many times `slots.drain_within` at the present rate")
    late: int | None = Field(1, ge=1, description="so many tasks cannot be done before their deadline any more")
    failures: Fraction | None = Field(0.2, description="this part of the attempts of the last hour failed in one way (5 at least)")
    parked: int | None = Field(1, ge=1, description="so many tasks wait for a person")
    stopped: int | None = Field(1, ge=1, description="so many files are quarantined, in conflict, or of no stream")
    quality_bad: int | None = Field(2, ge=1, description="so many files of a run are BAD in one group of one element")
    after: dict[RuleName, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict,
        description="looks in a row that must find it before it is an alarm, by rule; default: 2, failures 4, behind 10",
    )

    @field_validator("clock_skew")
    @classmethod
    def _possible_skew(cls, skew: float | None) -> float | None:
        """Hosts write whole seconds in places."""
        if skew is not None and skew < 1:
            raise ValueError("differences below 1s cannot be told from delays")
        return skew

    @model_validator(mode="after")
    def _run_outlasts_silence(self) -> Self:
        if self.no_file_for is not None and self.run_over_after <= self.no_file_for:
            raise ValueError("run_over_after must be longer than no_file_for: a run that is over is not looked for")
        return self

    def looks(self, rule: RuleName) -> int:
        """How many looks in a row must find what `rule` looks for."""
        return (_AFTER | self.after).get(rule, _AFTER_ELSE)


class MuteSettings(Strict):
    """A time in which alarms neither come nor are sent: planned work. They are shown as muted."""

    rule: str = Field("*", description="rules it holds for (shell wildcards)")
    subject: str = Field("*", description="subjects it holds for (shell wildcards), such as `catalog:rucio`")
    days: tuple[Day, ...] = Field((), description="days of the week it begins on; default: every day")
    from_: TimeOfDay | None = Field(None, alias="from", description="from this time of day, UTC, such as 22:00")
    to: TimeOfDay | None = Field(None, description="to this one; before `from`: of the next day")
    until: Moment | None = Field(None, description="not after this date, UTC, such as 2026-11-30 (its beginning) or 2026-11-26T08:00")
    why: str = Field(min_length=1, max_length=300, description="why; shown beside the alarm")

    @field_validator("rule")
    @classmethod
    def _some_rule(cls, pattern: str) -> str:
        if not any(fnmatchcase(name, pattern) for name in RULE_NAMES):
            raise ValueError(f"fits no rule; there are {', '.join(RULE_NAMES)}")
        return pattern

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if (self.from_ is None) != (self.to is None):
            raise ValueError("from and to belong together")
        if self.from_ is not None and self.from_ == self.to:
            raise ValueError("from and to are the same time: leave both out for the whole day")
        if self.until is None and self.from_ is None and not self.days:
            raise ValueError("it would never end: give until, or from and to, or days; to switch a rule off, set it to null in watch")
        return self

    def covers(self, rule: str, subject: str, at: float) -> bool:
        """Whether an alarm of `rule` about `subject` is muted at `at`."""
        return self.fits(rule) and fnmatchcase(subject, self.subject) and self.holds(at)

    def fits(self, rule: str) -> bool:
        """Whether it is about `rule`."""
        return fnmatchcase(rule, self.rule)

    def holds(self, at: float) -> bool:
        """Whether `at` is within the window."""
        if self.until is not None and at >= self.until:
            return False
        now = datetime.fromtimestamp(at, UTC)
        minute, today = 60 * now.hour + now.minute, now.weekday()
        begin, end = self.from_ or 0, _MINUTES_A_DAY if self.to is None else self.to
        if begin < end:
            return begin <= minute < end and self._begins_on(today)
        return (minute >= begin and self._begins_on(today)) or (minute < end and self._begins_on(today - 1))

    def _begins_on(self, weekday: int) -> bool:
        return not self.days or _DAYS[weekday % 7] in self.days


class WebhookSettings(Strict):
    """An address that gets each notice as JSON."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,40}$", description="how it is called in pages, logs and the store; the address never is")
    url: HttpUrl | None = Field(None, description="the address")
    url_file: FilePath | None = Field(None, description="file that holds the address, when there is a secret in it; read at every notice")
    events: tuple[NoticeKind, ...] = Field(("raised", "returned", "cleared"), min_length=1, description="what it is told")

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("give either url or url_file")
        return self


class MailSettings(Strict):
    """A mail for each notice."""

    server: str = Field(pattern=r"^[^:\s]+(:[0-9]{1,5})?$", description="the mail server, such as cernmx.cern.ch; default port: 25")
    from_: str = Field(alias="from", pattern=r"^[^@\s]+@[^@\s]+$", description="sender")
    to: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = Field(min_length=1, description="recipients")

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.server.partition(":")
        return host, int(port or 25)


class AlarmSettings(Strict):
    """Who looks after alarms, who is told, and when nobody is."""

    look_every: DurationS = Field(30.0, ge=1, description="time between two looks")
    owners: dict[RuleName, Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        default_factory=dict, description="who looks after the alarms of a rule; default: shifter"
    )
    mute: tuple[MuteSettings, ...] = Field((), description="times in which alarms neither come nor are sent")
    webhook: tuple[WebhookSettings, ...] = Field((), description="addresses that get each notice as JSON")
    mail: MailSettings | None = Field(None, description="mail for each notice; default: none")

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names: list[str] = [target.name for target in self.webhook]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two webhooks are called {', '.join(sorted(twice))}")
        return self

    def owner(self, rule: RuleName) -> str:
        """Who looks after the alarms of `rule`."""
        return self.owners.get(rule, "shifter")

    def muted(self, rule: str, subject: str, at: float) -> MuteSettings | None:
        """The window that mutes an alarm of `rule` about `subject` at `at`."""
        return next((window for window in self.mute if window.covers(rule, subject, at)), None)
