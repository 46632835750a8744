"""All that the processing page of a run shows, read at once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from dashboard.kept import Kept
from dashboard.operations.campaigns import CountedCampaign, counted_campaigns
from dashboard.operations.failures import Failure, read_failures_of_run
from dashboard.operations.latency import Latency, read_latency_of_run
from dashboard.operations.work import read_runs
from dashboard.runs.head import RunHead, RunHeads
from dashboard.runs.matrix import KINDS, MatrixColumns, MatrixFile, MatrixReader, count_kinds, in_columns

FILES_A_PAGE = 100
RUNS_KEPT = 64


@dataclass(frozen=True, slots=True)
class RunChoice:
    """The state of the page, all of it in the address: whose view of the run, which of its files, which page of them."""

    run: int
    campaign: str | None = None
    version: str | None = None
    state: str | None = None
    page: int = 1

    def link(self, **changes: Any) -> str:
        """The address with some things chosen differently; other files begin with the first page."""
        chosen = replace(self, **({"page": 1} | changes))
        values = {"campaign": chosen.campaign, "version": chosen.version, "state": chosen.state, "page": chosen.page}
        query = urlencode({key: value for key, value in values.items() if value is not None and (key, value) != ("page", 1)})
        return f"/runs/{chosen.run}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class RunPage:
    """The page. `files` are those of one page of the table, the first of them has the place `first` (from 1) of `fitting`.

    `kinds`: how many files there are of each kind. `campaign` is None when only data quality knows the run.
    """

    choice: RunChoice
    head: RunHead
    campaign: CountedCampaign | None
    kinds: Mapping[str, int]
    files: list[MatrixFile]
    first: int
    fitting: int
    pages: int
    latency: list[Latency]
    failures: list[Failure]

    @property
    def known(self) -> int:
        return sum(self.kinds.values())


class RunPages:
    """Reads the page."""

    def __init__(self, heads: RunHeads) -> None:
        self.heads, self.matrix = heads, MatrixReader()
        self._latency: Kept[Hashable, list[Latency]] = Kept(RUNS_KEPT)

    def campaign(self, connection: sa.Connection, head: RunHead) -> CountedCampaign | None:
        """The ledger's campaign that a head is about."""
        every = counted_campaigns(connection).values()
        return next((item for item in every if (item.name, item.version) == (head.campaign, head.version)), None)

    def read(self, connection: sa.Connection, choice: RunChoice, now: float) -> RunPage | None:
        """The page; None when nothing is known about the run, or not by the campaign that was chosen."""
        head = self.heads.read(connection, choice.run, choice.campaign, choice.version, now)
        if head is None:
            return None
        campaign = self.campaign(connection, head)
        only = {campaign.id: campaign} if campaign else {}
        files = self.matrix.read(connection, campaign, choice.run) if campaign else []
        fitting = files if choice.state not in KINDS else [file for file in files if file.kind == choice.state]
        pages = max(1, -(-len(fitting) // FILES_A_PAGE))
        page = min(max(choice.page, 1), pages)
        first = (page - 1) * FILES_A_PAGE
        return RunPage(
            choice=replace(choice, campaign=head.campaign, version=head.version, page=page),
            head=head,
            campaign=campaign,
            kinds=count_kinds(files),
            files=fitting[first : first + FILES_A_PAGE],
            first=first + 1,
            fitting=len(fitting),
            pages=pages,
            latency=self._latency_of(connection, campaign, head) if campaign else [],
            failures=read_failures_of_run(connection, only, choice.run) if only else [],
        )

    def _latency_of(self, connection: sa.Connection, campaign: CountedCampaign, head: RunHead) -> list[Latency]:
        """The latencies, read again when more files are done or on their page."""
        seen = (campaign.id, head.run, head.progress and head.progress.counts.done, head.rolled and head.rolled.received_at)
        return self._latency.get(seen, lambda: read_latency_of_run(connection, {campaign.id: campaign}, head.run))

    def columns(self, connection: sa.Connection, run: int, campaign: str | None, version: str | None) -> MatrixColumns | None:
        """The run's files as a browser draws them; None when the ledger has none."""
        every = counted_campaigns(connection)
        runs = read_runs(connection, every, [run])
        with_files = {(row.campaign, row.version) for row in runs}
        for item in every.values():
            if (item.name, item.version) in with_files and campaign in (None, item.name) and version in (None, item.version):
                return in_columns(run, item, self.matrix.read(connection, item, run))
        return None
