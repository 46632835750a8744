"""All that the shifter's page shows, read at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from dashboard.dqm.tables import result_table
from dashboard.operations.campaigns import CountedCampaign, counted_campaigns
from dashboard.operations.work import RunProgress, read_runs
from dashboard.quality.flags import Flag, worst
from dashboard.quality.limits import read_limits
from dashboard.quality.run_flags import RunFlag, read_run_flags
from dashboard.quality.shifter.choice import ShiftChoice
from dashboard.quality.shifter.matrix import STALE_S, Advice, Row, advice, matrix
from dashboard.quality.shifter.recent import RecentRecord, read_recent


@dataclass(frozen=True, slots=True)
class ShiftPage:
    """The page. `flag` is the worst of the matrix, NULL when nothing in it is fresh; `records` are the newest files, newest first.

    `progress` is that of the run the records belong to; None without records.
    """

    choice: ShiftChoice
    campaign: CountedCampaign | None
    campaigns: Sequence[CountedCampaign]
    records: list[RecentRecord]
    rows: list[Row]
    flag: Flag
    advice: list[Advice]
    progress: RunProgress | None
    run_flag: RunFlag | None
    stale_s: float = STALE_S

    @property
    def run(self) -> int | None:
        return self.records[0].run if self.records else None

    @property
    def newest_at(self) -> float | None:
        return self.records[0].received_at if self.records else None

    @property
    def judged(self) -> int:
        """Files in the matrix that have a verdict."""
        return sum(1 for record in self.records if record.flag is not Flag.NULL)

    @property
    def not_judged(self) -> list[str]:
        """The elements of the detector of which nothing was judged lately: of these nothing good can be said."""
        return [row.element for row in self.rows if row.element and row.flag is Flag.NULL]

    @property
    def partly(self) -> bool:
        """What was judged is good, but that is not the whole detector."""
        return self.flag is Flag.GOOD and bool(self.not_judged)

    @property
    def stale_tiles(self) -> int:
        return sum(tile.stale for row in self.rows for tile in row.tiles)


def read_shift_page(connection: sa.Connection, choice: ShiftChoice, now: float) -> ShiftPage:
    """The page as the chosen campaign sees the detector; of the campaign with the newest record when none is chosen."""
    campaigns = counted_campaigns(connection)
    campaign = _chosen(connection, campaigns, choice)
    if campaign is None:
        return ShiftPage(choice, None, list(campaigns.values()), [], [], Flag.NULL, [], None, None)
    records = read_recent(connection, campaign.name, campaign.version)
    rows = matrix(campaign.detector, records, now)
    limits = read_limits(connection)
    texts = {check.key: (check.means, check.do) for check in limits.checks.values()}
    run = records[0].run if records else None
    return ShiftPage(
        choice=replace(choice, campaign=campaign.name, version=campaign.version),
        campaign=campaign,
        campaigns=list(campaigns.values()),
        records=records,
        rows=rows,
        flag=worst(row.flag for row in rows),
        advice=advice(rows, records, texts),
        progress=None if run is None else next(iter(read_runs(connection, {campaign.id: campaign}, [run])), None),
        run_flag=None if run is None else read_run_flags(connection, [run]).get(run),
    )


def _chosen(connection: sa.Connection, campaigns: Mapping[int, CountedCampaign], choice: ShiftChoice) -> CountedCampaign | None:
    """The chosen campaign, or the one that judged something last, or the newest."""
    for campaign in campaigns.values():
        if choice.campaign == campaign.name and choice.version in (None, campaign.version):
            return campaign
    d = result_table.c
    newest: Any = connection.execute(sa.select(d.campaign, d.version).where(d.shown).order_by(d.received_at.desc()).limit(1)).one_or_none()
    for campaign in campaigns.values():
        if newest is not None and (campaign.name, campaign.version) == tuple(newest):
            return campaign
    return next(iter(campaigns.values()), None)
