"""Which files are inputs of a campaign's version, and why: its file, its role, excluded runs and second passes together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from campaign.definition import Campaign
from campaign.installation import ActiveCampaign
from campaign.ledger import versions as ledger_versions
from campaign.ledger.versions import Exclusion, Redo, Version
from campaign.versions.canary import in_fraction, newest
from campaign.versions.roles import Role
from declare_daemon.journal import JournalFile


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a version covers, as of when it was loaded.

    `since` is when it got the role `promoted` or `superseded`. `redone` are the runs of its second passes, `replaced` those whose results
    a later version takes the place of, `tried_on` the files a canary by number was given.
    """

    settings: Campaign
    role: Role = Role.FULL
    since: float | None = None
    excluded: Mapping[int, Exclusion] = field(default_factory=dict)
    redone: Mapping[int, Redo] = field(default_factory=dict)
    replaced: Mapping[int, str] = field(default_factory=dict)
    tried_on: frozenset[str] = frozenset()

    def covers(self, run: int, did: str, metadata: Mapping[str, Any], arrived: float | None = None) -> bool:
        """Whether a raw file is an input. `arrived`: when the journal first had it; None for one that has just come."""
        return self._answer(run, did, metadata, arrived)[0]

    def reason(self, run: int, did: str, metadata: Mapping[str, Any], arrived: float | None = None) -> str:
        """Why a raw file is an input, or why not, in words."""
        return self._answer(run, did, metadata, arrived)[1]

    def covers_file(self, file: JournalFile) -> bool:
        """Whether a raw file of the journal is an input."""
        return file.did is not None and self.covers(file.run or 0, file.did, file.metadata, file.found_at)

    def waiver(self, run: int) -> Exclusion | None:
        """The exclusion that lets the files of a run go unprocessed."""
        return self.excluded.get(run)

    def _answer(self, run: int, did: str, metadata: Mapping[str, Any], arrived: float | None) -> tuple[bool, str]:
        version = self.settings.version
        if self.role is Role.DROPPED:
            return False, f"version {version} was dropped"
        if (exclusion := self.excluded.get(run)) is not None:
            return False, f"run {run} is excluded by {exclusion.by}: {exclusion.why}"
        if (redo := self.redone.get(run)) is not None:
            return True, f"{redo.by} asked for run {run} to be processed again by version {version}"
        if (outside := self._outside(run, metadata)) is not None:
            return False, outside
        if (by := self.replaced.get(run)) is not None:
            return False, f"version {by} processes run {run} again and takes the place of version {version}"
        if self.role is Role.FULL or self._tried_on(did):
            return True, f"the inputs of version {version} cover it"
        if self.role is Role.CANARY:
            return False, f"version {version} is tried on other files ({self._choice()})"
        before = arrived is not None and self.since is not None and arrived < self.since
        if self.role is Role.PROMOTED:
            return not before, f"it came {'before' if before else 'after'} version {version} was promoted"
        return before, f"it came {'before' if before else 'after'} version {version} was superseded"

    def _outside(self, run: int, metadata: Mapping[str, Any]) -> str | None:
        """What of `inputs` in the campaign file does not fit."""
        inputs = self.settings.inputs
        if inputs.covers(run, dict(metadata)):
            return None
        if inputs.from_run is not None and run < inputs.from_run:
            return f"run {run} is before inputs.from_run ({inputs.from_run})"
        if inputs.to_run is not None and run > inputs.to_run:
            return f"run {run} is after inputs.to_run ({inputs.to_run})"
        if run in inputs.exclude_runs:
            return f"run {run} is in inputs.exclude_runs"
        key = next((key for key, value in inputs.where.items() if metadata.get(key) != value), None)
        return f"inputs.where wants {key} to be {inputs.where[key]!r}, it is {metadata.get(key)!r}" if key else "its inputs do not cover it"

    def _tried_on(self, did: str) -> bool:
        canary = self.settings.canary
        if canary is None or self.role is Role.SUPERSEDED:
            return False
        return did in self.tried_on if canary.fraction is None else in_fraction(did, canary.fraction)

    def _choice(self) -> str:
        canary = self.settings.canary
        if canary is None:
            return "none"
        return f"the newest {canary.last}" if canary.fraction is None else f"{canary.fraction:.3g} of all"


def load(connection: sa.Connection, campaigns: Mapping[int, ActiveCampaign]) -> Mapping[int, Coverage]:
    """What each of `campaigns` covers now, by their ids: a few small queries."""
    known = {item.id: item for item in ledger_versions.versions(connection)}
    exclusions = ledger_versions.exclusions(connection)
    redos = ledger_versions.redos(connection)
    return {
        campaign_id: _coverage(connection, active.settings, known[campaign_id], exclusions, redos, known)
        for campaign_id, active in campaigns.items()
        if campaign_id in known
    }


def _coverage(
    connection: sa.Connection,
    settings: Campaign,
    version: Version,
    exclusions: list[Exclusion],
    redos: list[Redo],
    known: Mapping[int, Version],
) -> Coverage:
    later = {
        item.run: known[item.campaign_id].version
        for item in redos
        if item.retire_old and known[item.campaign_id].name == version.name and item.campaign_id > version.id
    }
    tried_on: frozenset[str] = frozenset()
    if settings.canary is not None and settings.canary.last is not None and version.role in (Role.CANARY, Role.PROMOTED):
        tried_on = newest(connection, settings, version.first_seen, settings.canary.last)
    decided = version.role in (Role.PROMOTED, Role.SUPERSEDED)
    return Coverage(
        settings=settings,
        role=version.role,
        since=ledger_versions.role_since(connection, version) if decided else None,
        excluded=ledger_versions.excluded_runs(exclusions, version.name),
        redone={item.run: item for item in redos if item.campaign_id == version.id},
        replaced=later,
        tried_on=tried_on,
    )
