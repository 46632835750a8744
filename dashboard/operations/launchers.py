"""The batch systems as the engine has last seen them, with the jobs they have now, and the campaigns that somebody has paused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, campaign_table, launcher_table
from campaign.states import AttemptState
from dashboard.operations.campaigns import Campaigns
from dune_prompt.settings import Site


@dataclass(frozen=True, slots=True)
class LauncherHealth:
    """A batch system of the site file, in its order of preference. `out_since`: it gets no jobs since then, because of `message`.

    `answered_at` is its last sign of life (None: not asked yet, as for processes of this machine), `takes` whether the next jobs go there.
    """

    kind: str
    running: int
    queued: int
    refused: int
    answered_at: float | None
    out_since: float | None
    message: str | None
    takes: bool


@dataclass(frozen=True, slots=True)
class CampaignPause:
    """A campaign's version that starts nothing new: since when, by whom (`engine`: its jobs failed alike), and why."""

    campaign: str
    version: str
    since: float
    by: str
    why: str


def read_launchers(connection: sa.Connection, site: Site) -> list[LauncherHealth]:
    """How the batch systems are. Jobs of one that is no longer in the site file are not counted."""
    a = attempt_table.c
    statement = sa.select(a.launcher, a.state, sa.func.count()).where(a.ended_at.is_(None)).group_by(a.launcher, a.state)
    jobs = Counter({(launcher, state): number for launcher, state, number in connection.execute(statement)})
    known = {row.name: row for row in connection.execute(sa.select(launcher_table))}
    found: list[LauncherHealth] = []
    for kind in (settings.kind for settings in site.launchers):
        row = known.get(kind)
        out_since = row.out_since if row else None
        found.append(
            LauncherHealth(
                kind=kind,
                running=jobs[kind, AttemptState.RUNNING],
                queued=jobs[kind, AttemptState.SUBMITTING] + jobs[kind, AttemptState.SUBMITTED],
                refused=row.refused if row else 0,
                answered_at=row.answered_at if row else None,
                out_since=out_since,
                message=row.message if row else None,
                takes=out_since is None and not any(launcher.takes for launcher in found),
            )
        )
    return found


def read_pauses(connection: sa.Connection, campaigns: Campaigns) -> list[CampaignPause]:
    """The paused campaigns, the latest first."""
    c = campaign_table.c
    statement = (
        sa.select(c.name, c.version, c.paused_at, c.paused_by, c.paused_why)
        .where(c.paused_at.is_not(None), c.id.in_(campaigns))
        .order_by(c.paused_at.desc())
    )
    return [
        CampaignPause(name, version, since, by or "nobody known", why or "")
        for name, version, since, by, why in connection.execute(statement)
    ]
