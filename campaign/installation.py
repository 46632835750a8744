"""One installation in operation: its site and campaign files, its store and catalogues, and where things are in the workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa

from campaign import places
from campaign.definition import Campaign, CampaignFile, load_campaigns
from campaign.layout import Step, steps_of
from campaign.ledger import campaigns as ledger_campaigns
from campaign.scripts import write_scripts
from declare_daemon.catalogs import Catalogs, open_catalogs
from dune_prompt.settings import Site, load_site
from dune_prompt.store import Lease, Store, open_store

LEASE = "engine"

# A transaction of the engine: the store's, with the engine's lease checked first.
Write = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use: bytes of memory and disk, seconds, cores."""

    memory_bytes: int
    lifetime_s: float
    cpus: int
    disk_bytes: int


@dataclass(frozen=True)
class ActiveCampaign:
    """A campaign's version that this service runs: its file, its id in the ledger, its scripts by step.

    `behind`: files that were there before it still have to be taken in.
    """

    id: int
    file: CampaignFile
    scripts: Mapping[str, Path]
    behind: bool

    @property
    def settings(self) -> Campaign:
        return self.file.settings

    @cached_property
    def steps(self) -> Mapping[str, Step]:
        return {step.name: step for step in steps_of(self.settings.layout)}

    def limits(self, stages: Sequence[str]) -> Limits:
        """What the campaign file gives a job that walks `stages`: the most of what any of them needs, and the time of all."""
        each = [self.settings.stages.limits(stage) for stage in stages]
        return Limits(
            memory_bytes=max(limit.memory for limit in each),
            lifetime_s=sum(limit.lifetime for limit in each),
            cpus=max(limit.cpus for limit in each),
            disk_bytes=max(limit.disk for limit in each),
        )


@dataclass(frozen=True, slots=True)
class Installation:
    """What the engine works with. Who has it holds the ledger's lease."""

    site: Site
    store: Store
    lease: Lease
    catalogs: Catalogs
    campaigns: Mapping[int, ActiveCampaign]

    def place_of(self, campaign: Campaign) -> Path:
        """The folder a campaign's outputs go to."""
        return campaign.outputs.place or self.site.workspace / "outbox"

    def output_dir(self, campaign: Campaign, attempt: str) -> Path:
        """The folder of one attempt's outputs, as this machine sees it."""
        return places.output_dir(self.place_of(campaign), attempt)

    def job_dir(self, attempt: str) -> Path:
        """Where assignment, log and report of an attempt are kept."""
        return places.job_dir(self.site.workspace, attempt)


def open_installation(site_path: Path, now: float) -> Installation:
    """Read the site file and its campaigns, take the ledger's lease, register the campaigns, render their scripts.

    Raises:
        ConfigError: a file is wrong. TransientError: store or catalogue is away.
        LeaseHeldError: another process works on this ledger; nothing was changed.
    """
    site = load_site(site_path)
    files = load_campaigns(site, site_path)
    store = open_store(site.store_url)
    lease = Lease.acquire(store, LEASE, now=now)
    active: dict[int, ActiveCampaign] = {}
    try:
        with store.write() as connection:
            lease.check(connection)
            for file in files:
                campaign_id, behind = ledger_campaigns.register(connection, file, now)
                scripts = write_scripts(site.workspace / "scripts", file)
                active[campaign_id] = ActiveCampaign(campaign_id, file, scripts, behind)
        return Installation(site, store, lease, open_catalogs(site), active)
    except BaseException:
        lease.release()
        raise
