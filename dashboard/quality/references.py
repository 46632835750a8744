"""Reference runs: what the data of a detector and run type look like when all is well. Of each (detector, run type) the newest counts.

What is kept of a run is a file in the workspace, `quality/references/*.json`; the row in the store names it. Neither is ever changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import sqlalchemy as sa
import structlog
from numpy.typing import NDArray
from pydantic_core import from_json

from dashboard.dqm.record_file import parse, planes_of
from dashboard.dqm.scalars import PLANES, SCALARS, median_over_files, stack
from dashboard.dqm.storage import RECORD
from dashboard.dqm.tables import result_table
from dashboard.quality.tables import reference_table
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.store import Event, Store, record_events

log = structlog.get_logger(__name__)

ROOM = "dashboard"
FOLDER = PurePath("quality", "references")
SCHEMA = 1
# More files do not make medians better, and 200 of 10,240 channels take 35 MB while they are read.
MOST_FILES = 200
CHANNEL_VALUES = ("pedestal_adc", "rms_raw_adc", "rms_nf_adc", "charge_e")
_SPECTRA = ("before_adc", "after_adc")
_DIGITS = {"pedestal_adc": 1, "rms_raw_adc": 2, "rms_nf_adc": 2, "charge_e": 0}

PlaneKey = tuple[str, str]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class ReferencePlane:
    """A plane over the files of a run, in the form records have. Not to be changed: it is shared by all who read it.

    `scalars`: medians, [scalars]; `spectrum`: means, with the standard deviation over the files as `before_spread_adc` and
    `after_spread_adc`; `hit_charge_e`: the sum; `channels`: the median of each channel.
    """

    scalars: NDArray[np.float32]
    spectrum: Mapping[str, Any]
    hit_charge_e: Mapping[str, Any]
    channels: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """A run to compare with; `id` is 0 for one that is none, but was asked for. `files`: how many of its files were read."""

    id: int
    campaign: str
    version: str
    run: int
    set_at: float
    set_by: str
    planes: Mapping[PlaneKey, ReferencePlane]
    detector: str = ""
    run_type: str = ""
    files: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """A reference without what was kept of its run. `in_force`: it is the newest of its detector and run type."""

    id: int
    detector: str
    run_type: str
    campaign: str
    version: str
    run: int
    files: int
    set_at: float
    set_by: str
    why: str
    in_force: bool


def newest_reference(connection: sa.Connection, detector: str, run_type: str) -> int | None:
    """The id of the reference in force; None without one."""
    c = reference_table.c
    return connection.execute(sa.select(sa.func.max(c.id)).where(c.detector == detector, c.run_type == run_type)).scalar()


def read_references(connection: sa.Connection) -> list[ReferenceRow]:
    """All references there ever were, the newest first."""
    columns = [reference_table.c[name] for name in ReferenceRow.__slots__ if name != "in_force"]
    seen: set[tuple[str, str]] = set()
    rows = []
    for row in connection.execute(sa.select(*columns).order_by(reference_table.c.id.desc())):
        key = (row.detector, row.run_type)
        rows.append(ReferenceRow(**row._mapping, in_force=key not in seen))
        seen.add(key)
    return rows


def read_reference(connection: sa.Connection, workspace: Path, detector: str, run_type: str) -> Reference | None:
    """The reference in force; None without one, and when its file is gone."""
    c = reference_table.c
    statement = sa.select(reference_table).where(c.detector == detector, c.run_type == run_type).order_by(c.id.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    try:
        planes = _read_planes(workspace / row.path)
    except (OSError, ValueError, KeyError) as error:
        log.warning("a reference cannot be read", reference=row.id, run=row.run, path=row.path, error=str(error))
        return None
    return Reference(
        row.id, row.campaign, row.version, row.run, row.set_at, row.set_by, planes, row.detector, row.run_type, row.files, row.why
    )


def reference_of_run(connection: sa.Connection, workspace: Path, campaign: str, version: str, run: int) -> Reference | None:
    """What would be kept of a run as a reference; of at most 200 of its files, evenly over the run. None: none of them can be read."""
    d = result_table.c
    mine = (d.run == run, d.campaign == campaign, d.version == version, d.shown)
    in_order = sa.select(d.id).where(*mine).order_by(d.file_index.is_(None), d.file_index, d.input_did)
    chosen = _evenly(connection.execute(in_order).scalars().all(), MOST_FILES)
    statement = sa.select(d.folder, d.elements, d.scalars, d.detector, d.run_type).where(d.id.in_(chosen)).order_by(d.id)
    sums: dict[PlaneKey, _Files] = {}
    blocks: list[tuple[Sequence[str], bytes]] = []
    kinds: list[tuple[str, str]] = []
    for row in connection.execute(statement).all():
        try:
            record = parse(workspace / row.folder / RECORD)
        except (OSError, ValueError):
            continue
        blocks.append((row.elements, row.scalars))
        kinds.append((row.detector, row.run_type))
        for element, plane in planes_of(record):
            sums.setdefault((element, plane["plane"]), _Files()).add(plane)
    if not blocks:
        return None
    elements = sorted({element for names, _ in blocks for element in names})
    scalars = median_over_files(stack(blocks, elements))
    detector, run_type = max(kinds, key=kinds.count)
    planes = {
        (element, plane): files.reduced(scalars[elements.index(element), PLANES.index(plane)])
        for (element, plane), files in sorted(sums.items())
        if element in elements
    }
    return Reference(0, campaign, version, run, 0.0, "", planes, detector, run_type, len(blocks))


def set_reference(
    store: Store,
    workspace: Path,
    run: int,
    *,
    campaign: str | None = None,
    version: str | None = None,
    by: str,
    why: str,
    now: float,
) -> ReferenceRow:
    """Make a run the reference of its detector and run type, as one campaign's version sees it: by default the one that saw it last.

    Raises:
        ConfigError: there is no record of the run.
        TransientError: the file cannot be written.
    """
    with store.read() as connection:
        seen_by = _seen_by(connection, run, campaign, version)
        reference = seen_by and reference_of_run(connection, workspace, *seen_by, run)
    if not reference:
        who = " ".join(name for name in (campaign, version) if name)
        raise ConfigError(f"run {run}: there is no data-quality record of it" + (f" by {who}" if who else ""))
    path = FOLDER / f"{reference.detector}_{reference.campaign}_{reference.version}_run{run:06d}_{os.urandom(6).hex()}.json"
    try:
        (workspace / FOLDER).mkdir(parents=True, exist_ok=True)
        (workspace / path).write_text(json.dumps(_as_json(reference), allow_nan=False))
    except OSError as error:
        raise TransientError(f"{workspace / path}: cannot be written ({error.strerror})") from error
    values = {name: getattr(reference, name) for name in ("detector", "run_type", "campaign", "version", "run", "files")}
    values |= {"set_at": now, "set_by": by, "why": why}
    c = reference_table.c
    with store.write() as connection:
        same = (c.detector == reference.detector, c.run_type == reference.run_type)
        before = connection.execute(sa.select(c.run).where(*same).order_by(c.id.desc()).limit(1)).scalar_one_or_none()
        insert = sa.insert(reference_table).values(**values, path=str(path)).returning(c.id)
        reference_id = connection.execute(insert).scalar_one()
        subject = f"quality:reference:{reference.detector}:{reference.run_type}"
        event = Event(now, ROOM, subject, None if before is None else f"run {before}", f"run {run}", by, why)
        record_events(connection, [event])
    return ReferenceRow(id=reference_id, **values, in_force=True)


def _seen_by(connection: sa.Connection, run: int, campaign: str | None, version: str | None) -> tuple[str, str] | None:
    d = result_table.c
    statement = sa.select(d.campaign, d.version).where(d.run == run, d.shown).order_by(d.received_at.desc()).limit(1)
    if campaign is not None:
        statement = statement.where(d.campaign == campaign)
    if version is not None:
        statement = statement.where(d.version == version)
    row = connection.execute(statement).one_or_none()
    return None if row is None else (row.campaign, row.version)


def _evenly(items: Sequence[int], most: int) -> list[int]:
    """At most `most` of `items`, first and last among them, at even distances."""
    if len(items) <= most:
        return list(items)
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]


@dataclass
class _Files:
    """One plane of the files of a run, of those alike: with the bins and the channels of the first."""

    frequency_mhz: tuple[float, ...] | None = None
    edges: list[float] | None = None
    first: int | None = None
    spectra: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in _SPECTRA})
    counts: list[Floats] = field(default_factory=list)
    channels: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in CHANNEL_VALUES})

    def add(self, plane: Mapping[str, Any]) -> None:
        spectrum, histogram, channels = plane["spectrum"], plane["hit_charge_e"], plane["channels"]
        if self.frequency_mhz is None:
            self.frequency_mhz, self.edges, self.first = tuple(spectrum["frequency_mhz"]), histogram["edges"], channels["first"]
        if tuple(spectrum["frequency_mhz"]) == self.frequency_mhz:
            for name, spectra in self.spectra.items():
                spectra.append(np.array(spectrum[name], np.float32))
        if histogram["edges"] == self.edges:
            self.counts.append(np.array(histogram["counts"], np.float64))
        known = self.channels[CHANNEL_VALUES[0]]
        if channels["first"] == self.first and (not known or len(channels[CHANNEL_VALUES[0]]) == len(known[0])):
            for name, values in self.channels.items():
                values.append(np.array(channels[name], np.float32))

    def reduced(self, scalars: NDArray[np.float32]) -> ReferencePlane:
        spectrum: dict[str, Any] = {"frequency_mhz": list(self.frequency_mhz or ())}
        for name, values in self.spectra.items():
            mean, spread = _mean_and_spread(np.stack(values).astype(np.float64))
            spectrum[name], spectrum[name.replace("_adc", "_spread_adc")] = _numbers(mean, 4), _numbers(spread, 4)
        channels = {name: _numbers(median_over_files(np.stack(values)), _DIGITS[name]) for name, values in self.channels.items()}
        counts = [int(count) for count in np.sum(self.counts, axis=0)]
        return ReferencePlane(scalars, spectrum, {"edges": self.edges, "counts": counts}, {"first": self.first, **channels})


def _mean_and_spread(values: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Mean and standard deviation along the first axis of what is not NaN; NaN where nothing is known, no spread of a single file."""
    known = ~np.isnan(values)
    number = known.sum(axis=0)
    mean = np.where(number > 0, np.nansum(values, axis=0) / np.maximum(number, 1), np.nan)
    squares = np.where(known, (values - mean) ** 2, 0).sum(axis=0)
    return mean, np.sqrt(squares / np.maximum(number - 1, 1))


def _numbers(values: Floats, digits: int) -> list[float | None]:
    rounded = values.astype(np.float64).round(digits)
    return [number if np.isfinite(number) else None for number in rounded.tolist()]


def _as_json(reference: Reference) -> dict[str, Any]:
    planes = [
        {
            "element": element,
            "plane": name,
            "scalars": {key: value for key, value in zip(SCALARS, _numbers(plane.scalars, 9), strict=True) if value is not None},
            "spectrum": plane.spectrum,
            "hit_charge_e": plane.hit_charge_e,
            "channels": plane.channels,
        }
        for (element, name), plane in reference.planes.items()
    ]
    return {"schema": SCHEMA, "campaign": reference.campaign, "version": reference.version, "run": reference.run, "planes": planes}


@lru_cache(maxsize=8)
def _read_planes(path: Path) -> Mapping[PlaneKey, ReferencePlane]:
    content = from_json(path.read_bytes())
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema {content['schema']} instead of {SCHEMA}")
    return {
        (plane["element"], plane["plane"]): ReferencePlane(
            np.array([plane["scalars"].get(key, np.nan) for key in SCALARS], np.float32),
            plane["spectrum"],
            plane["hit_charge_e"],
            plane["channels"],
        )
        for plane in content["planes"]
    }
