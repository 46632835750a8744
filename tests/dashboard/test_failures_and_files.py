"""Failures, the buffer, the journal and the leases against what was written."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.operations.buffer import DiskSpace, DiskWatch, read_buffer_fill
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.declaring import read_declaring
from dashboard.operations.failures import read_failure_classes, read_failures, read_failures_of_run
from dashboard.operations.services import read_services
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import queue_table
from declare_daemon.journal.writer import lease_name
from declare_daemon.registration.pauses import pause
from dune_prompt.settings.site import BufferSettings

NOW = 1_718_795_400.0


def test_parked_tasks_come_first_with_their_last_attempt(ledger: Any, store: Any) -> None:
    ledger.campaign()
    parked = ledger.task(5, 0, state="parked", error_class="data", message="cut off")
    for number in (1, 2, 3):
        last = ledger.attempt(parked, number, error_class="data", message="cut off", ended_at=NOW - 1000 + number)
    never_ran = ledger.task(5, 1, state="parked", error_class="data", message="the input is quarantined")
    retried = ledger.task(6, 0, state="waiting_retry", ready_at=NOW + 30)
    recent = ledger.attempt(retried, error_class="transient", message="no answer", ended_at=NOW - 10)
    old = ledger.task(6, 1, state="done")
    ledger.attempt(old, error_class="memory", message="too large", ended_at=NOW - 2 * 86400)
    ledger.attempt(old, 2, state="succeeded", ended_at=NOW - 86400)
    ledger.write()
    with store.read() as connection:
        campaigns = counted_campaigns(connection)
        failures = read_failures(connection, campaigns, NOW)
        classes = read_failure_classes(connection, campaigns, NOW)
        of_run = read_failures_of_run(connection, campaigns, 6)
    assert [(f.task, f.attempt) for f in failures] == [(parked["id"], last["id"]), (never_ran["id"], None), (retried["id"], recent["id"])]
    assert failures[0].number == 3
    assert (failures[2].error_class, failures[2].message, failures[2].retry_at) == ("transient", "no answer", NOW + 30)
    assert [(c.error_class, c.attempts, c.attempt) for c in classes] == [("data", 3, last["id"]), ("transient", 1, recent["id"])]
    assert (classes[0].input_did, classes[0].at, classes[0].message) == (parked["input_did"], NOW - 997, "cut off")
    assert [f.error_class for f in of_run] == ["transient", "memory"]


def test_the_list_of_failures_is_bounded(ledger: Any, store: Any) -> None:
    ledger.campaign()
    for i in range(60):
        ledger.attempt(ledger.task(5, i, state="parked" if i % 2 else "ready"), error_class="data", message="bad")
    ledger.write()
    with store.read() as connection:
        assert len(read_failures(connection, counted_campaigns(connection), NOW)) == 40


@pytest.mark.parametrize("capacity", ["10TB", None])
def test_the_buffer_holds_what_has_not_left_it(ledger: Any, store: Any, tmp_path: Path, capacity: str | None) -> None:
    sizes = {}
    for i, state in enumerate(FileState):
        ledger.file(f"file{i}.hdf5", state=state.value, size_bytes=10**11 + i)
        sizes[state] = 10**11 + i
    ledger.file("gauss.npz", origin="outbox", state="declared", size_bytes=10**13)
    ledger.file("just-seen.hdf5", state="found", size_bytes=None)
    ledger.write()
    settings = BufferSettings.model_validate({"path": tmp_path, "capacity": capacity})
    with store.read() as connection:
        fill = read_buffer_fill(connection, settings, DiskSpace(20 * 10**12, 5, NOW))
    elsewhere = {FileState.LEFT, FileState.GONE, FileState.QUARANTINED}
    expected = sum(size for state, size in sizes.items() if state not in elsewhere)
    assert fill.used_bytes == expected
    assert fill.files == len(sizes) - len(elsewhere) + 1
    assert fill.fraction == pytest.approx(expected / (10**13 if capacity else 20 * 10**12))


def test_without_capacity_and_file_system_the_fraction_is_unknown(ledger: Any, store: Any, tmp_path: Path) -> None:
    ledger.write()
    with store.read() as connection:
        assert read_buffer_fill(connection, BufferSettings(path=tmp_path), None).fraction is None


def test_a_file_system_that_hangs_does_not_hang_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, usage = threading.Event(), shutil.disk_usage

    def hang(folder: Path) -> Any:
        answer.wait(10)
        return usage(folder)

    monkeypatch.setattr("dashboard.operations.buffer.shutil.disk_usage", hang)
    watch = DiskWatch(tmp_path)
    assert watch.space(NOW) is None
    threads = threading.active_count()
    assert watch.space(NOW + 60) is None
    assert threading.active_count() == threads, "a second thread waits for the same mount"
    answer.set()
    while watch.space(NOW + 60) is None:
        time.sleep(0.01)


def test_a_file_system_that_refuses_is_away_and_one_that_answers_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    watch = DiskWatch(folder)
    assert watch.space(NOW) is None
    folder.mkdir()
    assert watch.space(NOW + 1) is None  # not asked again yet
    space = watch.space(NOW + 6)
    assert space is not None
    assert space.total_bytes > space.free_bytes > 0


def test_the_journal_is_counted_and_its_problems_are_listed(ledger: Any, store: Any, site: Any) -> None:
    states = ["declared", "declared", "found", "verified", "left", "quarantined", "conflict", "unmatched"]
    for i, state in enumerate(states):
        ledger.file(
            f"raw{i}.hdf5",
            state=state,
            reason=f"because {state}" if i > 4 else None,
            found_at=NOW + i,
            tries=3 if state == "verified" else 0,
        )
    ledger.files[3]["reason"] = "metacat: no answer"
    ledger.file("gauss.npz", origin="outbox", state="declared")
    ledger.write()
    with store.read() as connection:
        declaring = read_declaring(connection, site, NOW)
    assert declaring.buffer == {"declared": 2, "found": 1, "verified": 1, "left": 1, "quarantined": 1, "conflict": 1, "unmatched": 1}
    assert declaring.outbox == {"declared": 1}
    assert (declaring.declared, declaring.waiting, declaring.quarantined, declaring.conflicts) == (4, 2, 1, 1)
    assert [(p.state, p.reason) for p in declaring.problems] == [
        ("unmatched", "because unmatched"),
        ("conflict", "because conflict"),
        ("quarantined", "because quarantined"),
    ]
    assert (declaring.retrying, declaring.retry_reason) == (1, "metacat: no answer")


def test_a_catalogue_that_does_not_answer_is_away_until_it_is_back(ledger: Any, store: Any, site: Any, client: Any, lease: Any) -> None:
    lease(lease_name(site.buffer.path), time.time() + 3600)
    away = {
        "at": NOW - 600,
        "room": "declare",
        "subject": "catalog:embedded",
        "before": "back",
        "after": "away",
        "by": None,
        "message": "<no> answer",
    }
    ledger.events.append(away)
    ledger.events.append(away | {"subject": f"buffer:{site.buffer.path}", "message": "stale file handle"})
    ledger.write()
    with store.read() as connection:
        declaring = read_declaring(connection, site, NOW)
    (catalog,) = declaring.catalogs
    assert catalog.away is not None
    assert (catalog.kind, catalog.away.since, catalog.away.message, catalog.pause) == ("embedded", NOW - 600, "<no> answer", None)
    assert [(alarm.subject, alarm.message) for alarm in declaring.alarms] == [(f"buffer:{site.buffer.path}", "stale file handle")]
    page = client.get("/").text
    assert "&lt;no&gt; answer" in page
    assert "stale file handle" in page
    ledger.events.append(away | {"at": NOW, "before": "away", "after": "back", "message": None})
    ledger.write()
    with store.read() as connection:
        assert read_declaring(connection, site, NOW).catalogs[0].away is None


def test_what_waits_for_a_catalogue_is_counted_and_a_pause_says_who_and_why(ledger: Any, store: Any, site: Any) -> None:
    files = [ledger.file(f"raw{i}.hdf5", state="verified") for i in range(3)]
    ledger.write()
    with store.write() as connection:
        for file in files:
            connection.execute(sa.insert(queue_table).values(catalog="embedded", step="declare", file_id=file["id"]))
        connection.execute(sa.insert(queue_table).values(catalog="", step="", file_id=files[0]["id"]))
        pause(connection, "embedded", NOW + 60, "operator", "downtime", NOW - 30)
    with store.read() as connection:
        (catalog,) = read_declaring(connection, site, NOW).catalogs
        (resumed,) = read_declaring(connection, site, NOW + 61).catalogs
    assert catalog.queued == 3
    assert catalog.pause is not None
    assert (catalog.pause.by, catalog.pause.why, catalog.pause.since) == ("operator", "downtime", NOW - 30)
    assert resumed.pause is None


def test_a_service_without_a_lease_is_down(store: Any, tmp_path: Path, lease: Any) -> None:
    with store.read() as connection:
        assert read_services(connection, tmp_path, NOW).engine is None
    lease("engine", NOW + 10)
    lease(lease_name(tmp_path), NOW - 1)
    with store.read() as connection:
        services = read_services(connection, tmp_path, NOW)
    assert services.engine == "np04-srv-1/12/34"
    assert services.daemon is None
