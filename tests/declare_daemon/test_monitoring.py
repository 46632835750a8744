"""The daemon's metrics and health, asked over HTTP as Prometheus and systemd's watchers do."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families

from declare_daemon.monitoring import Away, Monitor, RequestTimes, Snapshot
from dune_prompt.errors import ConfigError, TransientError

NOW = 1_800_000_000.0


@dataclass
class Place:
    """A daemon that is nothing but its snapshot, and a clock that stands still."""

    snapshot: Snapshot = field(default_factory=lambda: Snapshot(last_step_at=NOW, last_scan_at=NOW))
    now: float = NOW
    collect: Callable[[], Snapshot] | None = None
    monitor: Monitor | None = None

    def ask(self, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPResponse]:
        assert self.monitor is not None
        with closing(http.client.HTTPConnection(*self.monitor.address, timeout=10)) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer

    def values(self) -> dict[str, float]:
        """Every sample of `/metrics` by its name and labels."""
        return {
            sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.ask("/metrics")[1])
            for sample in family.samples
        }


@pytest.fixture
def place() -> Iterator[Place]:
    here = Place()
    with Monitor("127.0.0.1:0", lambda: (here.collect or (lambda: here.snapshot))(), clock=lambda: here.now) as monitor:
        here.monitor = monitor
        yield here


def test_everything_in_the_snapshot_is_a_metric(place: Place) -> None:
    place.snapshot = Snapshot(
        last_step_at=NOW - 1,
        last_scan_at=NOW - 2,
        files={("buffer", "verified"): 7, ("outbox", "found"): 2},
        steps_waiting={"rucio": 5},
        away={"catalog:rucio": Away(NOW - 90, "no answer")},
        alarms=("catalog:rucio",),
        paused=("sam",),
        conflicts=1,
        declared_total=100,
        declared_bytes_total=4 * 10**11,
        released_total=30,
        quarantined_total=2,
        buffer_used_bytes=10**14,
        buffer_capacity_bytes=2 * 10**14,
        oldest_unprocessed_age_s=3600,
        requests={"metacat": RequestTimes(12, 3.5)},
    )
    assert place.values() == {
        "dune_prompt_declare_files origin=buffer state=verified": 7,
        "dune_prompt_declare_files origin=outbox state=found": 2,
        "dune_prompt_declare_steps_waiting catalog=rucio": 5,
        "dune_prompt_declare_away_seconds subject=catalog:rucio": 90,
        "dune_prompt_declare_alarm subject=catalog:rucio": 1,
        "dune_prompt_declare_paused catalog=sam": 1,
        "dune_prompt_declare_conflicts": 1,
        "dune_prompt_declare_lease_lost": 0,
        "dune_prompt_declare_files_declared_total": 100,
        "dune_prompt_declare_declared_bytes_total": 4 * 10**11,
        "dune_prompt_declare_files_released_total": 30,
        "dune_prompt_declare_files_quarantined_total": 2,
        "dune_prompt_declare_last_step_timestamp_seconds": NOW - 1,
        "dune_prompt_declare_last_scan_timestamp_seconds": NOW - 2,
        "dune_prompt_declare_buffer_used_bytes": 10**14,
        "dune_prompt_declare_buffer_capacity_bytes": 2 * 10**14,
        "dune_prompt_declare_oldest_unprocessed_age_seconds": 3600,
        "dune_prompt_declare_request_seconds_count catalog=metacat": 12,
        "dune_prompt_declare_request_seconds_sum catalog=metacat": 3.5,
    }


def test_what_is_not_known_is_left_out(place: Place) -> None:
    place.snapshot = Snapshot()
    values = place.values()
    assert not [name for name in values if "buffer" in name or "timestamp" in name or "oldest" in name]
    assert values["dune_prompt_declare_conflicts"] == 0


def test_every_metric_has_a_help_line(place: Place) -> None:
    text = place.ask("/metrics")[1]
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert families == {line.split()[2] for line in text.splitlines() if line.startswith("# HELP") and len(line.split()) > 3}


def test_the_snapshot_is_collected_at_each_question(place: Place) -> None:
    place.snapshot = Snapshot(conflicts=1)
    assert place.values()["dune_prompt_declare_conflicts"] == 1
    place.snapshot = Snapshot(conflicts=2)
    assert place.values()["dune_prompt_declare_conflicts"] == 2


def test_an_outage_outside_is_told_and_leaves_the_daemon_healthy(place: Place) -> None:
    place.snapshot = Snapshot(last_step_at=NOW - 1, last_scan_at=NOW - 4, away={"buffer:/eos": Away(NOW - 60, "cannot be listed")})
    status, text, _ = place.ask("/health")
    found = json.loads(text)
    assert status == 200
    assert found["ok"] is True
    assert found["away"] == {"buffer:/eos": {"since": NOW - 60, "for_s": 60.0, "error": "cannot be listed"}}
    assert (found["since_last_step_s"], found["since_last_scan_s"]) == (1.0, 4.0)


@pytest.mark.parametrize(("interval_s", "limit_s"), [(1.0, 30.0), (10.0, 30.0), (60.0, 180.0)])
def test_a_loop_that_does_not_step_is_unhealthy(place: Place, interval_s: float, limit_s: float) -> None:
    place.snapshot = Snapshot(interval_s=interval_s, last_step_at=NOW)
    place.now = NOW + limit_s
    assert place.ask("/health")[0] == 200
    place.now = NOW + limit_s + 1
    status, text, _ = place.ask("/health")
    assert status == 503
    assert json.loads(text)["reason"] == f"no step for {limit_s + 1:.0f} s"


def test_a_daemon_that_has_just_started_is_healthy_before_its_first_step(place: Place) -> None:
    place.snapshot = Snapshot()
    place.now = NOW + 30
    assert place.ask("/health")[0] == 200
    place.now = NOW + 31
    assert place.ask("/health")[0] == 503


def test_a_lost_lease_is_unhealthy_at_once(place: Place) -> None:
    place.snapshot = Snapshot(last_step_at=NOW, lease_lost=True)
    status, text, _ = place.ask("/health")
    assert (status, json.loads(text)["reason"]) == (503, "another daemon has taken this buffer over")


def test_a_state_that_cannot_be_collected_is_unhealthy(place: Place) -> None:
    def away() -> Snapshot:
        raise TransientError("store: database is locked")

    place.collect = away
    for path in ("/health", "/metrics"):
        status, text, _ = place.ask(path)
        assert status == 503
        assert json.loads(text) == {"ok": False, "reason": "the state cannot be collected: store: database is locked"}


def test_other_paths_and_methods_are_refused(place: Place) -> None:
    assert place.ask("/")[0] == 404
    assert place.ask("/../etc/passwd")[0] == 404
    status, _, answer = place.ask("/health", "POST")
    assert (status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_no_body(place: Place) -> None:
    assert place.monitor is not None
    with socket.create_connection(place.monitor.address, timeout=10) as connection:
        connection.sendall(b"HEAD /health HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert b"Content-Length: 0" not in head
    assert body == b""


def test_a_port_that_is_taken_names_the_setting(place: Place) -> None:
    assert place.monitor is not None
    taken = "{}:{}".format(*place.monitor.address)
    with pytest.raises(ConfigError, match=f"daemon.listen: {taken}: Address already in use; choose another"):
        Monitor(taken, Snapshot)


def test_a_port_that_is_none_names_the_setting() -> None:
    with pytest.raises(ConfigError, match="99999: ports go up to 65535"):
        Monitor("127.0.0.1:99999", Snapshot)


def test_a_closed_monitor_gives_its_port_back(place: Place) -> None:
    monitor = Monitor("127.0.0.1:0", Snapshot)
    address = monitor.address
    monitor.close()
    with socket.create_server(address):
        pass
