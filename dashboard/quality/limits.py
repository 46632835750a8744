"""Limits: which quantities are checked, what each means and what to do, and between which numbers it is well.

They are data with a version: a YAML file as people write it, and rows of `quality_limits` as they are kept. A verdict names the version.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import sqlalchemy as sa
import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from dashboard.dqm.metrics import Group
from dashboard.quality.quantities import QUANTITIES, Quantity
from dashboard.quality.tables import limits_table
from dune_prompt.errors import ConfigError, ConflictError
from dune_prompt.settings import Strict, load_yaml
from dune_prompt.store import Event, record_events

PACKAGED = Path(__file__).parent / "data" / "limits.yaml"
ROOM = "dashboard"
BOUNDS = ("low_alarm", "low_warn", "high_warn", "high_alarm")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a limit is a finite number")
    return value


Bound = Annotated[float, AfterValidator(_finite)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Pattern = Annotated[str, Field(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True)
class Limit:
    """Between `low_warn` and `high_warn`, both included, a quantity is GOOD; outside them MEDIUM; outside the alarm limits BAD."""

    low_alarm: float | None
    low_warn: float | None
    high_warn: float | None
    high_alarm: float | None


class Rule(Strict):
    """A limit and where it applies. Without any number: there the check is left out."""

    detector: Pattern = Field("*", description="pdhd, pdvd, or a pattern")
    run_type: Pattern = Field("*", description="data stream of the raw file (cosmics, physics, …), or a pattern")
    planes: tuple[Literal["U", "V", "W"], ...] = Field((), description="default: all")
    low_alarm: Bound | None = Field(None, description="below it: BAD")
    low_warn: Bound | None = Field(None, description="below it: MEDIUM")
    high_warn: Bound | None = Field(None, description="above it: MEDIUM")
    high_alarm: Bound | None = Field(None, description="above it: BAD")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        given = [(name, value) for name in BOUNDS if (value := getattr(self, name)) is not None]
        for (lower, low), (upper, high) in pairwise(given):
            if low > high:
                raise ValueError(f"{lower} ({low:g}) is above {upper} ({high:g})")
        return self

    @property
    def limit(self) -> Limit | None:
        """Its numbers; None when it has none."""
        limit = Limit(self.low_alarm, self.low_warn, self.high_warn, self.high_alarm)
        return None if limit == _NONE else limit

    def fits(self, detector: str, run_type: str, plane: str | None) -> bool:
        on_plane = plane is None or not self.planes or plane in self.planes
        return on_plane and fnmatchcase(detector, self.detector) and fnmatchcase(run_type, self.run_type)


_NONE = Limit(None, None, None, None)


class Check(Strict):
    """A quantity that is judged. Of its limits the first that fits counts."""

    key: str = Field(description="what is judged")
    group: Group = Field(description="the column of the shifter's page it belongs to")
    words: Text = Field(description="its name for people")
    means: Text = Field(description="what it means when it is outside its limits")
    do: Text = Field(description="what to do then")
    at_gain_mv_per_fc: Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, description="the limits are for this gain of the electronics, and go with that of the file"
    )
    limits: tuple[Rule, ...] = Field(min_length=1, description="the first that fits counts")

    @field_validator("key")
    @classmethod
    def _known(cls, key: str) -> str:
        if key not in QUANTITIES:
            raise ValueError(f"there is no such quantity; there are: {', '.join(sorted(QUANTITIES))}")
        return key

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.quantity.of_file and any(rule.planes for rule in self.limits):
            raise ValueError(f"{self.key} is of the file as a whole: its limits are not of planes")
        where = [(rule.detector, rule.run_type, rule.planes) for rule in self.limits]
        if twice := next((place for place in where if where.count(place) > 1), None):
            raise ValueError(f"two limits for detector {twice[0]}, run type {twice[1]}, planes {' '.join(twice[2]) or 'U V W'}")
        return self

    @property
    def quantity(self) -> Quantity:
        return QUANTITIES[self.key]

    def limit_of(self, detector: str, run_type: str, plane: str | None) -> Limit | None:
        """The limit that counts; None where the check is left out."""
        rule = next((rule for rule in self.limits if rule.fits(detector, run_type, plane)), None)
        return None if rule is None else rule.limit


class LimitsFile(Strict):
    """The file: all checks with their limits."""

    format: Literal[1] = Field(1, description="of this file")
    checks: tuple[Check, ...] = Field(max_length=200, description="in the order in which they are shown")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        seen: set[str] = set()
        for check in self.checks:
            if check.key in seen:
                raise ValueError(f"{check.key} is checked twice")
            seen.add(check.key)
        return self


@dataclass(frozen=True, slots=True)
class Limits:
    """A version of the limits, and who set it why. `checks` are by their key, in the order in which they are shown."""

    version: int
    set_at: float
    set_by: str
    why: str
    file: LimitsFile
    checks: Mapping[str, Check] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "checks", {check.key: check for check in self.file.checks})

    def limit_of(self, detector: str, run_type: str, plane: str | None, key: str) -> Limit | None:
        """The limit of a quantity; None when it is not checked there. `plane` is None for a quantity of the file."""
        check = self.checks.get(key)
        return None if check is None else check.limit_of(detector, run_type, plane)


@dataclass(frozen=True, slots=True)
class LimitsVersion:
    """A version without its content."""

    version: int
    set_at: float
    set_by: str
    why: str


def load_limits(path: Path) -> LimitsFile:
    """The limits in a YAML file.

    Raises:
        ConfigError: every mistake, with file, line, key and value.
    """
    return load_yaml(path, LimitsFile)


def to_yaml(content: LimitsFile) -> str:
    """The limits as a file that `load_limits` reads."""
    return yaml.safe_dump(as_json(content), sort_keys=False, allow_unicode=True, width=120)


def as_json(content: LimitsFile) -> dict[str, Any]:
    """The limits as they are kept: what was not given is left out."""
    return {"format": content.format, **content.model_dump(mode="json", exclude_defaults=True)}


@cache
def packaged() -> LimitsFile:
    """The limits that come with the software, version 1 of every store."""
    return load_limits(PACKAGED)


_PACKAGED_WHY = "the limits that come with the software"
_PACKAGED_BY = "dune-prompt"


def ensure(connection: sa.Connection, now: float) -> None:
    """Put the packaged limits into the store as version 1 if it has none; `connection` may write."""
    if newest_version(connection) is None:
        with contextlib.suppress(ConflictError):  # another process has just done it
            _insert(connection, 1, packaged(), now, _PACKAGED_BY, _PACKAGED_WHY)


def newest_version(connection: sa.Connection) -> int | None:
    """The version in force; None before the first."""
    return connection.execute(sa.select(sa.func.max(limits_table.c.version))).scalar()


def read_limits(connection: sa.Connection, version: int | None = None) -> Limits:
    """A version of the limits, by default the one in force; before the first was put into the store, what that will be.

    Raises:
        ConfigError: there is no such version, or it cannot be read by this dune-prompt.
    """
    c = limits_table.c
    statement = sa.select(limits_table).order_by(c.version.desc()).limit(1)
    row = connection.execute(statement if version is None else statement.where(c.version == version)).one_or_none()
    if row is None:
        if version is None:
            return Limits(1, 0.0, _PACKAGED_BY, _PACKAGED_WHY, packaged())
        raise ConfigError(f"limits: there is no version {version}")
    return Limits(row.version, row.set_at, row.set_by, row.why, _parsed(row.version, row.content))


def _parsed(version: int, content: Any) -> LimitsFile:
    try:
        return LimitsFile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"limits version {version}: {where}: {first['msg']} (was it written by a newer dune-prompt?)") from None


def read_versions(connection: sa.Connection) -> list[LimitsVersion]:
    """All versions, the newest first."""
    c = limits_table.c
    statement = sa.select(c.version, c.set_at, c.set_by, c.why).order_by(c.version.desc())
    return [LimitsVersion(*row) for row in connection.execute(statement)]


def set_limits(connection: sa.Connection, content: LimitsFile, *, after_version: int, by: str, why: str, now: float) -> int:
    """Make `content` the limits in force; its version.

    Raises:
        ConflictError: another version came after `after_version`, which the author has not seen.
        ConfigError: nothing would change.
    """
    ensure(connection, now)
    newest = read_limits(connection)
    if newest.version != after_version:
        raise ConflictError(
            f"limits: version {newest.version} is in force, set by {newest.set_by} ({newest.why}), not {after_version}: look at it first"
        )
    if as_json(newest.file) == as_json(content):
        raise ConfigError(f"limits: they are those of version {newest.version} already")
    version = newest.version + 1
    _insert(connection, version, content, now, by, why)
    return version


def _insert(connection: sa.Connection, version: int, content: LimitsFile, now: float, by: str, why: str) -> None:
    try:
        with connection.begin_nested():
            values = {"version": version, "set_at": now, "set_by": by, "why": why, "content": as_json(content)}
            connection.execute(sa.insert(limits_table).values(values))
    except sa.exc.IntegrityError:
        raise ConflictError(f"limits: version {version} was just set by somebody else: look at it first") from None
    before = None if version == 1 else f"version {version - 1}"
    record_events(connection, [Event(now, ROOM, "quality:limits", before, f"version {version}", by, why)])
