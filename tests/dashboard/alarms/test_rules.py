"""What each rule finds, and does not, in a store written row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa

from campaign.ledger.tables import launcher_table
from campaign.probe.tables import probe_table
from dashboard.alarms.finding import Severity
from dashboard.alarms.rules import RULES
from dashboard.alarms.rules.buffer import fill_rate
from dashboard.dqm.tables import result_table, run_table
from dashboard.operations.tables import sample_table
from declare_daemon.journal.tables import pause_table
from declare_daemon.journal.writer import lease_name
from dune_prompt.settings.alarms import RULE_NAMES, RuleName, WatchSettings

NOW = 1_718_795_400.0  # 2024-06-19 11:10:00 UTC
THIN = "\u202f"


def test_there_is_one_rule_for_each_limit_of_the_site_file() -> None:
    limits = set(WatchSettings.model_fields) - {"after", "run_over_after"}
    assert limits == set(RULE_NAMES) == set(get_args(RuleName)) == {rule.name for rule in RULES}
    assert len(RULES) == len(RULE_NAMES)
    for rule in RULES:
        assert rule.words[0].islower()
        assert rule.means.endswith(".")
        assert rule.do.endswith(".")
        assert rule.limit(getattr(WatchSettings(), rule.name))


def test_an_empty_store_of_a_site_at_rest_has_no_alarm_but_a_missing_daemon(eye: Any, ledger: Any) -> None:
    ledger.write()
    eye.set(probe={"run": 999900, "stream": "physics"})
    assert {name for name in RULE_NAMES if eye.sees(name)} == {"no_heartbeat_for"}


# -- silence ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age_s", "found"), [(899, False), (901, True), (6 * 3600 - 1, True), (6 * 3600 + 1, False)])
def test_a_run_that_is_going_and_has_no_new_file_is_found_until_it_counts_as_over(eye: Any, ledger: Any, age_s: float, found: bool) -> None:
    ledger.file("old.hdf5", run=28099, found_at=NOW - 90000)
    ledger.file("last.hdf5", run=28100, found_at=NOW - age_s)
    ledger.write()
    findings = eye.sees("no_file_for")
    assert bool(findings) is found
    if found:
        (finding,) = findings
        assert (finding.subject, finding.severity, finding.link) == ("run 28100", Severity.ALARM, "/runs/28100")
        assert "last.hdf5" in finding.message


def test_outputs_probes_and_streams_that_are_not_processed_are_no_new_raw_files(eye: Any, ledger: Any) -> None:
    ledger.file("last.hdf5", run=28100, found_at=NOW - 1000)
    ledger.file("frames.npz", run=28100, found_at=NOW - 10, origin="outbox")
    ledger.file("probe.hdf5", run=999900, found_at=NOW - 10)
    ledger.file("tp.hdf5", run=28100, found_at=NOW - 10, stream="trigprim")
    ledger.write()
    eye.set(probe={"run": 999900, "stream": "physics"})
    assert [finding.subject for finding in eye.sees("no_file_for")] == ["run 28100"]


def test_an_engine_that_holds_its_lease_and_decides_nothing_is_told_from_one_that_is_gone(eye: Any, ledger: Any, lease: Any) -> None:
    ledger.write()
    assert eye.sees("no_decision_for") == []
    eye.decided_at = NOW - 130
    (gone,) = eye.sees("no_decision_for")
    assert "no process holds the engine's lease" in gone.message
    lease("engine", NOW + 20)
    (stuck,) = eye.sees("no_decision_for")
    assert "the engine (np04-srv-1/12/34) is there, but" in stuck.message
    assert f"2{THIN}min 10{THIN}s" in stuck.message


def test_the_daemon_is_missed_when_its_lease_ran_out_was_given_back_or_never_was(eye: Any, ledger: Any, lease: Any, store: Any) -> None:
    ledger.write()
    (never,) = eye.sees("no_heartbeat_for")
    assert "no declare daemon has ever run" in never.message
    lease(lease_name(eye.site.buffer.path), NOW - 59)
    assert eye.sees("no_heartbeat_for") == []
    eye.now = NOW + 2
    (silent,) = eye.sees("no_heartbeat_for")
    assert "ran out 1\u202fmin 1\u202fs ago" in silent.message
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE lease SET expires_at = 0")
    (stopped,) = eye.sees("no_heartbeat_for")
    assert "was stopped" in stopped.message


def probe(number: int, outcome: str | None, ended_at: float | None, message: str | None = None) -> dict[str, Any]:
    text = dict.fromkeys(("name", "did", "campaign", "version", "code_version", "raw"), "x")
    times = {"made_at": NOW - 9e4, "sent_at": NOW - 9e4, "ended_at": ended_at}
    return text | times | {"id": f"{number:026d}", "outcome": outcome, "message": message, "hops": {}, "numbers": {}}


def test_no_good_probe_is_found_whatever_the_last_ones_were(eye: Any, ledger: Any, store: Any) -> None:
    ledger.write()
    eye.set(probe={"run": 999900, "stream": "physics"})
    eye.watching_since = NOW - 10801
    (none,) = eye.sees("no_good_probe_for")
    assert "none was sent" in none.message
    with store.write() as connection:
        connection.execute(sa.insert(probe_table), [probe(1, "ok", NOW - 10799), probe(2, "late", NOW - 60, "its task is queued")])
    assert eye.sees("no_good_probe_for") == []
    eye.now = NOW + 60
    (late,) = eye.sees("no_good_probe_for")
    assert "the last one is late: its task is queued" in late.message


# -- clocks ----------------------------------------------------------------------------------------------------------------


def result(number: int, attempt: str, made_at: float, received_at: float) -> dict[str, Any]:
    return {
        "campaign": "c",
        "version": "v1",
        "input_did": f"n:{number}",
        "stage": "evaluate",
        "attempt": attempt,
        "shown": True,
        "run": 28100,
        "file_index": number,
        "detector": "pdhd",
        "made_at": made_at,
        "received_at": received_at,
        "folder": "x",
        "payload": "numpy",
        "notes": [],
        "pictures_missing": [],
        "elements": [],
        "scalars": b"",
    }


def test_a_worker_whose_clock_nothing_but_itself_explains_is_named(eye: Any, ledger: Any, store: Any) -> None:
    ledger.campaign()
    rows = []
    # (host, made after its job was submitted, came after it was made): what a delay explains, and what none does.
    for i, (host, after_submission, after_making) in enumerate(
        [("slow", 3000, 500), ("good", 60, 1), ("ahead", 400, -7), ("behind", -9, 90), ("nearly", -4, -4)]
    ):
        task = ledger.task(28100, i, state="done")
        attempt = ledger.attempt(task, host=host, submitted_at=NOW - 3300)
        made_at = NOW - 3300 + after_submission
        rows.append(result(i, attempt["id"], made_at, made_at + after_making))
    ledger.write()
    with store.write() as connection:
        connection.execute(sa.insert(result_table), rows)
    findings = eye.sees("clock_skew")
    assert [(finding.subject, finding.severity) for finding in findings] == [("ahead", Severity.WARNING), ("behind", Severity.WARNING)]
    assert f"7.0{THIN}s ahead of" in findings[0].message
    assert f"9.0{THIN}s behind" in findings[1].message
    eye.now = NOW + 7200
    assert eye.sees("clock_skew") == []


def test_a_daemon_and_a_storage_in_the_future_are_found(eye: Any, ledger: Any) -> None:
    ledger.file("a.hdf5", found_at=NOW - 20, closed_at=NOW - 21)
    ledger.file("b.hdf5", found_at=NOW - 10, closed_at=NOW - 3)
    ledger.write()
    (storage,) = eye.sees("clock_skew")
    assert (storage.subject, f"7.0{THIN}s ahead of the declare daemon's" in storage.message) == ("buffer", True)
    ledger.file("c.hdf5", found_at=NOW + 8, closed_at=NOW)
    ledger.write()
    daemon, _ = eye.sees("clock_skew")
    assert (daemon.subject, f"8.0{THIN}s ahead of the service's" in daemon.message) == ("daemon", True)


# -- the buffer ------------------------------------------------------------------------------------------------------------


def test_a_buffer_above_its_limit_is_an_alarm(eye: Any, ledger: Any) -> None:
    for i in range(19):
        ledger.file(f"{i}.hdf5", size_bytes=10**13)
    ledger.file("left.hdf5", size_bytes=10**13, state="left")
    ledger.write()
    assert eye.sees("buffer_above") == []
    ledger.file("one more.hdf5", size_bytes=10**12)
    ledger.write()
    (finding,) = eye.sees("buffer_above")
    assert finding.severity is Severity.ALARM
    assert f"95.5{THIN}% full" in finding.message


def samples(store: Any, interval_s: int, points: list[tuple[float, float]]) -> None:
    zero = dict.fromkeys(("running", "queued", "backlog", "parked", "late", "files", "done"), 0)
    rows = [zero | {"interval_s": interval_s, "at": at, "buffer_bytes": int(used)} for at, used in points]
    with store.write() as connection:
        connection.execute(sa.insert(sample_table), rows)


def test_the_time_the_buffer_is_full_comes_from_a_line_through_the_samples(eye: Any, ledger: Any, store: Any, tmp_path: Path) -> None:
    (tmp_path / "buffer").rmdir()  # the room on the file system of the tests says nothing
    ledger.file("a.hdf5", size_bytes=190 * 10**12)
    ledger.write()
    # 3 TB an hour, with a saw on it; older samples and coarser ones say something else.
    line = [(NOW - 7100 + 60 * i, 184e12 + 3e12 * i / 60 + (-1) ** i * 1e11) for i in range(118)]
    samples(store, 60, line)
    samples(store, 600, [(NOW - 600 * i, 1e12) for i in range(1, 12)])
    samples(store, 30, [(NOW - 9000 + 30 * i, 1e12) for i in range(10)])
    assert fill_rate_of(store) == pytest.approx(3e12 / 3600, rel=0.01)
    (finding,) = eye.sees("disk_full_within")
    assert finding.severity is Severity.WARNING
    assert f"3{THIN}h 2" in finding.message
    assert "at 2024-06-19 14:3" in finding.message
    eye.set(watch={"disk_full_within": "3h"})
    assert eye.sees("disk_full_within") == []


def fill_rate_of(store: Any) -> float | None:
    with store.read() as connection:
        return fill_rate(connection, NOW)


@pytest.mark.parametrize("step", [0, -1e11])
def test_a_buffer_that_does_not_fill_is_never_full(eye: Any, ledger: Any, store: Any, step: float) -> None:
    ledger.file("a.hdf5", size_bytes=199 * 10**12)
    ledger.write()
    samples(store, 60, [(NOW - 3600 + 60 * i, 199e12 + step * i) for i in range(60)])
    assert eye.sees("disk_full_within") == []


def test_a_few_samples_are_no_trend(store: Any) -> None:
    assert fill_rate_of(store) is None
    samples(store, 60, [(NOW - 540 + 60 * i, 1e13 * i) for i in range(9)])
    assert fill_rate_of(store) is None
    samples(store, 60, [(NOW - 580 + 2 * i, 1e13) for i in range(9)])
    assert fill_rate_of(store) is None


# -- what is outside -------------------------------------------------------------------------------------------------------


def away(subject: str, at: float) -> dict[str, Any]:
    return {"at": at, "room": "declare", "subject": subject, "before": "back", "after": "away", "by": None, "message": "HTTP 502"}


def test_what_is_away_for_long_is_found_but_not_a_catalogue_somebody_paused(eye: Any, ledger: Any, store: Any) -> None:
    ledger.events = [away("catalog:embedded", NOW - 301), away(f"buffer:{eye.site.buffer.path}", NOW - 301)]
    ledger.write()
    buffer, catalog = sorted(eye.sees("away_for"), key=lambda finding: finding.subject)
    assert (buffer.severity, catalog.severity) == (Severity.ALARM, Severity.WARNING)
    assert (catalog.subject, "HTTP 502" in catalog.message) == ("catalog:embedded", True)
    with store.write() as connection:
        connection.execute(sa.insert(pause_table).values(catalog="embedded", since=NOW - 100, until=None, by="anna", why="upgrade"))
    assert [finding.subject for finding in eye.sees("away_for")] == [buffer.subject]
    eye.now = NOW - 2
    assert eye.sees("away_for") == []


def test_a_batch_system_that_is_out_is_worse_when_no_other_is_left(eye: Any, ledger: Any, store: Any) -> None:
    ledger.write()
    eye.set(launchers=[{"kind": "htcondor"}, {"kind": "local"}])
    with store.write() as connection:
        connection.execute(sa.insert(launcher_table).values(name="htcondor", refused=3, out_since=NOW - 601, message="SECMAN:2007"))
        connection.execute(sa.insert(launcher_table).values(name="jobsub", refused=3, out_since=NOW - 601, message="was a launcher once"))
    (finding,) = eye.sees("launcher_out_for")
    assert (finding.subject, finding.severity, "SECMAN:2007" in finding.message) == ("launcher:htcondor", Severity.WARNING, True)
    eye.set(launchers=[{"kind": "htcondor"}])
    assert [finding.severity for finding in eye.sees("launcher_out_for")] == [Severity.ALARM]


# -- the work --------------------------------------------------------------------------------------------------------------


def test_a_backlog_that_takes_too_long_is_found_only_when_files_wait_too_long_already(eye: Any, ledger: Any) -> None:
    ledger.campaign()
    for i in range(20):
        ledger.task(28100, i, state="done", done_at=NOW - 3000 + 100 * i, attempts=1)
    for i in range(20, 60):
        ledger.task(28100, i, ready_at=NOW - 1799)
    ledger.write()
    # 20 files an hour: 40 that wait need 2 h; twice half an hour is allowed.
    assert eye.sees("behind") == []
    eye.now = NOW + 2
    (finding,) = eye.sees("behind")
    assert f"40 files wait, which takes 2{THIN}h at the present rate" in finding.message
    assert "37 slots are wanted" in finding.message
    eye.set(watch={"behind": 5})
    assert eye.sees("behind") == []


def test_a_backlog_of_which_nothing_is_processed_is_behind(eye: Any, ledger: Any) -> None:
    ledger.campaign()
    ledger.task(28100, 0, ready_at=NOW - 3600)
    ledger.write()
    (finding,) = eye.sees("behind")
    assert "1 file waits, and none was processed for an hour" in finding.message


def test_failures_are_counted_by_class_over_the_last_hour(eye: Any, ledger: Any) -> None:
    ledger.campaign()
    classes = ["site"] * 12 + ["memory"] * 5 + ["data"] * 4 + [None] * 9
    for i, error_class in enumerate(classes):
        ledger.attempt(ledger.task(28100, i), error_class=error_class, message=f"message {i}", ended_at=NOW - 3599 + i)
    for i in range(20):
        ledger.attempt(ledger.task(28100, 100 + i), error_class="payload", ended_at=NOW - 3601)
    ledger.write()
    # 30 attempts: 40 % site, 17 % memory, and too few of data.
    (finding,) = eye.sees("failures")
    assert (finding.subject, finding.severity) == ("site", Severity.WARNING)
    assert "12 of 30 attempts of the last hour failed: the worker or its site has a problem" in finding.message
    assert "on worker-7: message 11" in finding.message
    eye.set(watch={"failures": "10%"})
    assert [finding.subject for finding in eye.sees("failures")] == ["memory", "site"]
    eye.now = NOW + 10
    assert [finding.subject for finding in eye.sees("failures")] == ["memory"]


def test_half_of_all_failing_is_an_alarm(eye: Any, ledger: Any) -> None:
    ledger.campaign()
    for i in range(10):
        ledger.attempt(ledger.task(28100, i), error_class="site" if i < 5 else None, ended_at=NOW - 60)
    ledger.write()
    assert [finding.severity for finding in eye.sees("failures")] == [Severity.ALARM]


def test_parked_and_late_tasks_are_counted(eye: Any, ledger: Any) -> None:
    ledger.campaign()
    for i in range(3):
        ledger.task(28100, i, state="parked", error_class="data", message=f"fragment {i} is empty", deadline=NOW + i)
    ledger.task(28100, 3, late=True)
    ledger.task(28100, 4, late=True, state="done")
    ledger.write()
    (parked,) = eye.sees("parked")
    assert parked.message == "3 tasks are parked; the one whose file goes first, of run 28100: fragment 0 is empty"
    (late,) = eye.sees("late")
    assert late.message.startswith("1 task cannot")
    eye.set(watch={"parked": 4, "late": 2})
    assert eye.sees("parked") == eye.sees("late") == []


def test_files_that_wait_for_a_person_are_one_finding_for_each_reason(eye: Any, ledger: Any) -> None:
    ledger.file("a.hdf5", state="quarantined", reason="cut off")
    ledger.file("b.npz", state="quarantined", reason="no sidecar", origin="outbox", found_at=NOW)
    ledger.file("c.txt", state="unmatched", did=None)
    ledger.write()
    quarantined, unmatched = eye.sees("stopped")
    assert quarantined.message == "2 files are in the quarantine; the newest, b.npz: no sidecar"
    assert (quarantined.key, unmatched.key) == ("stopped:quarantined", "stopped:unmatched")


# -- the detector ----------------------------------------------------------------------------------------------------------


def rolled(run: int, received_at: float, tiles: dict[str, Any], **values: Any) -> dict[str, Any]:
    counts = {"files": 12, "n_null": 2, "n_good": 5, "n_medium": 0, "n_bad": 5, "n_problems": 0}
    names = {"campaign": "c", "version": "v1", "run": run, "detector": "pdhd", "run_type": "cosmics"}
    return names | counts | {"received_at": received_at, "rolled_at": received_at, "stale": False, "tiles": tiles, "outliers": []} | values


def tile(bad: int) -> dict[str, int]:
    return {"flag": 3 if bad else 1, "bad": bad, "medium": 0, "good": 10 - bad, "null": 0}


def test_bad_quality_is_one_finding_for_each_run_element_and_group(eye: Any, ledger: Any, store: Any) -> None:
    ledger.write()
    tiles = {"P02SU": {"noise": tile(5), "signal": tile(1)}, "P02NL": {"noise": tile(2), "channels": tile(0)}}
    words = {"element": "P02SU", "plane": "W", "group": "noise", "words": "RMS is 31 ADC, above 25"}
    outliers = [{"input_did": "n:1", "file_index": 1, "flag": 3, "findings": [words]}]
    with store.write() as connection:
        connection.execute(
            sa.insert(run_table),
            [
                rolled(28100, NOW - 60, tiles, outliers=outliers),
                rolled(28099, NOW - 7 * 3600, tiles),
                rolled(28100, NOW - 7 * 3600, tiles, version="v0"),
            ],
        )
    nl, su = sorted(eye.sees("quality_bad"), key=lambda finding: finding.subject)
    assert (nl.subject, su.subject) == ("run 28100 P02NL noise", "run 28100 P02SU noise")
    assert su.message == (
        "noise of the channels, raw and after filtering: BAD in 5 of the 10 judged files of run 28100. The worst: RMS is 31 ADC, above 25"
    )
    assert (nl.severity, nl.link) == (Severity.ALARM, "/runs/28100/quality")
    assert not nl.message.endswith("25")
    eye.set(watch={"quality_bad": 1})
    assert len(eye.sees("quality_bad")) == 3


def test_the_operators_page_tells_of_every_rule() -> None:
    text = (Path(__file__).parents[3] / "docs" / "alarms.md").read_text("utf-8")
    for rule in RULES:
        assert f"`{rule.name}`" in text, rule.name
