"""All that a run's page shows, read at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from dashboard.dqm.metrics import BY_KEY, METRICS, PLANES, Metric, elements_of
from dashboard.dqm.storage import RECORD
from dashboard.operations.campaigns import CountedCampaign, counted_campaigns
from dashboard.operations.failures import Failure, read_failures_of_run
from dashboard.operations.latency import Latency, read_latency_of_run
from dashboard.operations.work import RunProgress, read_runs
from dashboard.runs import quality
from dashboard.runs.choice import Choice
from dashboard.runs.progress import Arrivals, Neighbours, RunFile, campaigns_with, read_arrivals, read_files, read_neighbours
from dune_prompt.settings import Site

DEFAULT_TREND = "rms_nf_adc"
KINDS = (("raw", "raw, pedestal subtracted"), ("nf", "after noise filtering"), ("sp", "after signal processing"))


@dataclass(frozen=True, slots=True)
class QualityView:
    """The data quality of a run: one file (`shown`), the run's medians, and the plots of one plane.

    `known` files are in the ledger, of which `judged` have a record; `newer`, `older`: the judged files beside the one shown.
    """

    known: int
    judged: int
    shown: quality.Judged | None
    shown_name: str | None
    older: str | None
    newer: str | None
    elements: list[str]
    with_data: frozenset[str]
    rows: list[quality.Row]
    scales: dict[str, float]
    record: Mapping[str, Any] | None
    plots: dict[str, Any] | None
    trend: dict[str, Any]
    trend_metric: Metric
    displays: list[tuple[str, str, Mapping[str, Any] | None]]
    metrics: Sequence[Metric] = METRICS
    planes: Sequence[str] = PLANES


@dataclass(frozen=True, slots=True)
class RunPage:
    """The page of a run as one campaign sees it. `choice` has everything filled in that was left to the page."""

    choice: Choice
    campaign: CountedCampaign
    campaigns: list[CountedCampaign]
    neighbours: Neighbours
    arrivals: Arrivals
    progress: RunProgress | None
    files: list[RunFile]
    latency: list[Latency]
    failures: list[Failure]
    quality: QualityView


def read_run_page(connection: sa.Connection, site: Site, choice: Choice) -> RunPage | None:
    """The page of a run; None when nothing is known about it, or not by the campaign that was chosen."""
    every = counted_campaigns(connection)
    campaigns = campaigns_with(connection, choice.run, every)
    wanted = [campaign for campaign in campaigns if choice.campaign in (None, campaign.name) and choice.version in (None, campaign.version)]
    if not wanted:
        return None
    campaign = wanted[0]
    only = {campaign.id: campaign}
    files = read_files(connection, campaign, choice.run)
    judged = quality.read_judged(connection, campaign.name, campaign.version, choice.run)
    arrivals = read_arrivals(connection, choice.run)
    choice = _fill(choice, campaign, judged)
    return RunPage(
        choice=choice,
        campaign=campaign,
        campaigns=campaigns,
        neighbours=read_neighbours(connection, choice.run),
        arrivals=arrivals,
        progress=next(iter(read_runs(connection, only, [choice.run])), None),
        files=files,
        latency=read_latency_of_run(connection, only, choice.run),
        failures=read_failures_of_run(connection, only, choice.run),
        quality=_quality(site, campaign, choice, files, judged),
    )


def _fill(choice: Choice, campaign: CountedCampaign, judged: Sequence[quality.Judged]) -> Choice:
    """Choose what the address left open: the first element with data, its collection plane."""
    with_data = {element for item in judged for element, _ in item.planes}
    elements = [element for element in elements_of(campaign.detector, (item.summary for item in judged)) if element in with_data]
    return replace(
        choice,
        campaign=campaign.name,
        version=campaign.version,
        element=choice.element or (elements[0] if elements else None),
        plane=choice.plane if choice.plane in PLANES else "W",
        trend=choice.trend if choice.trend in BY_KEY else DEFAULT_TREND,
    )


def _quality(
    site: Site, campaign: CountedCampaign, choice: Choice, files: Sequence[RunFile], judged: Sequence[quality.Judged]
) -> QualityView:
    names = [item.input_did.rpartition(":")[2] for item in judged]
    at = names.index(choice.file) if choice.file in names else None
    if choice.file is None and judged:
        at = len(judged) - 1
    shown = None if at is None else judged[at]
    rows = quality.table(campaign.detector, judged, shown)
    record = quality.read_record_file(site.workspace / shown.folder / RECORD) if shown else None
    element, plane = choice.element or "", choice.plane or ""
    listed = quality.pictures(record, element, plane) if record else {}
    metric = BY_KEY[choice.trend or DEFAULT_TREND]
    return QualityView(
        known=max(len(files), len(judged)),
        judged=len(judged),
        shown=shown,
        shown_name=choice.file if shown is None else names[at or 0],
        older=names[at - 1] if at else None,
        newer=names[at + 1] if at is not None and at + 1 < len(names) else None,
        elements=list(dict.fromkeys(row.element for row in rows)),
        with_data=frozenset(row.element for row in rows if row.cells),
        rows=rows,
        scales=quality.scales(rows),
        record=record,
        plots=quality.plane_plots(record, element, plane) if record else None,
        trend=quality.trend(files, judged, element, metric, shown),
        trend_metric=metric,
        displays=[(kind, words, listed.get(kind)) for kind, words in KINDS],
    )
