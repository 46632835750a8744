"""The verdict on a record: every quantity against its limits, every plane against the reference run, the worst of it all."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from dashboard.dqm.metrics import Group, elements_of
from dashboard.dqm.record import DqmRecord
from dashboard.dqm.scalars import PLANES, pack, unpack
from dashboard.quality.checks import Finding, PlaneChecks, finding, flag_of
from dashboard.quality.distances import ReferencePlaneArrays
from dashboard.quality.flags import Flag, worst
from dashboard.quality.limits import Limits, ensure, read_limits
from dashboard.quality.quantities import DISTANCES, Values, computed, of_file
from dashboard.quality.references import PlaneKey, read_reference
from dashboard.quality.tables import limits_table, reference_table
from dune_prompt.store import Store

__all__ = ["Finding", "Judge", "Judgement"]

# Detectors and run types whose limits and reference (10 MB) are kept; there are a handful.
MOST_KEPT = 20
# The name of what belongs to no element: the file as the readout wrote it.
FILE = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a record was judged, and with which versions. `tiles`: {element: {group: flag}}, every element of the detector in every group;
    what was not judged is NULL. `findings`: what is MEDIUM or BAD, the worst first."""

    limits_version: int
    reference_id: int | None
    flag: Flag
    tiles: Mapping[str, Mapping[Group, Flag]]
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class _Basis:
    """What records of one detector and run type are judged by. `newest_id` is the reference in force, whether it can be read or not."""

    limits: Limits
    checks: PlaneChecks
    newest_id: int | None
    reference_id: int | None
    planes: Mapping[PlaneKey, ReferencePlaneArrays]


class Judge:
    """Judges records by the limits and the reference in force. Safe to share between threads.

    Both are kept between records; one query a record tells whether there are newer ones.
    """

    def __init__(self, store: Store, workspace: Path) -> None:
        self._store, self._workspace = store, workspace
        self._kept: dict[tuple[str, str], _Basis] = {}
        with store.write() as connection:
            ensure(connection, time.time())

    def __call__(self, record: DqmRecord) -> Judgement:
        basis = self._basis(record.detector, record.run_type)
        names = [element.element for element in record.elements]
        values = _values(record, basis)
        flags, judged, scale = basis.checks.judge(values, record.gain_mv_per_fc)
        tiles: dict[str, dict[Group, Flag]] = {element: dict.fromkeys(Group, Flag.NULL) for element in elements_of(record.detector, names)}
        for row, name in enumerate(names):
            tiles[name] = {group: basis.checks.tile(flags[row], group) for group in Group}
        findings = basis.checks.findings(names, flags, judged, scale)
        of_groups = _judge_file(record, basis.limits, findings)
        if of_groups:
            tiles[FILE] = of_groups
        return Judgement(
            limits_version=basis.limits.version,
            reference_id=basis.reference_id,
            flag=worst(flag for groups in tiles.values() for flag in groups.values()),
            tiles=tiles,
            findings=sorted(findings, key=lambda item: -item.flag),
        )

    def _basis(self, detector: str, run_type: str) -> _Basis:
        """What to judge by now."""
        key = (detector, run_type)
        with self._store.read() as connection:
            newest: Any = connection.execute(_NEWEST, {"of_detector": detector, "of_run_type": run_type}).one()
            kept = self._kept.get(key)
            if kept is not None and (kept.limits.version, kept.newest_id) == (newest.version, newest.reference_id):
                return kept
            limits = read_limits(connection)
            reference = read_reference(connection, self._workspace, detector, run_type)
        planes = reference.planes if reference else {}
        found = _Basis(
            limits=limits,
            checks=PlaneChecks(limits, detector, run_type),
            newest_id=newest.reference_id,
            reference_id=reference.id if reference else None,
            planes={at: ReferencePlaneArrays(plane.spectrum, plane.hit_charge_e, plane.channels) for at, plane in planes.items()},
        )
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[key] = found
        return found


# Both in one query, as it is asked for every record.
_of_kind = (reference_table.c.detector == sa.bindparam("of_detector"), reference_table.c.run_type == sa.bindparam("of_run_type"))
_NEWEST = sa.select(
    sa.select(sa.func.max(limits_table.c.version)).scalar_subquery().label("version"),
    sa.select(sa.func.max(reference_table.c.id)).where(*_of_kind).scalar_subquery().label("reference_id"),
)


def _values(record: DqmRecord, basis: _Basis) -> Values:
    """All quantities of all planes, [elements, planes, quantities], NaN where there is no number."""
    # A record may hold numbers beyond all reason: what comes out as infinite is not known.
    with np.errstate(all="ignore"):
        scalars = unpack(pack(record), len(record.elements))
        distances = np.full((*scalars.shape[:2], len(DISTANCES)), np.nan, np.float32)
        if basis.planes and Group.REFERENCE in basis.checks.groups:
            for row, element in enumerate(record.elements):
                for plane in element.planes:
                    reference = basis.planes.get((element.element, plane.plane))
                    if reference is not None:
                        distances[row, PLANES.index(plane.plane)] = reference.distances(plane)
        values = np.concatenate([scalars, computed(scalars), distances], axis=2)
    values[~np.isfinite(values)] = np.nan
    return values


def _judge_file(record: DqmRecord, limits: Limits, findings: list[Finding]) -> dict[Group, Flag]:
    """The groups in which the file as a whole is judged; what is outside is added to `findings`."""
    groups: dict[Group, Flag] = {}
    for key, value in of_file(record.records).items():
        check, limit = limits.checks.get(key), limits.limit_of(record.detector, record.run_type, None, key)
        if check is None or limit is None:
            continue
        flag = flag_of(value, limit)
        groups[check.group] = worst((groups.get(check.group, Flag.NULL), flag))
        if flag >= Flag.MEDIUM:
            findings.append(finding(check, FILE, None, flag, value, limit))
    return groups
