"""All numbers of the operations page at one moment, each read at most once a second and with at most a hundredth of a core."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import sqlalchemy as sa

from dashboard.operations.buffer import BufferFill, DiskWatch, read_buffer_fill
from dashboard.operations.campaigns import Campaigns, counted_campaigns
from dashboard.operations.deadlines import NextDeadline, Promptness, read_next_deadline, read_promptness
from dashboard.operations.declaring import Declaring, read_declaring
from dashboard.operations.failures import Failure, FailureClass, read_failure_classes, read_failures
from dashboard.operations.latency import Latency, read_latency
from dashboard.operations.rates import WINDOWS, Rates, Window, read_rates
from dashboard.operations.services import Services, read_services
from dashboard.operations.work import RunProgress, Work, newest_runs, read_runs, read_work
from dune_prompt.settings import Site
from dune_prompt.store import Store

SAMPLE_S = 1.0
# A reading that took t is not repeated before this many t have passed: on a large ledger the costly ones come less often.
REST = 100


class SlotView(Protocol):
    """What the engine decided last: how many jobs should run at once, and why."""

    @property
    def wanted(self) -> int: ...

    @property
    def reason(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Slots:
    """The engine's last decision, and the most the site allows."""

    wanted: int
    max: int
    reason: str


@dataclass(frozen=True, slots=True)
class Operations:
    """What the operations page shows. `rates` and `latency` are by window: 10min, 1h, 24h."""

    at: float
    work: Work
    promptness: Promptness
    deadline: NextDeadline | None
    slots: Slots
    buffer: BufferFill
    declaring: Declaring
    services: Services
    runs: list[RunProgress]
    failures: list[Failure]
    failure_classes: list[FailureClass]
    rates: dict[str, Rates]
    latency: dict[str, list[Latency]]


T = TypeVar("T")
Read = Callable[[sa.Connection, Campaigns, float], T]


class _Paced(Generic[T]):
    """A reading with its last value, repeated only when it has rested long enough for what it cost."""

    def __init__(self, read: Read[T]) -> None:
        self._read = read
        self._value: T | None = None
        self._read_at = 0.0
        self._rest_s = 0.0

    def at(self, connection: sa.Connection, campaigns: Campaigns, now: float) -> T:
        if self._value is None or not 0 <= now - self._read_at < self._rest_s:
            began = time.perf_counter()
            self._value = self._read(connection, campaigns, now)
            self._read_at, self._rest_s = now, REST * (time.perf_counter() - began)
        return self._value


class OperationsReader:
    """Reads the numbers from the store. Safe to call from several threads; they share one reading a second."""

    def __init__(
        self,
        site: Site,
        store: Store,
        slots: Callable[[], SlotView],
        active_campaigns: Callable[[], Collection[int]] | None = None,
    ) -> None:
        self._site, self._store, self._slots, self._active = site, store, slots, active_campaigns
        self._disk = DiskWatch(site.buffer.path)
        self._lock = threading.Lock()
        self._last: Operations | None = None
        self._work = _Paced(lambda connection, campaigns, _now: read_work(connection, campaigns))
        self._runs = _Paced(lambda connection, campaigns, _now: read_runs(connection, campaigns, newest_runs(connection, campaigns)))
        self._promptness = _Paced(read_promptness)
        self._deadline = _Paced(lambda connection, campaigns, now: (read_next_deadline(connection, campaigns, now),))
        self._declaring = _Paced(lambda connection, _campaigns, now: read_declaring(connection, site, now))
        self._buffer = _Paced(lambda connection, _campaigns, now: read_buffer_fill(connection, site.buffer, self._disk.space(now)))
        self._failures = _Paced(read_failures)
        self._classes = _Paced(read_failure_classes)
        self._rates = {window.name: _Paced(_rates_of(window)) for window in WINDOWS}
        self._latency = {window.name: _Paced(_latency_of(window)) for window in WINDOWS}

    def read(self, now: float) -> Operations:
        """The numbers at `now`, or those of less than a second before.

        Raises:
            TransientError: the store is away.
        """
        with self._lock:
            if self._last is None or not 0 <= now - self._last.at < SAMPLE_S:
                self._last = self._take(now)
            return self._last

    def _take(self, now: float) -> Operations:
        slots = self._slots()
        with self._store.read() as connection:
            campaigns = counted_campaigns(connection, None if self._active is None else self._active())
            return Operations(
                at=now,
                work=self._work.at(connection, campaigns, now),
                promptness=self._promptness.at(connection, campaigns, now),
                deadline=self._deadline.at(connection, campaigns, now)[0],
                slots=Slots(slots.wanted, self._site.slots.max, slots.reason),
                buffer=self._buffer.at(connection, campaigns, now),
                declaring=self._declaring.at(connection, campaigns, now),
                services=read_services(connection, self._site.buffer.path, now),
                runs=self._runs.at(connection, campaigns, now),
                failures=self._failures.at(connection, campaigns, now),
                failure_classes=self._classes.at(connection, campaigns, now),
                rates={name: part.at(connection, campaigns, now) for name, part in self._rates.items()},
                latency={name: part.at(connection, campaigns, now) for name, part in self._latency.items()},
            )


def _rates_of(window: Window) -> Read[Rates]:
    return lambda connection, campaigns, now: read_rates(connection, campaigns, window, now)


def _latency_of(window: Window) -> Read[list[Latency]]:
    return lambda connection, campaigns, now: read_latency(connection, campaigns, now - window.length_s)
