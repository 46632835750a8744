"""What certificates say is kept while nothing has changed, and made in the background for those who only pass by."""

from __future__ import annotations

from typing import Any

import pytest

from campaign.certificate import certificate as certificates_of_campaign
from campaign.certificate.certificate import certify
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.work import RunProgress, read_runs
from dashboard.runs import certificates as module
from dashboard.runs.certificates import COMPLETE_KEPT_S, OTHERS_KEPT_S, Certificates

NOW = 1_718_795_400.0


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs that were certified, in order."""
    runs: list[int] = []

    def count(connection: Any, site: Any, run: int, now: float) -> Any:
        runs.append(run)
        return certify(connection, site, run, now)

    monkeypatch.setattr(module, "certify", count)
    return runs


@pytest.fixture
def desk(site: Any, store: Any) -> Certificates:
    return Certificates(site, store)


def progress_of(store: Any, *runs: int) -> dict[int, list[RunProgress]]:
    with store.read() as connection:
        rows = read_runs(connection, counted_campaigns(connection), runs)
    return {run: [row for row in rows if row.run == run] for run in runs}


def file_of(ledger: Any, run: int, state: str = "done", **values: Any) -> None:
    task = ledger.task(run, 0, state=state)
    ledger.file(task["input_did"].partition(":")[2], run=run, closed_at=NOW - 7200, **values)


def test_a_page_is_told_what_is_known_and_the_rest_follows(desk: Any, store: Any, ledger: Any, counted: list[int]) -> None:
    ledger.campaign()
    for run in (5, 6):
        file_of(ledger, run)
    file_of(ledger, 7, "running")
    ledger.write()
    progress = progress_of(store, 5, 6, 7)
    with store.read() as connection:
        first = desk.kept(connection, progress, NOW)
    assert {run: standing.complete for run, standing in first.items()} == {7: False}
    assert first[7].missing == ("pdhd-prompt v1: 1 not processed yet",)
    assert counted == []
    desk.work(NOW)
    assert counted == [5, 6]
    with store.read() as connection:
        after = desk.kept(connection, progress, NOW + 1)
        truth = certify(connection, desk._site, 5, NOW)
    assert set(after) == {5, 6, 7}
    assert (after[5].complete, after[5].headline, after[5].sha256) == (truth.content["complete"], truth.headline, truth.sha256)
    desk.work(NOW + 1)
    assert counted == [5, 6]


def test_only_what_the_last_page_asked_for_is_made(desk: Any, store: Any, ledger: Any, counted: list[int]) -> None:
    ledger.campaign()
    for run in (5, 6):
        file_of(ledger, run)
    ledger.write()
    with store.read() as connection:
        desk.kept(connection, progress_of(store, 5), NOW)
        desk.kept(connection, progress_of(store, 6), NOW)
    desk.work(NOW)
    assert counted == [6]


def test_a_certificate_is_good_until_the_counts_change_or_some_minutes_have_passed(
    desk: Any, store: Any, ledger: Any, counted: list[int]
) -> None:
    ledger.campaign()
    file_of(ledger, 5)
    ledger.write()

    def read(now: float) -> Any:
        with store.read() as connection:
            return desk.read(connection, 5, progress_of(store, 5)[5], now)

    first = read(NOW)
    kept_s = COMPLETE_KEPT_S if first.complete else OTHERS_KEPT_S
    assert read(NOW + kept_s - 1) == first
    assert counted == [5]
    read(NOW + kept_s)
    assert counted == [5, 5]
    ledger.task(5, 1, state="done")
    ledger.write()
    read(NOW + kept_s + 1)
    assert counted == [5, 5, 5]


def test_a_campaign_that_is_not_required_does_not_hold_a_run_up(desk: Any, store: Any, ledger: Any) -> None:
    ledger.campaign()
    ledger.campaign("trial", "v1")
    ledger.campaigns[1]["required"] = False
    file_of(ledger, 5)
    ledger.task(5, 0, campaign=2, state="parked")
    ledger.write()
    with store.read() as connection:
        standing = desk.read(connection, 5, progress_of(store, 5)[5], NOW)
    assert standing.sha256 is not None, "it was certified: the counts alone do not tell"
    assert not any("trial" in words for words in standing.missing)
    ledger.campaigns[1]["required"] = True
    ledger.write()
    with store.read() as connection:
        standing = desk.read(connection, 5, progress_of(store, 5)[5], NOW)
    assert standing.missing == ("trial v1: 1 parked",)


def test_of_a_run_nobody_knows_nothing_is_said(desk: Any, store: Any, ledger: Any) -> None:
    ledger.write()
    with store.read() as connection:
        assert desk.read(connection, 5, [], NOW) is None


def test_what_counts_say_is_what_the_certificate_says(desk: Any, store: Any, ledger: Any) -> None:
    """The short way and the long one agree on whether a run is complete."""
    ledger.campaign()
    for run, state in enumerate(("done", "running", "parked", "ready", "reported", "blocked", "waiting_retry"), 10):
        file_of(ledger, run, state)
    ledger.write()
    for run in range(10, 17):
        with store.read() as connection:
            standing = desk.read(connection, run, progress_of(store, run)[run], NOW)
            truth = certificates_of_campaign.certify(connection, desk._site, run, NOW)
        assert standing.complete == truth.content["complete"], run


def test_a_long_run_is_certified_in_the_background_and_until_then_shown_as_it_was(
    desk: Any, store: Any, ledger: Any, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONG", 0)
    ledger.campaign()
    file_of(ledger, 5)
    ledger.write()
    rows = progress_of(store, 5)[5]
    with store.read() as connection:
        assert desk.read(connection, 5, rows, NOW) is None
        assert counted == []
        desk.work(NOW)
        made = desk.read(connection, 5, rows, NOW + 1)
        assert made is not None
        later = NOW + COMPLETE_KEPT_S + OTHERS_KEPT_S
        assert desk.read(connection, 5, rows, later) == made
        desk.work(later)
        assert desk.read(connection, 5, rows, later + 1) != made
    assert counted == [5, 5]
