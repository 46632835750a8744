"""What holds for every file: who runs, which batch systems and catalogues are out, what people have paused or excluded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.installation import LEASE
from campaign.ledger.tables import campaign_table, exclusion_table, launcher_table
from campaign.ledger.tasks import Counts, in_state_counts
from campaign.why.spelled import moment
from declare_daemon.journal.writer import lease_name
from declare_daemon.outage import open_alarms
from declare_daemon.registration.pauses import Pause, pauses
from dune_prompt.settings import Site
from dune_prompt.store.lease import holder_of


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`engine` and `daemon` are who holds the ledger and the buffer now (None: nobody). `campaigns` are rows of the ledger by id,
    `launchers` rows by name, `pauses` those of catalogues that hold now, `away` what does not answer (`catalog:sam`, `buffer:…`), since
    when and with which error. `tasks` are all tasks of the ledger by state."""

    now: float
    site: Site
    engine: str | None
    daemon: str | None
    campaigns: Mapping[int, Any]
    launchers: Mapping[str, Any]
    pauses: Mapping[str, Pause]
    away: Mapping[str, tuple[float, str]]
    tasks: Counts

    @property
    def paused_campaigns(self) -> list[int]:
        """The ids of the campaigns that start no jobs."""
        return [campaign_id for campaign_id, row in self.campaigns.items() if row.paused_at is not None]

    def no_launcher(self) -> str | None:
        """Why no batch system takes jobs now; None when one does."""
        kinds = [launcher.kind for launcher in self.site.launchers]
        out = [self.launchers[kind] for kind in kinds if kind in self.launchers and self.launchers[kind].out_since is not None]
        if len(out) < len(kinds):
            return None
        return "no batch system takes jobs: " + "; ".join(self._out(row) for row in out)

    def launcher_out(self, name: str) -> str | None:
        """In words that this batch system is out; None when it is not."""
        row = self.launchers.get(name)
        return None if row is None or row.out_since is None else self._out(row)

    @staticmethod
    def _out(row: Any) -> str:
        return f"{row.name} is out since {moment(row.out_since)}" + (f" ({row.message})" if row.message else "")

    def catalog_holds(self, kind: str) -> str | None:
        """Why this catalogue is not written to now; None when nothing is known against it."""
        if (pause := self.pauses.get(kind)) is not None:
            until = "until somebody resumes it" if pause.until is None else f"until {moment(pause.until)}"
            return f"{kind} is paused by {pause.by} {until}" + (f": {pause.why}" if pause.why else "")
        for subject in (f"catalog:{kind}", f"storage:{kind}"):
            if subject in self.away:
                since, message = self.away[subject]
                what = kind if subject.startswith("catalog") else f"the storage of {kind}"
                return f"{what} does not answer since {moment(since)}" + (f": {message}" if message else "")
        return None

    def buffer_away(self) -> str | None:
        """In words that the buffer is away; None when nothing is known against it."""
        away = self.away.get(f"buffer:{self.site.buffer.path}")
        return None if away is None else f"the buffer does not answer since {moment(away[0])}: {away[1]}"


def read_circumstances(connection: sa.Connection, site: Site, now: float) -> Circumstances:
    """Look at everything once."""
    kinds = [settings.kind for settings in site.catalogs]
    subjects = [f"buffer:{site.buffer.path}", *(f"{what}:{kind}" for what in ("catalog", "storage") for kind in kinds)]
    campaigns = {row.id: row for row in connection.execute(sa.select(campaign_table).order_by(campaign_table.c.name, campaign_table.c.id))}
    return Circumstances(
        now=now,
        site=site,
        engine=holder_of(connection, LEASE, now=now),
        daemon=holder_of(connection, lease_name(site.buffer.path), now=now),
        campaigns=campaigns,
        launchers={row.name: row for row in connection.execute(sa.select(launcher_table))},
        pauses={kind: item for kind, item in pauses(connection).items() if item.until is None or item.until > now},
        away=open_alarms(connection, subjects),
        tasks=in_state_counts(connection, campaigns),
    )


def exclusions(connection: sa.Connection, run: int) -> dict[str, str]:
    """In words who has excluded the run from which campaign ('' : all of them), and why."""
    rows = connection.execute(sa.select(exclusion_table).where(exclusion_table.c.run == run)).all()
    return {row.campaign: f"run {run} is excluded by {row.by} since {moment(row.at)}: {row.why}" for row in rows}
