"""Bad runs and single files that need not be processed."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign.commands.exclude import ExcludeArguments, IncludeArguments, WaiveArguments, exclude, include, waive
from campaign.ledger.tables import count_table, exclusion_table
from campaign.versions import waiving
from declare_daemon.journal.files import fetch
from declare_daemon.journal.tables import obligation_table
from declare_daemon.release.candidates import may_leave
from dune_prompt.errors import ConfigError
from dune_prompt.store import event_table
from tests.campaign.two_versions import NOW, TwoVersions

WHY = ExcludeArguments(run=1, why="noise test", by="ann")


def test_what_waits_of_an_excluded_run_is_waived_and_its_files_may_leave(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        house.arrive(2)
        other = house.arrive(1, run=2)
        house.take_in()
        (row,) = exclude(house, WHY, NOW)
        assert (row["waived"], row["still_running"]) == (2, 0)
        assert house.states("v1") == ["waived", "waived", "ready"]
        assert {task.message for task in house.tasks() if task.run == 1} == {"run excluded: noise test"}
        assert house.kept("v1") == set(other)
        assert house.rows(sa.select(exclusion_table)) == [(1, "", NOW, "ann", "noise test")]
        waived = sa.select(obligation_table.c.waived_by, obligation_table.c.waived_why).where(obligation_table.c.waived_by.is_not(None))
        assert set(house.rows(waived)) == {("ann", "run excluded: noise test")}
        assert "run:1" in house.values(sa.select(event_table.c.subject).where(event_table.c.by == "ann"))


def test_a_running_job_goes_on_and_is_waived_when_it_fails(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        good, bad = house.arrive(2)
        house.take_in()
        jobs = [house.begin("v1", did) for did in (good, bad)]
        (row,) = exclude(house, WHY, NOW)
        assert (row["waived"], row["still_running"]) == (0, 2)
        house.declare(house.end(jobs[0]))
        house.end(jobs[1], error_class="payload")
        with house.writing() as connection:
            assert [task.input_did for task in waiving.waive_excluded(connection, NOW)] == [bad]
        assert house.states("v1") == ["done", "waived"]
        assert house.kept("v1") == set()


def test_new_files_of_an_excluded_run_get_no_tasks_and_may_leave(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        exclude(house, WHY, NOW)
        dids = house.arrive(2)
        house.take_in()
        assert house.tasks() == []
        with house.writing() as connection:
            waiving.waive_excluded(connection, NOW)
        with house.installation.store.read() as connection:
            leaving = fetch(connection, may_leave(house.installation.site.streams[0], NOW, NOW))
        assert {file.did for file in leaving} == set(dids)


def test_excluding_again_keeps_the_first_reason(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        exclude(house, WHY, NOW)
        exclude(house, ExcludeArguments(run=1, why="other", by="bob"), NOW + 1)
        assert house.values(sa.select(exclusion_table.c.by)) == ["ann"]


def test_an_included_run_is_processed_with_the_files_that_came_meanwhile(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        done, waiting = house.arrive(2)
        house.take_in()
        house.process("v1", [done])
        exclude(house, WHY, NOW)
        (late,) = house.arrive(1, first=2)
        house.take_in()
        (row,) = include(house, IncludeArguments(run=1, by="bob"), NOW + 1)
        assert (row["waiting_again"], row["new"]) == (1, 1)
        assert house.states("v1") == ["done", "ready", "ready"]
        assert house.kept("v1") == {waiting, late}
        with pytest.raises(ConfigError, match="run 1 is not excluded from all campaigns; it is excluded from none"):
            include(house, IncludeArguments(run=1), NOW + 2)


def test_what_somebody_waived_by_itself_does_not_come_back_with_the_run(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        first, _ = house.arrive(2)
        house.take_in()
        waive(house, WaiveArguments(files=(first,), why="truncated"), NOW)
        exclude(house, WHY, NOW)
        include(house, IncludeArguments(run=1), NOW + 1)
        assert house.states("v1") == ["waived", "ready"]


def test_a_run_excluded_from_one_campaign_and_from_all_stays_so_until_both_are_taken_back(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        house.arrive(1)
        house.take_in()
        exclude(house, WHY, NOW)
        exclude(house, ExcludeArguments(run=1, campaign="prompt", why="wrong gain"), NOW)
        assert include(house, IncludeArguments(run=1), NOW) == []
        assert house.states("v1") == ["waived"]
        include(house, IncludeArguments(run=1, campaign="prompt"), NOW)
        assert house.states("v1") == ["ready"]


def test_a_staged_chain_comes_back_where_it_was(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, layout="staged") as house:
        house.arrive(1)
        house.take_in()
        before = house.states("v1")
        exclude(house, WHY, NOW)
        assert set(house.states("v1")) == {"waived"}
        include(house, IncludeArguments(run=1), NOW)
        assert house.states("v1") == before == ["ready", "blocked", "blocked", "blocked"]


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        house.arrive(2)
        house.take_in()
        (row,) = exclude(house, WHY.model_copy(update={"dry_run": True}), NOW)
        assert row["waived"] == 2
        assert house.states("v1") == ["ready", "ready"]
        assert house.rows(sa.select(exclusion_table)) == []
        exclude(house, WHY, NOW)
        include(house, IncludeArguments(run=1, dry_run=True), NOW)
        assert house.states("v1") == ["waived", "waived"]


def test_single_files_are_waived_by_name_and_taken_back(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        first, second, third = house.arrive(3)
        house.take_in()
        house.begin("v1", third)
        name = first.partition(":")[2]
        rows = waive(house, WaiveArguments(files=(name, third), why="truncated", by="ann"), NOW)
        assert [(row["input"], row["what"]) for row in rows] == [(first, "waived"), (third, "left as it is: a job works on it")]
        assert house.kept("v1") == {second, third}
        waive(house, WaiveArguments(files=(first,), why="it is not", undo=True), NOW)
        assert house.states("v1") == ["ready", "ready", "running"]
        assert house.kept("v1") == {first, second, third}


def test_a_file_nobody_knows_is_refused(tmp_path: Path) -> None:
    with (
        TwoVersions.open(tmp_path) as house,
        pytest.raises(ConfigError, match=r"b\.hdf5: the journal has no verified raw file of that name"),
    ):
        waive(house, WaiveArguments(files=("b.hdf5",), why="x"), NOW)


def test_the_summary_follows(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        house.arrive(3)
        house.take_in()
        exclude(house, WHY, NOW)
        assert dict(house.rows(sa.select(count_table.c.state, count_table.c.tasks).where(count_table.c.tasks != 0))) == {"waived": 3}
