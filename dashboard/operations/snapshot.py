"""All numbers of the operations page at one moment, each read at most once a second and with at most a hundredth of a core."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

import sqlalchemy as sa

from dashboard.operations.buffer import BufferFill, DiskWatch, read_buffer_fill
from dashboard.operations.campaigns import Campaigns, counted_campaigns
from dashboard.operations.deadlines import NextDeadline, read_next_deadline
from dashboard.operations.declaring import Declaring, read_declaring
from dashboard.operations.detector import DetectorNow, read_detector
from dashboard.operations.failures import Failure, FailureClass, read_failure_classes, read_failures
from dashboard.operations.forecast import Drain, FillForecast, drain_of, read_fill_forecast
from dashboard.operations.latency import Latency, read_latency_by_window
from dashboard.operations.launchers import CampaignPause, LauncherHealth, read_launchers, read_pauses
from dashboard.operations.marks import Marks, read_marks
from dashboard.operations.open_alarms import OpenAlarms, read_open_alarms
from dashboard.operations.promptness import Asked, Promptness, read_promptness
from dashboard.operations.rates import WINDOWS, Rates, Window, read_rates
from dashboard.operations.services import Services, read_services
from dashboard.operations.slots import Slots, SlotView
from dashboard.operations.work import RunProgress, Work, newest_runs, read_runs, read_work
from dune_prompt.settings import Site
from dune_prompt.store import Store

SAMPLE_S = 1.0
# A reading that took t is not repeated before this many t have passed: on a large ledger the costly ones come less often.
REST = 100
# One that took long for once (a stalled disk) must not leave old numbers on the page for minutes.
REST_MOST_S = 15.0
TEN_MINUTES, HOUR, DAY = WINDOWS
LATENCY_WINDOWS = (HOUR, DAY)


@dataclass(frozen=True, slots=True)
class Operations:
    """What the operations page shows. `rates` are by window (10min, 1h, 24h), `latency` too (1h, 24h)."""

    at: float
    promptness: Promptness
    work: Work
    drain: Drain
    slots: Slots
    launchers: list[LauncherHealth]
    pauses: list[CampaignPause]
    buffer: BufferFill
    fill_forecast: FillForecast
    deadline: NextDeadline | None
    declaring: Declaring
    services: Services
    alarms: OpenAlarms
    detector: DetectorNow | None
    runs: list[RunProgress]
    failures: list[Failure]
    failure_classes: list[FailureClass]
    rates: dict[str, Rates]
    latency: dict[str, list[Latency]]
    marks: Marks


T = TypeVar("T")
Read = Callable[[sa.Connection, Campaigns, float], T]


class _Paced(Generic[T]):
    """A reading with its last value, repeated only when it has rested long enough for what it cost."""

    def __init__(self, read: Read[T]) -> None:
        self._read = read
        self._value: tuple[T] | None = None
        self._read_at = 0.0
        self._rest_s = 0.0

    def at(self, connection: sa.Connection, campaigns: Campaigns, now: float) -> T:
        if self._value is None or not 0 <= now - self._read_at < self._rest_s:
            began = time.perf_counter()
            self._value = (self._read(connection, campaigns, now),)
            self._read_at, self._rest_s = now, min(REST_MOST_S, REST * (time.perf_counter() - began))
        return self._value[0]


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
        self._probe_run = site.probe.run if site.probe else None
        self._disk = DiskWatch(site.buffer.path)
        self._lock = threading.Lock()
        self._last: Operations | None = None
        self._work = _Paced(lambda connection, campaigns, _now: read_work(connection, campaigns))
        self._runs = _Paced(lambda connection, campaigns, _now: read_runs(connection, campaigns, newest_runs(connection, campaigns)))
        self._promptness = _Paced(
            lambda connection, campaigns, now: read_promptness(connection, Asked(campaigns, site.slots.drain_within, self._probe_run), now)
        )
        self._deadline = _Paced(read_next_deadline)
        self._declaring = _Paced(lambda connection, _campaigns, now: read_declaring(connection, site, now))
        self._buffer = _Paced(lambda connection, _campaigns, now: read_buffer_fill(connection, site.buffer, self._disk.space(now)))
        self._failures = _Paced(read_failures)
        self._classes = _Paced(read_failure_classes)
        self._launchers = _Paced(lambda connection, _campaigns, _now: read_launchers(connection, site))
        self._detector = _Paced(lambda connection, campaigns, now: read_detector(connection, campaigns, now, self._probe_run))
        self._rates = {window.name: _Paced(_rates_of(window)) for window in WINDOWS}
        self._latency = _Paced(lambda connection, campaigns, now: read_latency_by_window(connection, campaigns, LATENCY_WINDOWS, now))

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
            work = self._work.at(connection, campaigns, now)
            rates = {name: part.at(connection, campaigns, now) for name, part in self._rates.items()}
            buffer = self._buffer.at(connection, campaigns, now)
            return Operations(
                at=now,
                promptness=self._promptness.at(connection, campaigns, now),
                work=work,
                drain=drain_of(work.backlog, rates[TEN_MINUTES.name]),
                slots=Slots(slots.wanted, self._site.slots.max, slots.reason),
                launchers=self._launchers.at(connection, campaigns, now),
                pauses=read_pauses(connection, campaigns),
                buffer=buffer,
                fill_forecast=read_fill_forecast(connection, buffer, now),
                deadline=self._deadline.at(connection, campaigns, now),
                declaring=self._declaring.at(connection, campaigns, now),
                services=read_services(connection, self._site.buffer.path, now),
                alarms=read_open_alarms(connection, now),
                detector=self._detector.at(connection, campaigns, now),
                runs=self._runs.at(connection, campaigns, now),
                failures=self._failures.at(connection, campaigns, now),
                failure_classes=self._classes.at(connection, campaigns, now),
                rates=rates,
                latency=self._latency.at(connection, campaigns, now),
                marks=read_marks(connection),
            )


def _rates_of(window: Window) -> Read[Rates]:
    return lambda connection, campaigns, now: read_rates(connection, campaigns, window, now)
