"""A version beside another on the files both have processed: data quality, what the jobs cost, how they failed; with a verdict in words.

The data-quality numbers are read from the table of uploaded records, which has the scalars of each file in its row: quick, and wherever
the record itself lies by now. What is not there (no upload to this installation) is read from the committed record files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import median
from typing import Any

import sqlalchemy as sa

from campaign.definition import FINAL_STAGE
from campaign.layout import CHAIN
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import attempt_table, task_table
from campaign.ledger.tasks import chunks
from campaign.ledger.versions import Version
from campaign.states import AttemptState, TaskState
from campaign.versions.charge import charge_lines
from campaign.versions.outputs import output_files
from campaign.versions.paired import Line, judged, line, share
from campaign.versions.roles import Role
from dune_prompt.errors import ConfigError
from stages.evaluate.scalars import INDEX, PLANES, Scalars, unpack

# The files that came last are compared, at most so many; of these at most so many records are read from their files.
MOST_FILES = 2000
MOST_READ = 200

# The dashboard's table, by the names of the columns needed: the dashboard is above this room.
_dqm = sa.table(
    "dqm_result",
    *(sa.column(name) for name in ("campaign", "version", "input_did", "scalars")),
    sa.column("elements", sa.JSON),
    sa.column("shown", sa.Boolean),
)

# Quantities of a plane: key in the record, words, unit, whether it is a count that is added up over the elements.
_QUALITY = (
    ("pedestal_adc", "pedestal", "ADC", False),
    ("rms_raw_adc", "RMS raw", "ADC", False),
    ("rms_nf_adc", "RMS filtered", "ADC", False),
    ("coherent_fraction", "coherent part", "", False),
    ("n_dead", "dead channels", "", True),
    ("n_noisy", "noisy channels", "", True),
    ("hits", "hits", "/record", True),
    ("charge_e", "charge", "e/record", True),
)

Values = Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`new` beside `old` on `files` files processed by both; the words say what differs by more than `tolerance`."""

    campaign: str
    old: str
    new: str
    files: int
    tolerance: float
    lines: tuple[Line, ...]

    @property
    def verdict(self) -> str:
        """What the numbers say, in words."""
        head = f"{self.campaign} {self.new} beside {self.old}, {self.files} files processed by both"
        if not self.lines:
            return f"{head}: nothing to compare yet"
        parts = []
        for answer, words in (
            ("differs", f"differs by more than {self.tolerance:.0%}"),
            ("may differ", "may differ, but the files are too few or too unlike to tell"),
            ("too few files", "looks different, but from a handful of files nothing follows"),
        ):
            if found := [_change(item) for item in self.lines if item.answer == answer]:
                parts.append(f"{words}: {', '.join(found)}")
        alike = sum(item.answer == "alike" for item in self.lines)
        parts.append(f"alike in {alike} of {len(self.lines)} quantities")
        return f"{head}. " + ". ".join(part[0].upper() + part[1:] for part in parts) + "."


def _change(item: Line) -> str:
    if item.unit == "of files":
        return f"{item.what} ({item.old:.1%} -> {item.new:.1%} of files)"
    return f"{item.what} ({item.relative:+.1%})" if item.relative is not None else f"{item.what} ({item.old:g} -> {item.new:g})"


def compare(
    connection: sa.Connection, name: str, new: str, old: str | None = None, *, tolerance: float = 0.05, frames: int = 0
) -> Comparison:
    """Compare two versions of a campaign; without `old` the newest version before `new` that was not dropped.

    Of the last `frames` files the charge is compared pixel by pixel too, where this machine can read it.

    Raises:
        ConfigError: there is no such version.
    """
    (mine,) = ledger_versions.find(connection, name, new)
    if old is None:
        earlier = [item for item in ledger_versions.versions(connection, name) if item.id < mine.id and item.role is not Role.DROPPED]
        if not earlier:
            raise ConfigError(f"{name} {new}: there is no version before it to compare it with")
        other = earlier[-1]
    else:
        (other,) = ledger_versions.find(connection, name, old)
    both = _both(connection, mine, other)
    lines = _quality(connection, mine, other, both) + charge_lines(connection, mine, other, both, frames)
    lines += _performance(connection, mine, other, both) + _failures(connection, mine, other)
    return Comparison(name, other.version, new, len(both), tolerance, tuple(judged(lines, tolerance)))


def _both(connection: sa.Connection, new: Version, old: Version) -> list[str]:
    """The files whose record both versions have made, those that came last."""
    c = task_table.c
    other = task_table.alias()
    final = (CHAIN, FINAL_STAGE)
    statement = (
        sa.select(c.input_did)
        .join(other, sa.and_(other.c.input_did == c.input_did, other.c.campaign_id == old.id, other.c.step.in_(final)))
        .where(c.campaign_id == new.id, c.step.in_(final), c.state == TaskState.DONE, other.c.state == TaskState.DONE)
        .order_by(c.created_at.desc(), c.id.desc())
        .limit(MOST_FILES)
    )
    return list(connection.execute(statement).scalars())


def _quality(connection: sa.Connection, new: Version, old: Version, dids: Sequence[str]) -> list[Line]:
    values_old, values_new = _values(connection, old, dids), _values(connection, new, dids)
    lines = []
    for key, words, unit, _ in _QUALITY:
        for plane in PLANES:
            pairs = [
                (values_old[did][key, plane], values_new[did][key, plane])
                for did in dids
                if (key, plane) in values_old.get(did, {}) and (key, plane) in values_new.get(did, {})
            ]
            if pairs:
                lines.append(line(f"{words} {plane}", unit, pairs))
    return lines


def _values(connection: sa.Connection, version: Version, dids: Sequence[str]) -> dict[str, Values]:
    """The quantities of each file by (key, plane); files without a record are absent."""
    found: dict[str, Values] = {}
    for part in chunks(dids):
        mine = (_dqm.c.campaign == version.name, _dqm.c.version == version.version, _dqm.c.input_did.in_(part), _dqm.c.shown)
        for did, elements, block in connection.execute(sa.select(_dqm.c.input_did, _dqm.c.elements, _dqm.c.scalars).where(*mine)):
            found[did] = _of_block(unpack(block, len(elements)))
    missing = [did for did in dids if did not in found][:MOST_READ]
    for did, path in output_files(connection, version, missing, FINAL_STAGE, ".json"):
        try:
            found[did] = _by_plane(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # out of reach, or of another form: the file is not compared, and the number of files says so
    return found


def _of_block(scalars: Scalars) -> Values:
    """The quantities of a row: over the elements counts are added, all else is their median."""
    found: dict[tuple[str, str], float] = {}
    for key, _, _, is_count in _QUALITY:
        for at, name in enumerate(PLANES):
            values = [float(value) for value in scalars[:, at, INDEX[key]] if not isnan(value)]
            if values:
                found[key, name] = sum(values) if is_count else median(values)
    return found


def _by_plane(record: Mapping[str, Any]) -> Values:
    """The same of a record."""
    found: dict[tuple[str, str], float] = {}
    planes = [plane for element in record["elements"] for plane in element["planes"]]
    for key, _, _, is_count in _QUALITY:
        for name in PLANES:
            each = [plane[key]["median"] if isinstance(plane[key], dict) else plane[key] for plane in planes if plane["plane"] == name]
            values = [float(value) for value in each if value is not None]
            if values:
                found[key, name] = sum(values) if is_count else median(values)
    return found


def _performance(connection: sa.Connection, new: Version, old: Version, dids: Sequence[str]) -> list[Line]:
    """What the attempts that counted cost: over the steps of a staged chain times are added, memory is the most of them."""
    costs = [_costs(connection, version, dids) for version in (old, new)]
    lines = []
    for index, (what, unit) in enumerate((("wall time", "s"), ("CPU time", "s"), ("memory", "MB"))):
        pairs = []
        for did in dids:
            before, after = (cost.get(did, (None, None, None))[index] for cost in costs)
            if before is not None and after is not None:
                pairs.append((before, after))
        if pairs:
            lines.append(line(what, unit, pairs))
    return lines


def _costs(connection: sa.Connection, version: Version, dids: Sequence[str]) -> dict[str, tuple[float | None, float | None, float | None]]:
    a, c = attempt_table.c, task_table.c
    found: dict[str, tuple[float | None, float | None, float | None]] = {}
    for part in chunks(dids):
        statement = (
            sa.select(c.input_did, sa.func.sum(a.ended_at - a.started_at), sa.func.sum(a.cpu_s), sa.func.max(a.rss_bytes))
            .join(task_table, c.id == a.task_id)
            .where(c.campaign_id == version.id, c.input_did.in_(part), a.state == AttemptState.SUCCEEDED)
            .group_by(c.input_did)
        )
        for did, wall, cpu, memory in connection.execute(statement):
            found[did] = (wall, cpu, memory / 1e6 if memory is not None else None)
    return found


def _failures(connection: sa.Connection, new: Version, old: Version) -> list[Line]:
    """How many of the files that both versions have tried failed in each way at least once, and how many are parked."""
    tried = _tried_by_both(connection, new, old)
    failed = [_failed(connection, version, tried) for version in (old, new)]
    lines = []
    for what in sorted({what for each in failed for whats in each.values() for what in whats}):
        pairs = [(what in failed[0].get(did, set()), what in failed[1].get(did, set())) for did in tried]
        lines.append(share(what, pairs))
    return lines


def _tried_by_both(connection: sa.Connection, new: Version, old: Version) -> list[str]:
    c = task_table.c
    other = task_table.alias()
    statement = (
        sa.select(c.input_did, sa.func.max(c.id).label("last"))
        .join(other, sa.and_(other.c.input_did == c.input_did, other.c.campaign_id == old.id, other.c.attempts > 0))
        .where(c.campaign_id == new.id, c.attempts > 0)
        .group_by(c.input_did)
        .order_by(sa.desc("last"))
        .limit(MOST_FILES)
    )
    return [row.input_did for row in connection.execute(statement)]


def _failed(connection: sa.Connection, version: Version, dids: Sequence[str]) -> dict[str, set[str]]:
    a, c = attempt_table.c, task_table.c
    found: dict[str, set[str]] = {}
    for part in chunks(sorted(dids)):
        mine = (c.campaign_id == version.id, c.input_did.in_(part))
        ended = sa.select(c.input_did, a.error_class).join(task_table, c.id == a.task_id).where(*mine, a.error_class.is_not(None))
        for did, error_class in connection.execute(ended.distinct()):
            found.setdefault(did, set()).add(f"failed: {error_class}")
        for task in ledger_tasks.select(connection, *mine, c.state == TaskState.PARKED):
            found.setdefault(task.input_did, set()).add("parked")
    return found
