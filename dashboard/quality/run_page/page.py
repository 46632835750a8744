"""All that the data-quality page of a run shows, read at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from dashboard.dqm.metrics import BY_KEY, METRICS, Metric, elements_of
from dashboard.dqm.record_file import Record, RecordFiles, plane_of
from dashboard.dqm.rollup import read_rolled_element
from dashboard.dqm.scalars import PLANES
from dashboard.dqm.tables import run_table
from dashboard.quality.limits import Limit, Limits, read_limits
from dashboard.quality.run_flags import RunFlag, history
from dashboard.quality.run_page.attempts import AttemptRecord, read_attempts
from dashboard.quality.run_page.channel_lists import ChannelList, channel_lists
from dashboard.quality.run_page.choice import QualityChoice
from dashboard.quality.run_page.comparison import Comparison, ComparisonReader
from dashboard.quality.run_page.displays import Displays, displays_of, nearest_with_pictures
from dashboard.quality.run_page.files import FileWithout, RunFiles, RunFilesReader, read_files_without
from dashboard.quality.run_page.outliers import OutlyingRecord, outlying_records
from dashboard.quality.run_page.plane_plots import channel_plots, plane_plots
from dashboard.quality.run_page.standouts import Standouts, standouts
from dashboard.quality.run_page.strip import Stretch, strip
from dashboard.quality.run_page.table import TABLE, Element, table
from dashboard.quality.run_page.trend import Trend, trend
from dashboard.quality.run_page.verdict import Verdict, read_verdict
from dashboard.runs.head import RunHead, RunHeads

DEFAULT_TREND = "rms_nf_adc"
DEFAULT_PLANE = "W"


@dataclass(frozen=True, slots=True)
class ShownFile:
    """The file on the page: the attempt at it that is shown, all there are, the record (None: its file is gone), its verdict.

    `older`, `newer`: the files beside it. `place`: where it stands among the files with a record.
    """

    name: str
    place: int
    attempt: AttemptRecord
    attempts: Sequence[AttemptRecord]
    record: Record | None
    verdict: Verdict | None
    older: str | None
    newer: str | None

    @property
    def problems(self) -> Sequence[Mapping[str, Any]]:
        """What is wrong with trigger records of the file."""
        records = self.record["records"] if self.record else None
        return records["problems"] if records else ()


@dataclass(frozen=True, slots=True)
class QualityPage:
    """The page. `choice` has everything filled in that was left to the page, but for the file, which stays the latest.

    `shown`: None when the run has no record, or the chosen file none; `channels` and `plots` are what is drawn, of the chosen plane
    or more; `run_flags`: what people said of the run, the newest first.
    """

    choice: QualityChoice
    head: RunHead
    files: RunFiles
    standouts: Standouts | None
    strip: list[Stretch]
    run_flags: Sequence[RunFlag]
    limits_version: int
    shown: ShownFile | None
    outlying: list[OutlyingRecord]
    elements: list[Element]
    comparison: Comparison
    channels: list[dict[str, Any]]
    plots: dict[str, Any] | None
    lists: list[ChannelList]
    trend: Trend
    displays: Displays
    columns: Sequence[Metric] = TABLE
    metrics: Sequence[Metric] = METRICS
    planes: Sequence[str] = PLANES

    @property
    def known(self) -> int:
        """Files of the run that anything is known about."""
        return max(self.head.progress.counts.files if self.head.progress else 0, len(self.files.names))

    def data(self) -> dict[str, Any]:
        """What the plots are drawn from."""
        return {
            "choice": self.choice.fields(),
            "comparison": self.comparison.words,
            "channels": self.channels,
            "plots": self.plots,
            "trend": self.trend.data(),
        }


class QualityPageReader:
    """Reads the page. What takes long to read is kept for the next who looks."""

    def __init__(self, workspace: Path, heads: RunHeads) -> None:
        self._workspace, self._heads = workspace, heads
        self._files, self._records, self._comparisons = RunFilesReader(), RecordFiles(workspace), ComparisonReader(workspace)

    def read(self, connection: sa.Connection, choice: QualityChoice, now: float) -> QualityPage | None:
        """The page; None when nothing is known about the run, or not by the campaign that was chosen."""
        head = self._head(connection, choice, now)
        if head is None:
            return None
        files = self._files.read(connection, head, choice.file)
        names = elements_of(head.detector, files.results.elements)
        choice = _filled(choice, head, files)
        element, plane = choice.element or "", choice.plane or DEFAULT_PLANE
        place = _place(files, choice.file)
        shown = None if place is None else self._shown(connection, head, files, place, choice.attempt)
        record, verdict = (shown.record, shown.verdict) if shown else (None, None)
        comparison = self._comparisons.read(connection, head, choice.compare)
        limits = read_limits(connection)
        judged_by = (
            limits if verdict is None or verdict.limits_version == limits.version else read_limits(connection, verdict.limits_version)
        )
        found = plane_of(record, element, plane) if record else None
        return QualityPage(
            choice=choice,
            head=head,
            files=files,
            standouts=standouts(head.rolled, names) if head.rolled else None,
            strip=strip(files.flags),
            run_flags=history(connection, choice.run),
            limits_version=limits.version,
            shown=shown,
            outlying=outlying_records(record) if record else [],
            elements=table(
                names,
                shown.attempt.scalars if shown else {},
                _of_run(connection, head, files),
                {key: other.scalars for key, other in comparison.planes.items()},
                verdict,
                partial(judged_by.limit_of, head.detector, head.run_type),
            ),
            comparison=comparison,
            channels=channel_plots(record, element, plane, choice.view or "plane", comparison) if record else [],
            plots=plane_plots(record, element, plane, comparison) if record else None,
            lists=channel_lists(found, record["gain_mv_per_fc"]) if found and record else [],
            trend=_trend(head, choice, files, read_files_without(connection, head, files), shown, limits, comparison),
            displays=self._displays(files, shown, choice),
        )

    def _head(self, connection: sa.Connection, choice: QualityChoice, now: float) -> RunHead | None:
        """The run as the chosen campaign sees it, or else the one a record came of last: a newer one may have none yet."""
        campaign, version = choice.campaign, choice.version
        if campaign is None or version is None:
            r = run_table.c
            statement = sa.select(r.campaign, r.version).where(r.run == choice.run).order_by(r.received_at.desc()).limit(1)
            if campaign is not None:
                statement = statement.where(r.campaign == campaign)
            if version is not None:
                statement = statement.where(r.version == version)
            if latest := connection.execute(statement).one_or_none():
                campaign, version = latest
        return self._heads.read(connection, choice.run, campaign, version, now)

    def _shown(self, connection: sa.Connection, head: RunHead, files: RunFiles, place: int, wanted: str | None) -> ShownFile | None:
        attempts = read_attempts(connection, head.campaign, head.version, files.rows[place].input_did)
        attempt = next((one for one in attempts if one.row.attempt == wanted), attempts[0] if attempts else None)
        if attempt is None:
            return None
        return ShownFile(
            name=files.names[place],
            place=place,
            attempt=attempt,
            attempts=attempts,
            record=self._records.read(attempt.row.folder),
            verdict=read_verdict(connection, attempt.row.verdict_id),
            older=files.names[place - 1] if place else None,
            newer=files.names[place + 1] if place + 1 < len(files.names) else None,
        )

    def _displays(self, files: RunFiles, shown: ShownFile | None, choice: QualityChoice) -> Displays:
        element, plane = choice.element or "", choice.plane or DEFAULT_PLANE
        if shown is None:
            return displays_of(None, None, (), element, plane, choice.record)
        row = shown.attempt.row
        displays = displays_of(shown.record, self._workspace / row.folder, row.pictures_missing, element, plane, choice.record)
        if displays.uploaded:
            return displays
        nearest = nearest_with_pictures(files.rows, shown.place, self._workspace)
        return displays if nearest is None else replace(displays, nearest=files.names[nearest])


def _filled(choice: QualityChoice, head: RunHead, files: RunFiles) -> QualityChoice:
    """Choose what the address left open: the first element with data, its collection plane."""
    with_data = files.results.elements
    return replace(
        choice,
        campaign=head.campaign,
        version=head.version,
        element=choice.element or (with_data[0] if with_data else None),
        plane=choice.plane if choice.plane in PLANES else DEFAULT_PLANE,
        trend=choice.trend if choice.trend in BY_KEY else DEFAULT_TREND,
    )


def _place(files: RunFiles, name: str | None) -> int | None:
    """The place of the chosen file; of the latest when none is chosen."""
    if name is None:
        return len(files.names) - 1 if files.names else None
    return files.places.get(name)


def _of_run(connection: sa.Connection, head: RunHead, files: RunFiles) -> Mapping[str, NDArray[np.float32]]:
    """The medians over the files of the run, [planes, scalars] by element."""
    found = {}
    for element in files.results.elements:
        for row in read_rolled_element(connection, head.campaign, head.version, element, from_run=head.run, to_run=head.run):
            found[element] = row.scalars[0]
    return found


def _trend(
    head: RunHead,
    choice: QualityChoice,
    files: RunFiles,
    without: Sequence[FileWithout],
    shown: ShownFile | None,
    limits: Limits,
    comparison: Comparison,
) -> Trend:
    metric = BY_KEY[choice.trend or DEFAULT_TREND]
    gain = shown.record["gain_mv_per_fc"] if shown and shown.record else None
    of_plane = {plane: comparison.planes.get((choice.element or "", plane)) for plane in PLANES}
    reference = {plane: float(other.scalars[metric.index]) for plane, other in of_plane.items() if other is not None}
    return trend(
        files,
        without,
        None if shown is None else shown.place,
        choice.element,
        metric,
        {plane: _limit(limits, head, plane, metric, gain) for plane in PLANES},
        {plane: value for plane, value in reference.items() if np.isfinite(value)},
    )


def _limit(limits: Limits, head: RunHead, plane: str, metric: Metric, gain_mv_per_fc: float | None) -> Limit | None:
    """The limit in force, at the gain of the data."""
    limit, check = limits.limit_of(head.detector, head.run_type, plane, metric.key), limits.checks.get(metric.key)
    if limit is None or check is None or check.at_gain_mv_per_fc is None or gain_mv_per_fc is None:
        return limit
    scale = gain_mv_per_fc / check.at_gain_mv_per_fc
    return Limit(
        *(None if value is None else value * scale for value in (limit.low_alarm, limit.low_warn, limit.high_warn, limit.high_alarm))
    )
