"""The head of a run's pages: which run and campaign, how far it is, whether it is complete, and how its data are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from campaign.certificate.certificate import CLOSED_AFTER_S
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import count_table
from campaign.ledger.versions import Exclusion
from dashboard.dqm.rollup import RolledRun, read_rolled
from dashboard.dqm.tables import run_table
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.work import RunProgress, read_runs
from dashboard.quality.flags import Flag
from dashboard.quality.run_flags import RunFlag, read_run_flags
from dashboard.runs.certificates import Certificates, Standing
from declare_daemon.journal.tables import file_table
from dune_prompt.settings import Site
from dune_prompt.store import Store

PATHS = {"processing": "", "quality": "/quality"}


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The run numbers before and after, of those anything is known about."""

    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The raw files of a run in the journal: how many, how large, and when the first and the last one were closed."""

    files: int
    size_bytes: int
    first_closed_at: float | None
    last_closed_at: float | None

    def is_open(self, now: float) -> bool:
        """Whether more files may come."""
        return self.last_closed_at is not None and now - self.last_closed_at < CLOSED_AFTER_S


@dataclass(frozen=True, slots=True)
class RunHead:
    """A run as one campaign's version sees it.

    `others`: all (campaign, version) that have tasks or records of it, the newest first; `excluded`: people decided that this campaign
    does not process it; `people`: what they said of its data; `standing`: its certificate.
    """

    run: int
    campaign: str
    version: str
    detector: str
    others: list[tuple[str, str]]
    neighbours: Neighbours
    arrivals: Arrivals
    progress: RunProgress | None
    rolled: RolledRun | None
    people: RunFlag | None
    excluded: Exclusion | None
    standing: Standing | None

    @property
    def run_type(self) -> str:
        return self.rolled.run_type if self.rolled else ""

    @property
    def flag(self) -> Flag:
        """How the machine judges it."""
        return self.rolled.flag if self.rolled else Flag.NULL

    def link(self, tab: str = "processing", **changes: Any) -> str:
        """The address of a tab, of this run and campaign or (`run`, `campaign`, `version`) another."""
        values = {"run": self.run, "campaign": self.campaign, "version": self.version} | changes
        return f"/runs/{values.pop('run')}{PATHS[tab]}?{urlencode(values)}"


class RunHeads:
    """Reads the heads of runs; certificates are kept between two looks."""

    def __init__(self, site: Site, store: Store) -> None:
        self.certificates = Certificates(site, store)

    def read(self, connection: sa.Connection, run: int, campaign: str | None, version: str | None, now: float) -> RunHead | None:
        """The head of a run, as the chosen campaign sees it or else the newest one; None when nothing is known about it there."""
        campaigns = counted_campaigns(connection)
        rolled = {(row.campaign, row.version): row for row in read_rolled(connection, [run])}
        progress = {(row.campaign, row.version): row for row in read_runs(connection, campaigns, [run])}
        known = {(item.name, item.version): item for item in campaigns.values()}
        others = [key for key in known if key in rolled or key in progress] + sorted(key for key in rolled if key not in known)
        fitting = [key for key in others if campaign in (None, key[0]) and version in (None, key[1])]
        if not fitting:
            return None
        key = fitting[0]
        exclusions = [item for item in ledger_versions.exclusions(connection) if item.run == run and item.campaign in ("", key[0])]
        return RunHead(
            run=run,
            campaign=key[0],
            version=key[1],
            detector=known[key].detector if key in known else rolled[key].detector,
            others=others,
            neighbours=read_neighbours(connection, run),
            arrivals=read_arrivals(connection, run),
            progress=progress.get(key),
            rolled=rolled.get(key),
            people=_said(read_run_flags(connection, [run]).get(run)),
            excluded=exclusions[0] if exclusions else None,
            standing=self.certificates.read(connection, run, list(progress.values()), now) if progress else None,
        )


def _said(flag: RunFlag | None) -> RunFlag | None:
    """What people say; a flag that was withdrawn says nothing."""
    return None if flag is None or flag.flag is Flag.NULL else flag


def read_neighbours(connection: sa.Connection, run: int) -> Neighbours:
    """The runs with tasks or records next to `run`."""
    columns = (count_table.c.run, run_table.c.run)
    before = [connection.execute(sa.select(sa.func.max(c)).where(c < run)).scalar() for c in columns]
    after = [connection.execute(sa.select(sa.func.min(c)).where(c > run)).scalar() for c in columns]
    return Neighbours(max((n for n in before if n is not None), default=None), min((n for n in after if n is not None), default=None))


def read_arrivals(connection: sa.Connection, run: int) -> Arrivals:
    """What the journal knows of the raw files of a run."""
    f = file_table.c
    columns = (sa.func.count(), sa.func.coalesce(sa.func.sum(f.size_bytes), 0), sa.func.min(f.closed_at), sa.func.max(f.closed_at))
    files, size_bytes, first, last = connection.execute(sa.select(*columns).where(f.run == run, f.origin == "buffer")).one()
    return Arrivals(files, int(size_bytes), first, last)
