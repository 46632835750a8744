"""How the detector is: the flag of each element in the newest run that has results."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dashboard.dqm.tables import run_table
from dashboard.operations.campaigns import Campaigns
from dashboard.quality.flags import Flag, worst
from dashboard.quality.shifter.matrix import STALE_S


@dataclass(frozen=True, slots=True)
class ElementFlag:
    """The worst flag of an element's groups, and which groups have it. The element '' is the files themselves."""

    element: str
    flag: Flag
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DetectorNow:
    """The newest run with results: when the last one came, whether that is too long ago to tell of now, and its elements."""

    run: int
    campaign: str
    version: str
    files: int
    received_at: float
    old: bool
    elements: tuple[ElementFlag, ...]


def read_detector(connection: sa.Connection, campaigns: Campaigns, now: float, probe_run: int | None = None) -> DetectorNow | None:
    """The highest run that was rolled up, of the campaign that came last; None when there is none."""
    r = run_table.c
    ranks = {(campaign.name, campaign.version): rank for rank, campaign in enumerate(campaigns.values())}
    of_ours = sa.tuple_(r.campaign, r.version).in_(list(ranks))
    counted = of_ours if probe_run is None else sa.and_(of_ours, r.run != probe_run)
    newest = sa.select(sa.func.max(r.run)).where(counted).scalar_subquery()
    statement = sa.select(r.run, r.campaign, r.version, r.files, r.received_at, r.tiles).where(counted, r.run == newest)
    rows = sorted(connection.execute(statement), key=lambda row: ranks[row.campaign, row.version])
    if not rows:
        return None
    row = rows[0]
    return DetectorNow(
        run=row.run,
        campaign=row.campaign,
        version=row.version,
        files=row.files,
        received_at=row.received_at,
        old=now - row.received_at > STALE_S,
        elements=tuple(_element(element, groups) for element, groups in sorted(row.tiles.items())),
    )


def _element(element: str, groups: dict[str, dict[str, int]]) -> ElementFlag:
    flags = {group: Flag(counts["flag"]) for group, counts in groups.items()}
    flag = worst(flags.values())
    return ElementFlag(element, flag, tuple(group for group, its in flags.items() if its is flag))
