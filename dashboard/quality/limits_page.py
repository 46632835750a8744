"""All that the page of the limits shows: a version as a table, what it changed, all versions, and the reference runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from dashboard.dqm.metrics import Group
from dashboard.quality.changes import Change, changes
from dashboard.quality.checks import shown_limit
from dashboard.quality.limits import BOUNDS, Check, Limits, LimitsVersion, Rule, read_limits, read_versions
from dashboard.quality.references import ReferenceRow, read_references


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A limit: where it applies, and its numbers with their unit, in the order of `BOUNDS`; None where there is none."""

    rule: Rule
    numbers: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class CheckRows:
    """A check and its limits."""

    check: Check
    rules: Sequence[RuleRow]


@dataclass(frozen=True, slots=True)
class LimitsPage:
    """The page. `in_force`: the version shown is the one that counts; `changes` are told against the version `against`, if there is one."""

    limits: Limits
    in_force: bool
    groups: Sequence[tuple[Group, Sequence[CheckRows]]]
    against: int | None
    changes: Sequence[Change]
    versions: Sequence[LimitsVersion]
    references: Sequence[ReferenceRow]


def read_limits_page(connection: sa.Connection, version: int | None, against: int | None) -> LimitsPage:
    """The page of a version (default: the one in force) with its differences to another (default: the one before).

    Raises:
        ConfigError: there is no such version.
    """
    limits = read_limits(connection, version)
    versions = read_versions(connection)
    if against is None and limits.version > 1:
        against = limits.version - 1
    checks = list(limits.checks.values())
    grouped = [(group, [_rows(check) for check in checks if check.group is group]) for group in Group]
    return LimitsPage(
        limits=limits,
        in_force=not versions or limits.version == versions[0].version,
        groups=[(group, rows) for group, rows in grouped if rows],
        against=against,
        changes=[] if against is None else changes(read_limits(connection, against).file, limits.file),
        versions=versions,
        references=read_references(connection),
    )


def _rows(check: Check) -> CheckRows:
    def number(value: float | None) -> str | None:
        return None if value is None else shown_limit(value, check.quantity)

    return CheckRows(check, [RuleRow(rule, [number(getattr(rule, name)) for name in BOUNDS]) for rule in check.limits])
