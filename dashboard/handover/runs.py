"""The runs of the period: what was processed of them, how far they are, how they were judged."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dashboard.dqm.rollup import read_rolled
from dashboard.handover.files import QUESTIONS, Asked
from dashboard.operations.work import FileCounts, read_runs
from dashboard.quality.flags import Flag
from dashboard.quality.run_flags import RunFlag, read_run_flags

MOST = 40


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run as a campaign's version sees it. `processed` is of the period; all else how it is now.

    `outliers` are files that were not judged good; `said` is what a person said of the run.
    """

    run: int
    campaign: str
    version: str
    detector: str
    processed: int
    counts: FileCounts
    late: int
    fraction: float | None
    flag: Flag
    judged: int
    outliers: int
    said: RunFlag | None


def read_run_lines(connection: sa.Connection, asked: Asked) -> tuple[list[RunLine], int]:
    """The runs in which files were processed in the period, newest first and at most 40; and how many there are."""
    rows = QUESTIONS["processed"].select(asked).order_by(None).subquery()
    counts = sa.select(rows.c.campaign_id, rows.c.run, sa.func.count()).group_by(rows.c.campaign_id, rows.c.run)
    processed = {(campaign, run): int(number) for campaign, run, number in connection.execute(counts)}
    runs = sorted({run for _, run in processed}, reverse=True)
    shown = runs[:MOST]
    rolled = {(row.campaign, row.version, row.run): row for row in read_rolled(connection, shown)}
    said = read_run_flags(connection, shown)
    ids = {(campaign.name, campaign.version): campaign for campaign in asked.campaigns.values()}
    lines = []
    for progress in read_runs(connection, asked.campaigns, shown):
        campaign = ids[progress.campaign, progress.version]
        if (number := processed.get((campaign.id, progress.run))) is None:
            continue
        quality = rolled.get((campaign.name, campaign.version, progress.run))
        lines.append(
            RunLine(
                run=progress.run,
                campaign=campaign.name,
                version=campaign.version,
                detector=campaign.detector,
                processed=number,
                counts=progress.counts,
                late=progress.late,
                fraction=progress.fraction,
                flag=quality.flag if quality else Flag.NULL,
                judged=quality.judged if quality else 0,
                outliers=quality.n_bad + quality.n_medium if quality else 0,
                said=said.get(progress.run),
            )
        )
    return lines, len(runs)
