"""The data quality of a run: a table of one file against the run's medians, trends over its files, and the plots of one plane."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json

from dashboard.dqm.metrics import METRICS, PLANES, Metric, PlaneScalars, elements_of, median_of, planes_of
from dashboard.dqm.tables import dqm_table
from dashboard.runs.progress import RunFile


@dataclass(frozen=True, slots=True)
class Judged:
    """A file's row of data quality, and its scalars by (element, plane)."""

    id: int
    input_did: str
    file_index: int | None
    attempt: str
    detector: str
    made_at: float
    folder: str
    summary: Mapping[str, Any]
    planes: Mapping[tuple[str, str], PlaneScalars]


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric of a plane: of the file shown, its spread over the channels, and the median over the run's files."""

    metric: Metric
    value: float | None
    low: float | None
    high: float | None
    of_run: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """A plane of an element. Without `cells` neither the file nor the run has data of it; `in_file`: the file has."""

    element: str
    plane: str
    n_channels: int | None
    in_file: bool
    cells: list[Cell]


def read_judged(connection: sa.Connection, campaign: str, version: str, run: int) -> list[Judged]:
    """The data-quality rows of a run in the order of its files."""
    d = dqm_table.c
    # As text, for the parser of pydantic: three times as fast as the standard library's, and it is most of the work for this page.
    text = sa.cast(d.summary, sa.Text).label("text")
    statement = sa.select(d.id, d.input_did, d.file_index, d.attempt, d.detector, d.made_at, d.folder, text)
    rows = []
    for row in connection.execute(statement.where(d.run == run, d.campaign == campaign, d.version == version)):
        summary = from_json(row.text)
        planes = planes_of(summary)
        rows.append(Judged(row.id, row.input_did, row.file_index, row.attempt, row.detector, row.made_at, row.folder, summary, planes))
    return sorted(rows, key=lambda row: (row.file_index is None, row.file_index, row.input_did))


def table(detector: str, judged: Sequence[Judged], shown: Judged | None) -> list[Row]:
    """A row for every plane of every element the detector has."""
    rows = []
    for element in elements_of(detector, (item.summary for item in judged)):
        for plane in PLANES:
            key = (element, plane)
            in_run = [item.planes[key] for item in judged if key in item.planes]
            in_file = shown.planes.get(key) if shown else None
            n_channels = next((scalars["n_channels"] for scalars in ([in_file] if in_file else in_run)), None)
            cells = [_cell(metric, in_file, in_run) for metric in METRICS] if in_run else []
            rows.append(Row(element, plane, n_channels, in_file is not None, cells))
    return rows


def _cell(metric: Metric, in_file: PlaneScalars | None, in_run: Sequence[PlaneScalars]) -> Cell:
    low, high = metric.spread(in_file) if in_file and metric.spread else (None, None)
    return Cell(metric, metric.value(in_file) if in_file else None, low, high, median_of(metric, in_run))


def scales(rows: Sequence[Row]) -> dict[str, float]:
    """For each metric with a spread, the end of the axis its bars are drawn on: above the highest 95 % point."""
    ends: dict[str, float] = {}
    for row in rows:
        for cell in row.cells:
            values = [value for value in (cell.high, cell.of_run) if value is not None]
            if cell.metric.spread and values:
                ends[cell.metric.key] = max(ends.get(cell.metric.key, 0.0), *(value * 1.08 for value in values))
    return ends


def trend(files: Sequence[RunFile], judged: Sequence[Judged], element: str, metric: Metric, shown: Judged | None) -> dict[str, Any]:
    """The metric of each plane of an element over the files of a run; a file without a record is a gap."""
    by_did = {item.input_did: item for item in judged}
    dids = [file.input_did for file in files] or list(by_did)
    indices = {file.input_did: file.file_index for file in files} | {item.input_did: item.file_index for item in judged}

    def value(did: str, plane: str) -> float | None:
        scalars = by_did[did].planes.get((element, plane)) if did in by_did else None
        return None if scalars is None else metric.value(scalars)

    return {
        "label": f"{metric.words} {metric.unit}".strip(),
        "files": [did.rpartition(":")[2] for did in dids],
        "index": [indices.get(did) for did in dids],
        "planes": {plane: [value(did, plane) for did in dids] for plane in PLANES},
        "shown": dids.index(shown.input_did) if shown and shown.input_did in dids else None,
    }


def plane_plots(record: Mapping[str, Any], element: str, plane: str) -> dict[str, Any] | None:
    """What is drawn of one plane of a record: values of each channel, spectra, charge of the hits. None: the record has no such plane."""
    for item in record["elements"]:
        for found in item["planes"] if item["element"] == element else ():
            if found["plane"] == plane:
                return {key: found[key] for key in ("channels", "spectrum", "hit_charge_e")}
    return None


def pictures(record: Mapping[str, Any], element: str, plane: str) -> dict[str, Mapping[str, Any]]:
    """The event displays of one plane by kind (raw, nf, sp), as the record lists them."""
    return {item["kind"]: item for item in record["pictures"] if (item["element"], item["plane"]) == (element, plane)}


def read_record_file(record: Path) -> dict[str, Any] | None:
    """The record as it was uploaded; None when its file is gone, or is being replaced right now."""
    try:
        content: dict[str, Any] = json.loads(record.read_bytes())
    except FileNotFoundError:
        return None
    return content
