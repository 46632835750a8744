"""The daemon: step by step, files go from the buffer and the outbox into the catalogues. An outage stops a step, never the daemon."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from threading import Event as Flag

import structlog

from declare_daemon.arrivals import Arrivals
from declare_daemon.catalogs import Catalogs
from declare_daemon.journal.files import JournalFile
from declare_daemon.journal.writer import Journal, lease_name
from declare_daemon.leftovers import Leftovers
from declare_daemon.monitoring import Snapshot
from declare_daemon.mover import Mover
from declare_daemon.outage import Outage, Outages
from declare_daemon.outbox import Outbox, root_of
from declare_daemon.quarantine import Quarantine
from declare_daemon.registration.lanes import Lanes
from declare_daemon.registration.placing import Placer
from declare_daemon.registration.registrar import Registrar
from declare_daemon.release.release import Release
from declare_daemon.scanner import STABLE_POLLS, FolderAwayError, Scanner
from declare_daemon.snapshot import SoFar, take_snapshot
from declare_daemon.verdicts import Judge
from declare_daemon.verify import Verifier
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.settings import Site
from dune_prompt.store import Lease, Store, record_events

log = structlog.get_logger(__name__)

# A step waits so long for small files to be read or moved; what takes longer is taken up by a later step.
PATIENCE_S = 1.0
# How often the sleeping loop asks the store whether another process has written (SQLite only).
LISTEN_S = 0.05
# A step waits so long for the first answer of a catalogue; later answers wake the loop.
ANSWER_S = 0.05


@dataclass(frozen=True, slots=True)
class Progress:
    """How many files a step brought how far."""

    found: int = 0
    verified: int = 0
    moved: int = 0
    placed: int = 0
    registered: int = 0
    declared: int = 0
    leaving: int = 0
    left: int = 0

    def __bool__(self) -> bool:
        return any(astuple(self))


class Daemon:
    """The one process that writes the journal of a buffer."""

    def __init__(
        self,
        site: Site,
        store: Store,
        catalogs: Catalogs,
        *,
        clock: Callable[[], float] = time.time,
        randomness: Callable[[], float] = random.random,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Take the buffer's lease.

        Raises:
            LeaseHeldError: another daemon works on this buffer.
            ConfigError: a stream is processed but not declared.
        """
        for stream in site.streams:
            if stream.process and not stream.declare_:
                raise ConfigError(f"stream {stream.name}: process without declare: its outputs would have no declared parent")
        self._store, self._clock, self._random = store, clock, randomness
        self._patience_s, self._buffer = patience_s, site.buffer.path
        self._site = site
        self._lease = Lease.acquire(store, lease_name(site.buffer.path), now=clock())
        self.journal = Journal(store, self._lease, clock)
        alarm_after_s = site.daemon.alarm_after
        self.outages = Outages(store, randomness, alarm_after_s=alarm_after_s)
        self._wake = Flag()
        self._outbox = Outbox(site.workspace / "outbox", self.journal, self.outages)
        quarantine = Quarantine(site.workspace / "quarantine")
        judge = Judge(quarantine, self._home_of, randomness, alarm_after_s=alarm_after_s)
        self._scanner = Scanner(site.buffer.path, site.buffer.sentinel, site.streams)
        self._arrivals = Arrivals(site, self.journal, self._scanner)
        self._leftovers = Leftovers(site, self.journal)
        self._so_far = SoFar(clock())
        self._verifier = Verifier(site, self.journal, self._outbox, judge, wake=self._wake.set)
        self._mover = Mover(site, self.journal, self._outbox, quarantine, judge, wake=self._wake.set)
        wake = self._wake.set
        self._lanes = Lanes((item.name for item in catalogs.all), wake=wake)
        self._registrar = Registrar(self.journal, catalogs, self._lanes, judge, self.outages)
        self._placer = Placer(self.journal, catalogs, self._registrar, judge, self.outages, wake=wake)
        self._release = Release(
            site, self.journal, catalogs, self._registrar.steps, self._lanes, judge, self.outages, random=randomness, wake=wake
        )

    def _home_of(self, file: JournalFile) -> str:
        return self._buffer if file.origin == "buffer" else str(root_of(file, self._outbox.default_root))

    @property
    def busy(self) -> bool:
        """Whether files are being read, copied, moved or deleted, or catalogues called."""
        working = len(self._verifier.work) or len(self._mover.work)
        return bool(working) or self._placer.busy or self._registrar.busy or self._release.busy

    def step(self, *, scan: bool = True) -> Progress:
        """Do what can be done now: scan the buffer, verify, move, declare, release. Short, and may be repeated after any failure.

        Raises:
            TransientError: the store is away.
            LeaseLostError: another daemon took over.
        """
        self._lease.renew(self._clock())
        found = self._scan() if scan else 0
        self._verifier.start(buffer=self.outages.of(f"buffer:{self._buffer}").since is None)
        verified = self._verifier.finish(self._patience_s)
        self._mover.start()
        moved = self._mover.finish(self._patience_s)
        self._placer.start()
        placed = self._placer.finish(0.0 if self._registrar.busy else ANSWER_S)
        declared = self._registrar.start()
        registered = self._registrar.finish(ANSWER_S)
        if registered.failed:
            # The others need not wait any longer for the one that does not answer.
            declared += self._registrar.start()
        self._release.start()
        leaving, left = self._release.finish(ANSWER_S)
        self._leftovers.sweep(self._clock())
        if events := self.outages.take_events():
            with self.journal.write() as connection:
                record_events(connection, events)
        progress = Progress(found, verified, moved, placed, registered.confirmed, declared + registered.declared, leaving, left)
        self._so_far.add(progress, self._clock())
        return progress

    def snapshot(self) -> Snapshot:
        """What the daemon knows of itself now; may be called from any thread."""
        return take_snapshot(self._site, self._store, self._so_far, self.outages.now(), self._lanes.times(), self._clock())

    def _scan(self) -> int:
        away = self.outages.of(f"buffer:{self._buffer}")
        if not away.due(self._clock()):
            return 0
        try:
            found = self._arrivals.take()
        except FolderAwayError as error:
            away.failed(error, self._clock())
            return 0
        away.answered(self._clock())
        self._so_far.last_scan_at = self._clock()
        late = self.outages.of(f"sidecars:{self._buffer}")
        if names := self._arrivals.overdue():
            late.failed(TransientError(f"{len(names)} files wait for their sidecar, {names[0]} among them"), self._clock())
        else:
            late.answered(self._clock())
        return found

    def once(self, poll_s: float) -> None:
        """Step until nothing more can be done now. Files without sidecars are looked at every `poll_s` seconds whether they grow."""
        polls = 0
        while polls <= STABLE_POLLS:
            if self.step():
                polls = 0
            elif self.busy:
                time.sleep(LISTEN_S)
            elif self._scanner.unstable:
                polls += 1
                time.sleep(poll_s)
            else:
                return

    def finish_moves(self) -> None:
        """Carry out the moves the journal has decided, and nothing else: one try each."""
        self._lease.renew(self._clock())
        self._mover.start()
        while len(self._mover.work):
            self._mover.finish(self._patience_s)

    def run(self, interval_s: float, stop: Flag) -> None:
        """Step every `interval_s` seconds until `stop` is set, earlier when there is more to do or another process has written.

        Raises:
            LeaseLostError: another daemon took over.
        """
        tick = time.monotonic()
        store = Outage("store", self._random)
        while not stop.is_set():
            scan = time.monotonic() >= tick
            if scan:
                # The next of the evenly spaced times; those that were missed are left out.
                tick += interval_s * (1 + (time.monotonic() - tick) // interval_s)
            try:
                mark, began = self._store.change_mark(), time.monotonic()
                self._wake.clear()
                progress = self.step(scan=scan)
            except (TransientError, OSError, sqlite3.OperationalError) as error:
                # Not only the store: also a workspace that cannot be written.
                store.failed(error, self._clock())
                stop.wait(store.wait_s(self._clock()))
                continue
            store.answered(self._clock())
            if progress:
                log.info("progress", **{key: value for key, value in asdict(progress).items() if value})
            else:
                # However often others write, four fifths of the time are not ours.
                stop.wait(min(tick - time.monotonic(), 4 * (time.monotonic() - began)))
                self._sleep(tick, mark, stop)

    def _sleep(self, until: float, mark: int | None, stop: Flag) -> None:
        """Sleep until the time `until`, or until a large file is through or the store's mark has moved."""
        while (left := until - time.monotonic()) > 0 and not stop.wait(min(left, LISTEN_S)):
            with suppress(sqlite3.OperationalError):
                if self._wake.is_set() or self._store.change_mark() != mark:
                    return

    def close(self) -> None:
        """Stop reading, end the moves that have begun, and give the lease back."""
        self._verifier.close()
        self._placer.close()
        self._release.close()
        self._lanes.close()
        self._mover.close()
        with suppress(TransientError):
            self._lease.release()
