"""Looks through the datasets of campaigns for files that others declared and nobody has processed. Runs beside the engine's steps.

A dataset that grows is asked often, for what joined it only; one that has been still for long is asked less and less often. What is found
waits here until a step takes it, so the catalogue's speed is never the step's.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from campaign.draining import known
from campaign.draining.known import CatalogInput, Drained
from campaign.installation import ActiveCampaign
from declare_daemon.catalogs import Left, MetadataCatalog
from declare_daemon.catalogs.protocol import matches
from dune_prompt.errors import ConfigError, DataError
from dune_prompt.store import Store

# How often a growing dataset is asked, and one that has been still for long at least.
OFTEN_S, SELDOM_S = 15.0, 3600.0
# How often the datasets are listed that fit a pattern with an open run.
LIST_S = 60.0
# How often all of a dataset is looked at, whose waiting files somebody else may have processed.
WHOLE_S = 1800.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at a dataset brought: inputs that are open, in the order in which they should be taken in, and inputs of ours that turned
    out to be done. `seen` is written down with it."""

    campaign_id: int
    dataset: str
    inputs: tuple[CatalogInput, ...]
    done: frozenset[str]
    seen: Drained


@dataclass
class _Dataset:
    """A dataset of a campaign's version: when to ask next, and how far it was looked at (None: not at all yet)."""

    campaign: ActiveCampaign
    did: str
    next_at: float = 0.0
    whole_at: float = 0.0
    seen: Drained | None = None
    untaken: bool = False


@dataclass
class _Pattern:
    campaign: ActiveCampaign
    text: str
    next_at: float = 0.0


@dataclass
class Drainer:
    """The side work of a catalogue's thread (`work`), and where the engine's step takes what was found (`take`)."""

    store: Store
    campaigns: Mapping[int, ActiveCampaign]
    now: Callable[[], float] = time.time
    _patterns: list[_Pattern] = field(default_factory=list)
    _datasets: dict[tuple[int, str], _Dataset] = field(default_factory=dict)
    _found: deque[Finding] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _problems: dict[tuple[int, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for campaign in self.campaigns.values():
            self._patterns += [_Pattern(campaign, text) for text in campaign.settings.inputs.datasets]

    @property
    def needed(self) -> bool:
        """Whether any campaign names datasets."""
        return bool(self._patterns)

    # -- the catalogue's thread --------------------------------------------------------------------------------------------

    def work(self, catalog: MetadataCatalog) -> float:
        """List the datasets of one pattern, or look at one dataset, whichever is due longest; for how long nothing is due then.

        Raises:
            TransientError: the catalogue is away.
        """
        now = self.now()
        pattern = min(self._patterns, key=lambda item: item.next_at, default=None)
        if pattern is not None and pattern.next_at <= now:
            pattern.next_at = now + LIST_S
            self._careful(pattern.campaign, pattern.text, lambda: self._list(catalog, pattern))
            return 0.0
        due = [item for item in self._datasets.values() if not item.untaken]
        dataset = min(due, key=lambda item: (item.next_at, item.campaign.id, item.did), default=None)
        if dataset is not None and dataset.next_at <= now:
            self._careful(dataset.campaign, dataset.did, lambda: self._look(catalog, dataset, now))
            return 0.0
        times = [item.next_at for item in (pattern, dataset) if item is not None]
        return max(min(times, default=now + SELDOM_S) - now, 0.0)

    def _careful(self, campaign: ActiveCampaign, what: str, do: Callable[[], None]) -> None:
        """One dataset that cannot be asked for must not keep the others from it."""
        try:
            do()
        except (ConfigError, DataError) as error:
            self._problems[campaign.id, what] = str(error)
            if (dataset := self._datasets.get((campaign.id, what))) is not None:
                dataset.next_at = self.now() + LIST_S
        else:
            self._problems.pop((campaign.id, what), None)

    def _list(self, catalog: MetadataCatalog, pattern: _Pattern) -> None:
        campaign = pattern.campaign
        found = catalog.datasets(pattern.text)
        with self.store.read() as connection:
            seen = known.drained(connection, campaign.id)
        for did in found:
            if (campaign.id, did) not in self._datasets:
                self._datasets[campaign.id, did] = _Dataset(campaign, did, seen=seen.get(did))
        gone = {did for (of, did) in self._datasets if of == campaign.id and matches(did, pattern.text)} - set(found)
        for did in gone:
            del self._datasets[campaign.id, did]

    def _look(self, catalog: MetadataCatalog, dataset: _Dataset, now: float) -> None:
        campaign_id, made_by, before = dataset.campaign.id, dataset.campaign.settings.made_by, dataset.seen
        whole = before is None or (now - dataset.whole_at >= WHOLE_S and self._waiting(dataset))
        left = catalog.left(dataset.did, made_by, None if whole or before is None else before.mark, partial(self._kept, dataset))
        if left is None:
            dataset.next_at = now + _rest(now, before.changed_at if before is not None else now)
            return
        done: frozenset[str] = frozenset()
        if left.whole:
            dataset.whole_at = now
            # That a file is not listed can have other reasons than that it is done.
            if unlisted := sorted(self._waiting(dataset) - left.dids):
                done = frozenset(did for did, names in catalog.children_of(unlisted, made_by).items() if names)
        changed_at = before.changed_at if before is not None and not self._new(dataset, left) else now
        dataset.next_at = now + _rest(now, changed_at)
        dataset.untaken = True
        with self._lock:
            self._found.append(Finding(campaign_id, dataset.did, self._inputs(left), done, Drained(left.mark, now, changed_at)))

    def _kept(self, dataset: _Dataset) -> frozenset[str]:
        with self.store.read() as connection:
            return known.dids_of(connection, dataset.did)

    def _new(self, dataset: _Dataset, left: Left) -> bool:
        return not left.dids <= self._kept(dataset)

    def _waiting(self, dataset: _Dataset) -> frozenset[str]:
        with self.store.read() as connection:
            return known.waiting_of(connection, dataset.campaign.id, dataset.did)

    def _inputs(self, left: Left) -> tuple[CatalogInput, ...]:
        inputs = [CatalogInput.of(entry) for entry in left.entries.values()]
        if missing := left.dids - left.entries.keys():
            # Kept for another version, maybe, which this one has still to take in.
            with self.store.read() as connection:
                inputs += known.by_did(connection, missing).values()
        return tuple(sorted(inputs, key=lambda item: (item.declared_at or 0.0, item.run, item.file_index or 0, item.name)))

    # -- the engine's step -------------------------------------------------------------------------------------------------

    def next(self) -> Finding | None:
        """What was found and not taken yet, the oldest; it stays until `taken`."""
        with self._lock:
            return self._found[0] if self._found else None

    def taken(self, finding: Finding) -> None:
        """The step has written down all of it."""
        with self._lock:
            self._found.popleft()
        # The dataset may be gone meanwhile.
        if (dataset := self._datasets.get((finding.campaign_id, finding.dataset))) is not None:
            dataset.seen, dataset.untaken = finding.seen, False

    @property
    def problems(self) -> list[str]:
        """What cannot be asked for until somebody changes a setting."""
        return sorted(set(self._problems.copy().values()))


def _rest(now: float, changed_at: float) -> float:
    """How long a dataset is left alone: a tenth of the time since something last joined it."""
    return min(max((now - changed_at) / 10, OFTEN_S), SELDOM_S)
