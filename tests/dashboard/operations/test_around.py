"""Launchers, pauses, alarms and the detector as rows of others tell them."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from campaign.ledger import versions
from campaign.ledger.tables import launcher_table
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.detector import read_detector
from dashboard.operations.launchers import read_launchers, read_pauses
from dashboard.operations.open_alarms import read_open_alarms
from dashboard.quality.flags import Flag
from dune_prompt.settings import Site
from dune_prompt.settings.launchers import HTCondorLauncherSettings, LocalLauncherSettings

NOW = 1_718_795_400.0
GOOD, MEDIUM, BAD = int(Flag.GOOD), int(Flag.MEDIUM), int(Flag.BAD)


@pytest.fixture
def two_launchers(site: Site) -> Site:
    launchers = (HTCondorLauncherSettings(kind="htcondor"), LocalLauncherSettings(kind="local"))
    return site.model_copy(update={"launchers": launchers})


def test_the_jobs_of_each_batch_system_are_counted(ledger: Any, store: Any, two_launchers: Site) -> None:
    ledger.campaign()
    states = [("htcondor", "running")] * 3 + [("htcondor", "submitted")] * 2 + [("htcondor", "submitting"), ("local", "running")]
    for i, (launcher, state) in enumerate(states):
        ledger.attempt(ledger.task(7, i, state="running"), launcher=launcher, state=state, ended_at=None)
    ledger.attempt(ledger.task(7, 99, state="done"), launcher="htcondor", state="succeeded")
    ledger.write()
    with store.read() as connection:
        found = read_launchers(connection, two_launchers)
    assert [(launcher.kind, launcher.running, launcher.queued) for launcher in found] == [("htcondor", 3, 3), ("local", 1, 0)]


def test_while_the_first_batch_system_is_out_the_next_takes_jobs(ledger: Any, store: Any, two_launchers: Site) -> None:
    ledger.write()
    with store.read() as connection:
        assert [launcher.takes for launcher in read_launchers(connection, two_launchers)] == [True, False]
    out = {"name": "htcondor", "refused": 4, "answered_at": NOW - 7, "out_since": NOW - 600, "message": "no schedd"}
    with store.write() as connection:
        connection.execute(sa.insert(launcher_table).values(**out))
    with store.read() as connection:
        first, second = read_launchers(connection, two_launchers)
    assert (first.takes, first.refused, first.answered_at, first.out_since, first.message) == (False, 4, NOW - 7, NOW - 600, "no schedd")
    assert second.takes


def test_a_paused_campaign_says_who_since_when_and_why(ledger: Any, store: Any) -> None:
    for version in ("v1", "v2"):
        ledger.campaign(version=version)
    ledger.write()
    with store.write() as connection:
        assert versions.pause(connection, 2, NOW - 60, "engine", "16 of 20 jobs failed alike")
    with store.read() as connection:
        (pause,) = read_pauses(connection, counted_campaigns(connection))
        assert read_pauses(connection, counted_campaigns(connection, [1])) == []
    assert (pause.campaign, pause.version, pause.since, pause.by, pause.why) == (
        "pdhd-prompt",
        "v2",
        NOW - 60,
        "engine",
        "16 of 20 jobs failed alike",
    )


def test_open_alarms_are_counted_and_the_worst_is_told(store: Any, alarm: Any) -> None:
    alarm("warning", "old warning", raised_at=NOW - 900)
    alarm("alarm", "younger alarm", raised_at=NOW - 60)
    alarm("alarm", "older alarm", raised_at=NOW - 120)
    alarm("alarm", "not often enough yet", raised_at=None)
    alarm("alarm", "over", cleared_at=NOW - 1)
    alarm("alarm", "somebody has it", acknowledged_at=NOW - 50, acknowledged_by="x")
    alarm("alarm", "somebody has it for now", acknowledged_at=NOW - 50, acknowledged_by="x", acknowledged_until=NOW + 5)
    with store.read() as connection:
        now = read_open_alarms(connection, NOW)
        later = read_open_alarms(connection, NOW + 10)
    assert now.by_severity == {"alarm": 2, "warning": 1}
    assert now.worst is not None
    assert now.worst.message == "older alarm"
    assert later.by_severity == {"alarm": 3, "warning": 1}


def test_without_open_alarms_none_is_the_worst(store: Any) -> None:
    with store.read() as connection:
        alarms = read_open_alarms(connection, NOW)
    assert (alarms.by_severity, alarms.worst) == ({}, None)


def test_an_element_is_as_good_as_its_worst_group_in_the_newest_run(ledger: Any, store: Any, rolled: Any) -> None:
    ledger.campaign()
    ledger.write()
    rolled(27300, {"P01SU": {"noise": BAD}})
    rolled(27304, {"P02NL": {"noise": GOOD, "pedestal": MEDIUM}, "P01SU": {"noise": GOOD, "pedestal": 0}, "P02SU": {"noise": 0}})
    rolled(999_999, {"P01SU": {"noise": BAD}})
    with store.read() as connection:
        detector = read_detector(connection, counted_campaigns(connection), NOW, probe_run=999_999)
    assert detector is not None
    assert (detector.run, detector.old) == (27304, False)
    found = [(element.element, element.flag, element.groups) for element in detector.elements]
    assert found == [("P01SU", Flag.GOOD, ("noise",)), ("P02NL", Flag.MEDIUM, ("pedestal",)), ("P02SU", Flag.NULL, ("noise",))]


def test_of_two_versions_the_newer_one_tells(ledger: Any, store: Any, rolled: Any) -> None:
    ledger.campaign(version="v1")
    ledger.campaign(version="v2")
    ledger.write()
    rolled(27304, {"P01SU": {"noise": BAD}}, version="v1")
    rolled(27304, {"P01SU": {"noise": GOOD}}, version="v2")
    rolled(27305, {"P01SU": {"noise": BAD}}, version="unknown")
    with store.read() as connection:
        detector = read_detector(connection, counted_campaigns(connection), NOW)
    assert detector is not None
    assert (detector.version, detector.run) == ("v2", 27304)


def test_old_news_of_the_detector_are_old(ledger: Any, store: Any, rolled: Any) -> None:
    ledger.campaign()
    ledger.write()
    rolled(27304, {"P01SU": {"noise": GOOD}}, received_at=NOW - 7200)
    with store.read() as connection:
        detector = read_detector(connection, counted_campaigns(connection), NOW)
        assert read_detector(connection, counted_campaigns(connection, []), NOW) is None
    assert detector is not None
    assert detector.old
