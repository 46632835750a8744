"""All that the trends page shows: for each element of the detector the points of one quantity, and the limits that apply now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from dashboard.dqm.metrics import BY_KEY, METRICS, Metric, elements_of
from dashboard.dqm.rollup import RolledElement, read_rolled_element
from dashboard.dqm.scalars import PLANES
from dashboard.dqm.tables import run_element_table, run_table
from dashboard.operations.campaigns import CountedCampaign, counted_campaigns
from dashboard.quality.limits import Limit, read_limits
from dashboard.quality.trends.choice import DEFAULT_METRIC, TrendChoice

MOST_RUNS = 1000
LISTED = 30


@dataclass(frozen=True, slots=True)
class ElementTrend:
    """One element: its runs, oldest first, and for each plane that is shown [median, lowest, highest] of each run (None: there is none)."""

    element: str
    points: Sequence[RolledElement]
    planes: dict[str, tuple[list[float | None], list[float | None], list[float | None]]]


@dataclass(frozen=True, slots=True)
class TrendsPage:
    """The page. `limits` are those of the chosen plane, None without one or where none applies; `shown` are the planes drawn."""

    choice: TrendChoice
    campaign: CountedCampaign | None
    campaigns: Sequence[CountedCampaign]
    metric: Metric
    run_types: list[str]
    shown: tuple[str, ...]
    trends: list[ElementTrend]
    limits: Limit | None
    limits_version: int
    metrics: Sequence[Metric] = METRICS
    planes: Sequence[str] = PLANES
    listed: int = LISTED
    most: int = MOST_RUNS

    def data(self) -> dict[str, Any]:
        """What the plots are drawn from: little, as there may be a thousand runs. What elements have in common is sent once."""
        lines = self.limits
        axes: list[dict[str, list[float | None]]] = []
        elements = {}
        for trend in self.trends:
            if trend.points:
                axis = self._axis(trend.points)
                if axis not in axes:
                    axes.append(axis)
                # Lowest and highest are drawn of one plane only.
                values = {plane: columns if len(self.shown) == 1 else columns[:1] for plane, columns in trend.planes.items()}
                elements[trend.element] = {"axis": axes.index(axis), "values": values}
        return {
            "label": f"{self.metric.words} {self.metric.unit}".strip(),
            "percent": self.metric.form == "percent",
            "against": self.choice.against,
            "planes": list(self.shown),
            "limits": None if lines is None else [lines.low_alarm, lines.low_warn, lines.high_warn, lines.high_alarm],
            "axes": axes,
            "elements": elements,
        }

    def _axis(self, points: Sequence[RolledElement]) -> dict[str, list[float | None]]:
        runs: list[float | None] = [point.run for point in points]
        if self.choice.against == "run":
            return {"run": runs}
        return {"run": runs, "at": [None if point.data_at is None else round(point.data_at) for point in points]}


def read_trends_page(connection: sa.Connection, choice: TrendChoice) -> TrendsPage:
    """The page as the chosen campaign sees the detector; of the newest campaign with records when none is chosen."""
    campaigns = counted_campaigns(connection)
    campaign = _chosen(connection, list(campaigns.values()), choice)
    metric = BY_KEY.get(choice.metric, BY_KEY[DEFAULT_METRIC])
    plane = choice.plane if choice.plane in PLANES else None
    choice = replace(choice, metric=metric.key, plane=plane)
    shown = (plane,) if plane else PLANES
    limits = read_limits(connection)
    if campaign is None:
        return TrendsPage(choice, None, [], metric, [], shown, [], None, limits.version)
    choice = replace(choice, campaign=campaign.name, version=campaign.version)
    trends = [_trend(connection, campaign, element, choice, metric, shown) for element in _elements(connection, campaign)]
    return TrendsPage(
        choice=choice,
        campaign=campaign,
        campaigns=list(campaigns.values()),
        metric=metric,
        run_types=_run_types(connection, campaign),
        shown=shown,
        trends=trends,
        limits=limits.limit_of(campaign.detector, choice.run_type or "", plane, metric.key) if plane else None,
        limits_version=limits.version,
    )


def _trend(
    connection: sa.Connection, campaign: CountedCampaign, element: str, choice: TrendChoice, metric: Metric, shown: Sequence[str]
) -> ElementTrend:
    points = read_rolled_element(
        connection, campaign.name, campaign.version, element, from_run=choice.from_run, to_run=choice.to_run, limit=MOST_RUNS
    )
    if choice.run_type is not None:
        points = [point for point in points if point.run_type == choice.run_type]
    if choice.against == "time":
        points = sorted((point for point in points if point.data_at is not None), key=lambda point: (point.data_at, point.run))

    def numbers(statistic: int, plane: str) -> list[float | None]:
        at = (statistic, PLANES.index(plane), metric.index)
        return [_number(float(point.scalars[at])) for point in points]

    planes = {plane: (numbers(0, plane), numbers(1, plane), numbers(2, plane)) for plane in shown}
    return ElementTrend(element, points, planes)


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _elements(connection: sa.Connection, campaign: CountedCampaign) -> list[str]:
    e = run_element_table.c
    of_campaign = sa.select(e.element).where(e.campaign == campaign.name, e.version == campaign.version).distinct()
    return elements_of(campaign.detector, connection.execute(of_campaign).scalars())


def _run_types(connection: sa.Connection, campaign: CountedCampaign) -> list[str]:
    r = run_table.c
    return sorted(
        connection.execute(sa.select(r.run_type).where(r.campaign == campaign.name, r.version == campaign.version).distinct()).scalars()
    )


def _chosen(connection: sa.Connection, campaigns: Sequence[CountedCampaign], choice: TrendChoice) -> CountedCampaign | None:
    """The chosen campaign, or the newest that has records, or the newest."""
    for campaign in campaigns:
        if choice.campaign == campaign.name and choice.version in (None, campaign.version):
            return campaign
    r = run_table.c
    with_records = {tuple(row) for row in connection.execute(sa.select(r.campaign, r.version).distinct())}
    return next((item for item in campaigns if (item.name, item.version) in with_records), campaigns[0] if campaigns else None)
