"""The daemon seen from outside: `/metrics` for Prometheus and `/health` for whoever restarts it, over HTTP on loopback.

Both are made from a `Snapshot` that is collected when they are asked for: nothing is counted twice, and nothing when nobody looks.
"""

from __future__ import annotations

import json
import socketserver
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder

from dune_prompt.errors import ConfigError

log = structlog.get_logger(__name__)

PREFIX = "dune_prompt_declare"
# A loop that has not stepped for so many of its intervals, or 30 s, hangs.
MISSED_STEPS, SHORTEST_INTERVAL_S = 3, 10.0
REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Away:
    """Something outside that does not answer, since when (seconds since the Unix epoch), and what it said last."""

    since: float
    error: str


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """The requests to a catalogue so far: how many, and how long they took together."""

    count: int
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the daemon knows of itself at one moment; what it does not know is left out of the metrics.

    Times are seconds since the Unix epoch. `files` counts by (origin, state), `steps_waiting` by catalogue. The `_total`s count from
    the start of the process. `oldest_unprocessed_age_s`: of the file that waits longest for its processing.
    """

    interval_s: float = 1.0
    last_step_at: float | None = None
    last_scan_at: float | None = None
    lease_lost: bool = False
    files: Mapping[tuple[str, str], int] = field(default_factory=dict)
    steps_waiting: Mapping[str, int] = field(default_factory=dict)
    away: Mapping[str, Away] = field(default_factory=dict)
    alarms: Collection[str] = ()
    paused: Collection[str] = ()
    conflicts: int = 0
    declared_total: int = 0
    declared_bytes_total: int = 0
    released_total: int = 0
    quarantined_total: int = 0
    buffer_used_bytes: int | None = None
    buffer_capacity_bytes: int | None = None
    oldest_unprocessed_age_s: float | None = None
    requests: Mapping[str, RequestTimes] = field(default_factory=dict)


def metrics(snapshot: Snapshot, now: float) -> Iterator[Metric]:
    """The snapshot in Prometheus' terms."""

    def gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{PREFIX}_{name}", help_text, value=value)

    files = GaugeMetricFamily(f"{PREFIX}_files", "Files in the journal.", labels=("origin", "state"))
    for (origin, state), number in sorted(snapshot.files.items()):
        files.add_metric((origin, state), number)
    yield files
    waiting = GaugeMetricFamily(f"{PREFIX}_steps_waiting", "Declarations that a catalogue has not confirmed yet.", labels=("catalog",))
    for catalog, number in sorted(snapshot.steps_waiting.items()):
        waiting.add_metric((catalog,), number)
    yield waiting
    away = GaugeMetricFamily(f"{PREFIX}_away_seconds", "Since when something outside does not answer.", labels=("subject",))
    for subject, outage in sorted(snapshot.away.items()):
        away.add_metric((subject,), max(0.0, now - outage.since))
    yield away
    alarms = GaugeMetricFamily(f"{PREFIX}_alarm", "Alarms that are open; 1 for each.", labels=("subject",))
    for subject in sorted(set(snapshot.alarms)):
        alarms.add_metric((subject,), 1)
    yield alarms
    paused = GaugeMetricFamily(f"{PREFIX}_paused", "Catalogues that an operator has paused; 1 for each.", labels=("catalog",))
    for catalog in sorted(set(snapshot.paused)):
        paused.add_metric((catalog,), 1)
    yield paused
    yield gauge("conflicts", "Files stopped because two truths are known about them.", snapshot.conflicts)
    yield gauge("lease_lost", "Whether another daemon has taken the buffer over.", snapshot.lease_lost)
    for name, help_text, total in (
        ("files_declared", "Files that every catalogue has confirmed since the start.", snapshot.declared_total),
        ("declared_bytes", "Their bytes.", snapshot.declared_bytes_total),
        ("files_released", "Files that have left the buffer by release since the start.", snapshot.released_total),
        ("files_quarantined", "Files quarantined since the start.", snapshot.quarantined_total),
    ):
        yield CounterMetricFamily(f"{PREFIX}_{name}", help_text, value=total)
    for name, help_text, value in (
        ("last_step_timestamp_seconds", "When the loop last ended a step.", snapshot.last_step_at),
        ("last_scan_timestamp_seconds", "When the buffer was last listed.", snapshot.last_scan_at),
        ("buffer_used_bytes", "Bytes in the buffer.", snapshot.buffer_used_bytes),
        ("buffer_capacity_bytes", "Bytes the buffer may hold.", snapshot.buffer_capacity_bytes),
        ("oldest_unprocessed_age_seconds", "Age of the file that waits longest for its processing.", snapshot.oldest_unprocessed_age_s),
    ):
        if value is not None:
            yield gauge(name, help_text, value)
    requests = SummaryMetricFamily(f"{PREFIX}_request_seconds", "Time of the requests to a catalogue.", labels=("catalog",))
    for catalog, times in sorted(snapshot.requests.items()):
        requests.add_metric((catalog,), count_value=times.count, sum_value=times.total_s)
    yield requests


def health(snapshot: Snapshot, now: float, started_at: float) -> dict[str, Any]:
    """Whether the daemon does its work (`ok`), why not, and what it waits for. What is away outside does not make it unhealthy."""
    silent_s = now - max(snapshot.last_step_at or 0.0, started_at)
    limit_s = MISSED_STEPS * max(snapshot.interval_s, SHORTEST_INTERVAL_S)
    reason = None
    if snapshot.lease_lost:
        reason = "another daemon has taken this buffer over"
    elif silent_s > limit_s:
        reason = f"no step for {silent_s:.0f} s"
    return {
        "ok": reason is None,
        "reason": reason,
        "away": {
            subject: {"since": outage.since, "for_s": round(max(0.0, now - outage.since), 1), "error": outage.error[:300]}
            for subject, outage in sorted(snapshot.away.items())
        },
        "alarms": sorted(set(snapshot.alarms)),
        "paused": sorted(set(snapshot.paused)),
        "since_last_step_s": _since(snapshot.last_step_at, now),
        "since_last_scan_s": _since(snapshot.last_scan_at, now),
    }


def _since(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, now - at), 3)


class _Collector:
    """Makes the metrics when Prometheus asks for them."""

    def __init__(self, collect: Callable[[], Snapshot], clock: Callable[[], float]) -> None:
        self._collect, self._clock = collect, clock

    def collect(self) -> Iterator[Metric]:
        return metrics(self._collect(), self._clock())


class Monitor:
    """Serves `/metrics` and `/health` from a thread of its own until it is closed; also a context manager."""

    def __init__(self, listen: str, collect: Callable[[], Snapshot], *, clock: Callable[[], float] = time.time) -> None:
        """Listen on `listen` (`daemon.listen`, such as 127.0.0.1:9410; port 0: a free one). `collect` is called in the server's threads.

        Raises:
            ConfigError: the port is taken, or the address is none of this machine.
        """
        self._collect, self._clock, self._started_at = collect, clock, clock()
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(collect, clock))
        host, _, port = listen.rpartition(":")
        try:
            self._server = _Server((host, int(port)), self)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "ports go up to 65535"
            raise ConfigError(f"daemon.listen: {listen}: {reason}; choose another address or port") from None
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="monitor", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def answer(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, content type and body for a path."""
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return HTTPStatus.OK, content_type, encode(self._registry)
        if path == "/health":
            found = health(self._collect(), self._clock(), self._started_at)
            status = HTTPStatus.OK if found["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
            return status, "application/json", json.dumps(found).encode() + b"\n"
        return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"there are /metrics and /health\n"

    def close(self) -> None:
        """Stop listening. Answers on their way are left to end by themselves."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A slow reader must not hold the daemon's end up.
    block_on_close = False

    def __init__(self, address: tuple[str, int], monitor: Monitor) -> None:
        self.monitor = monitor
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service for the host's name, which may hang.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that hangs up is no event of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "dune-prompt", ""
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        """Answer `/metrics` or `/health`."""
        try:
            status, content_type, body = self.server.monitor.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
        except Exception as error:  # noqa: BLE001 - whatever keeps the daemon from telling its state is itself its state
            log.warning("the state cannot be collected", error=str(error)[:300])
            reply = {"ok": False, "reason": f"the state cannot be collected: {str(error)[:300]}"}
            status, content_type, body = HTTPStatus.SERVICE_UNAVAILABLE, "application/json", json.dumps(reply).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _refuse(self) -> None:
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing: Prometheus asks four times a minute."""
