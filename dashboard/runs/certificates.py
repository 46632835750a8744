"""What the certificates of runs say, kept for a while: certifying a long run reads every file of it.

A run that a required campaign has not been through is not complete; that the ledger's counts tell, and nothing has to be certified.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.certificate.certificate import certify
from campaign.ledger import versions as ledger_versions
from campaign.versions.roles import Role
from dashboard.operations.work import FileCounts, RunProgress
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site
from dune_prompt.store import Store

MOST_KEPT = 5000
# Catalogues confirm things that the counts of tasks do not show.
COMPLETE_KEPT_S, OTHERS_KEPT_S = 600.0, 60.0
# Certifying more files takes longer than a page should: the thread does it, and until then the page has what was known before.
LONG = 1000
# The thread that certifies goes on for so long, then it rests.
AT_A_TIME_S = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a run is complete, and what is missing. `sha256`: of its certificate; None: files are open, so there is nothing to sign."""

    complete: bool
    headline: str
    missing: tuple[str, ...]
    remarks: tuple[str, ...]
    sha256: str | None
    at: float


@dataclass(frozen=True, slots=True)
class _Kept:
    mark: Hashable
    standing: Standing

    def is_good(self, mark: Hashable, now: float) -> bool:
        kept_s = COMPLETE_KEPT_S if self.standing.complete else OTHERS_KEPT_S
        return self.mark == mark and 0 <= now - self.standing.at < kept_s


class Certificates:
    """Certifies runs when asked, or in its own time (`work`, called by a thread) those that pages have asked for (`kept`)."""

    def __init__(self, site: Site, store: Store) -> None:
        self._site, self._store = site, store
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._wanted: dict[int, Hashable] = {}

    def read(self, connection: sa.Connection, run: int, progress: Sequence[RunProgress], now: float) -> Standing | None:
        """How a run stands; `progress` is what every campaign has of it. None: it is not known of, or of a long run not yet."""
        mark = _mark(progress)
        standing = _told_by_counts(run, progress, _required(connection), now) or self._known(run, mark, now)
        if standing is not None:
            return standing
        if sum(row.counts.files for row in progress) <= LONG:
            return self._certify(connection, run, mark, now)
        with self._lock:
            self._wanted = {run: mark} | self._wanted
            old = self._kept.get(run)
        return None if old is None else old.standing

    def kept(self, connection: sa.Connection, progress: Mapping[int, Sequence[RunProgress]], now: float) -> dict[int, Standing]:
        """How runs stand, of those that is known of; the others are certified soon."""
        found: dict[int, Standing] = {}
        wanted: dict[int, Hashable] = {}
        required = _required(connection)
        for run, rows in progress.items():
            mark = _mark(rows)
            standing = _told_by_counts(run, rows, required, now) or self._known(run, mark, now)
            if standing is None:
                wanted[run] = mark
            else:
                found[run] = standing
        with self._lock:
            # Only what was asked for last: nobody waits for what was on another page.
            self._wanted = wanted
        return found

    def work(self, now: float) -> None:
        """Certify some of the runs that pages have asked for."""
        ends = time.monotonic() + AT_A_TIME_S
        while time.monotonic() < ends and (item := self._next()) is not None:
            run, mark = item
            if self._known(run, mark, now) is None:
                with self._store.read() as connection:
                    self._certify(connection, run, mark, now)

    def _next(self) -> tuple[int, Hashable] | None:
        with self._lock:
            run = next(iter(self._wanted), None)
            return None if run is None else (run, self._wanted.pop(run))

    def _known(self, run: int, mark: Hashable, now: float) -> Standing | None:
        with self._lock:
            kept = self._kept.get(run)
        return kept.standing if kept is not None and kept.is_good(mark, now) else None

    def _certify(self, connection: sa.Connection, run: int, mark: Hashable, now: float) -> Standing | None:
        try:
            certificate = certify(connection, self._site, run, now)
        except ConfigError:
            return None
        content = certificate.content
        standing = Standing(
            complete=bool(content["complete"]),
            headline=certificate.headline,
            missing=tuple(content["missing"]),
            remarks=tuple(content["remarks"]),
            sha256=certificate.sha256,
            at=now,
        )
        with self._lock:
            self._kept[run] = _Kept(mark, standing)
            self._kept.move_to_end(run)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return standing


def _required(connection: sa.Connection) -> Collection[tuple[str, str]]:
    """The (campaign, version) pairs whose results a run must have."""
    versions = ledger_versions.versions(connection)
    return {(item.name, item.version) for item in versions if item.required and item.role not in (Role.CANARY, Role.DROPPED)}


def _told_by_counts(run: int, progress: Sequence[RunProgress], required: Collection[tuple[str, str]], now: float) -> Standing | None:
    """What is missing as the ledger counts it; None when all that is required has been through."""
    concerned = [row for row in progress if (row.campaign, row.version) in required] or progress
    missing = tuple(f"{row.campaign} {row.version}: {words}" for row in concerned for words in _missing(row.counts))
    if not missing:
        return None
    return Standing(False, f"Run {run} is NOT complete: {'; '.join(missing)}.", missing, (), None, now)


def _missing(counts: FileCounts) -> Iterable[str]:
    if counts.parked:
        yield f"{counts.parked} parked"
    if still_open := counts.at_work + counts.waiting:
        yield f"{still_open} not processed yet"


def _mark(progress: Sequence[RunProgress]) -> Hashable:
    return tuple((row.campaign, row.version, row.counts, row.late) for row in progress)
