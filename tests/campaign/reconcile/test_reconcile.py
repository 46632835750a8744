"""The ledger is brought back into agreement with catalogue, journal and itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.commands.exclude import ExcludeArguments, exclude
from campaign.commands.reconcile import ReconcileArguments
from campaign.commands.reconcile import reconcile as command
from campaign.commands.redo import RedoArguments, redo
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import attempt_table, commit_table, count_table, task_table
from campaign.ledger.tasks import Move
from campaign.places import output_dir
from campaign.states import TaskState
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.journal.tables import file_table, intake_table, obligation_table
from dune_prompt.errors import TransientError
from dune_prompt.records import MadeBy
from tests.campaign.two_versions import NOW, TwoVersions

Found = list[tuple[str, int, bool]]
MISSING = "done in the ledger, but the catalogue has no child of it"


def reconcile(house: TwoVersions, **more: Any) -> Found:
    rows = command(house, ReconcileArguments(**more), NOW + 1000)
    return [(row["what"], row["number"], row["done"]) for row in rows]


def test_a_ledger_in_order_is_left_as_it_is(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(4)
        house.take_in()
        house.process("v1", dids[:1])
        house.begin("v1", dids[1])
        house.end(house.begin("v1", dids[2]))
        before = house.tasks()
        assert reconcile(house) == []
        assert house.tasks() == before


def test_a_lost_ledger_gets_its_tasks_back_with_the_right_ones_done(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(5)
        house.take_in()
        house.process("v1", dids[:2])
        with house.writing() as connection:
            for table in (commit_table, attempt_table, task_table, count_table, obligation_table):
                connection.execute(sa.delete(table))
        assert reconcile(house, dry_run=True) == [("file without tasks", 2, False), ("file without tasks", 3, False)]
        assert house.tasks() == []
        assert reconcile(house) == [("file without tasks", 2, True), ("file without tasks", 3, True)]
        assert house.states("v1") == ["done", "done", "ready", "ready", "ready"]
        assert house.kept("v1") == set(dids[2:])
        assert reconcile(house) == []


def test_files_that_the_engine_is_about_to_take_in_are_left_to_it(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        house.arrive(2)
        with house.writing() as connection:
            connection.execute(sa.insert(intake_table), [{"file_id": i} for i in house_ids(connection)])
        assert reconcile(house) == []


def test_open_tasks_whose_child_is_declared_are_done_and_keep_no_file(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(4)
        house.take_in()
        house.process("v1", dids)
        for did, state in zip(dids, ("ready", "parked", "waiting_retry", "reported"), strict=True):
            damage(house, did, state)
        with house.writing() as connection:
            connection.execute(sa.update(obligation_table).values(met_at=None))
        recount(house)
        assert reconcile(house, dry_run=True)[0] == ("open in the ledger, but its final child is declared", 4, False)
        assert reconcile(house) == [
            ("open in the ledger, but its final child is declared", 4, True),
            ("file kept though its final child is declared", 4, True),
        ]
        assert house.states("v1") == ["done"] * 4
        assert house.kept("v1") == set()


def test_done_without_a_child_is_told_and_processed_again_only_when_asked(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        good, bad = house.arrive(2)
        house.take_in()
        house.process("v1", [good])
        damage(house, bad, "done")
        recount(house)
        with house.writing() as connection:
            connection.execute(sa.update(obligation_table).values(met_at=NOW))
        assert reconcile(house) == [(MISSING, 1, False)]
        assert house.states("v1") == ["done", "done"]
        assert reconcile(house, repair=True, dry_run=True) == [(MISSING, 1, False)]
        assert reconcile(house, repair=True) == [(MISSING, 1, True)]
        assert house.states("v1") == ["done", "ready"]
        assert house.kept("v1") == {bad}
        assert reconcile(house, repair=True) == []


def test_what_was_retired_in_the_catalogue_is_told_but_its_name_is_taken(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(1)
        house.take_in()
        house.process("v1", dids)
        house.catalog.retire(list(house.catalog.children_of(dids, MadeBy("prompt", "v1", "evaluate"))[dids[0]]))
        rows = command(house, ReconcileArguments(repair=True), NOW)
        assert [(row["number"], row["done"]) for row in rows] == [(1, False)]
        assert "its name is taken by the retired file" in rows[0]["action"]
        assert house.states("v1") == ["done"]


def test_what_the_journal_still_has_is_for_the_daemon(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(1)
        house.take_in()
        task = house.end(house.begin("v1", dids[0]))
        house.declare(task)
        forget_children(house, dids)
        rows = command(house, ReconcileArguments(repair=True), NOW)
        assert [(row["what"], row["done"]) for row in rows] == [(MISSING, False)]
        assert "`declare audit --repair`" in rows[0]["action"]


def test_a_wrong_summary_is_counted_again(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        house.arrive(3)
        house.take_in()
        with house.writing() as connection:
            connection.execute(sa.update(count_table).values(tasks=7))
        assert reconcile(house, dry_run=True) == [("wrong count of tasks", 1, False)]
        assert reconcile(house) == [("wrong count of tasks", 1, True)]
        assert house.values(sa.select(count_table.c.tasks)) == [3]


def test_a_task_at_work_without_an_attempt_is_tried_again(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(1)
        house.take_in()
        house.begin("v1", dids[0])
        with house.writing() as connection:
            connection.execute(sa.delete(attempt_table))
        assert reconcile(house) == [("task at work without an attempt", 1, True)]
        (task,) = house.tasks()
        assert (task.state, task.failures) == (TaskState.WAITING_RETRY, 0)


def test_what_nobody_sees_any_more_is_seen_again(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        house.arrive(1)
        house.take_in()
        with house.writing() as connection:
            connection.execute(sa.update(task_table).values(done_at=NOW))
        assert reconcile(house) == [("task whose state and time of being done disagree", 1, True)]
        assert house.values(sa.select(task_table.c.done_at)) == [None]


def test_a_reported_task_whose_commits_are_lost_is_tried_again(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(1)
        house.take_in()
        house.end(house.begin("v1", dids[0]))
        with house.writing() as connection:
            connection.execute(sa.delete(commit_table))
        assert reconcile(house) == [("reported task without committed outputs", 1, True)]
        assert house.states("v1") == ["waiting_retry"]


def test_files_whose_obligations_are_lost_are_kept_again(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        done, waiting = house.arrive(2)
        house.take_in()
        house.process("v1", [done])
        with house.writing() as connection:
            connection.execute(sa.delete(obligation_table))
        assert ("file that nothing keeps for the version", 2, True) in reconcile(house)
        assert house.kept("v1") == {waiting}
        assert reconcile(house) == []


def test_a_first_step_waits_for_nothing(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(1)
        house.take_in()
        damage(house, dids[0], "blocked")
        recount(house)
        assert reconcile(house) == [("task blocked though it is the first", 1, True)]
        assert house.states("v1") == ["ready"]


def test_an_attempt_whose_task_is_not_at_work_is_lost(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(1)
        house.take_in()
        house.begin("v1", dids[0])
        damage(house, dids[0], "ready")
        recount(house)
        assert reconcile(house) == [("attempt in flight whose task is not at work", 1, True)]
        house.begin("v1", dids[0])
        assert house.values(sa.select(attempt_table.c.state).order_by(attempt_table.c.number)) == ["lost", "running"]


def test_committed_outputs_that_are_gone_are_made_again(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        kept, gone = house.arrive(2)
        house.take_in()
        attempts = [house.begin("v1", did) for did in (kept, gone)]
        for attempt in attempts:
            house.end(attempt)
        shutil.rmtree(output_dir(house.installation.place_of(house.version("v1").settings), attempts[1].id))
        assert reconcile(house, dry_run=True) == [("committed outputs are gone", 1, False)]
        assert reconcile(house) == [("committed outputs are gone", 1, True)]
        assert house.states("v1") == ["reported", "waiting_retry"]
        assert len(set(house.values(sa.select(commit_table.c.input_id)))) == 1
        assert reconcile(house) == []


def test_an_absent_mount_is_not_taken_for_absent_outputs(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(1)
        house.take_in()
        house.end(house.begin("v1", dids[0]))
        place = house.installation.place_of(house.version("v1").settings)
        place.rename(place.with_name("away"))
        assert reconcile(house) == [("place of outputs is not there", 1, False)]
        assert house.states("v1") == ["reported"]


def test_with_the_catalogue_away_nothing_that_depends_on_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(2)
        house.take_in()
        house.process("v1", dids[:1])
        damage(house, dids[0], "ready")
        damage(house, dids[1], "done")
        monkeypatch.setattr(EmbeddedCatalog, "undone", away)
        assert reconcile(house, repair=True)[0] == ("catalogue away", 1, False)
        assert house.states("v1") == ["ready", "done"]


def test_one_run_is_reconciled_alone(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        for run in (1, 2):
            house.arrive(2, run=run)
        assert reconcile(house, run=2) == [("file without tasks", 2, True)]
        assert {task.run for task in house.tasks()} == {2}


def test_what_waits_in_an_excluded_run_is_waived(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(1)
        house.take_in()
        job = house.begin("v1", dids[0])
        exclude(house, ExcludeArguments(run=1, why="bad"), NOW)
        house.end(job, error_class="payload")
        assert reconcile(house) == [("waits though its run is excluded", 1, True)]
        assert house.states("v1") == ["waived"]


def test_files_that_came_to_an_excluded_run_may_leave(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        exclude(house, ExcludeArguments(run=1, why="bad"), NOW)
        house.arrive(2)
        house.take_in()
        assert reconcile(house) == [("kept for nothing, as its run is excluded", 2, True)]
        assert house.kept("v1") == set()
        assert len(house.values(sa.select(obligation_table.c.waived_by))) == 2
        assert reconcile(house) == []


def test_a_second_pass_that_is_done_has_the_older_results_retired_and_they_are_not_missed(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2="inputs: {from_run: 10}") as house:
        dids = house.arrive(2)
        house.take_in()
        house.process("v1", dids)
        redo(house, RedoArguments(run=1, version="v2", retire_old=True), NOW)
        what = "second pass whose older results are to be retired"
        assert reconcile(house) == [(what, 1, False)]
        house.process("v2", dids)
        assert reconcile(house, repair=True) == [(what, 1, True)]
        assert house.catalog.children_of(dids, MadeBy("prompt", "v1", "evaluate")) == {}
        assert reconcile(house, repair=True) == []
        assert house.states("v1") == ["done", "done"]


def test_the_lost_steps_of_a_staged_chain_come_back_as_far_as_it_was(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, layout="staged") as house:
        (did,) = house.arrive(1)
        house.take_in()
        with house.writing() as connection:
            tasks = {task.step: task for task in ledger_tasks.select(connection)}
            for state in (TaskState.SUBMITTING, TaskState.DONE):
                now = {task.step: task for task in ledger_tasks.select(connection)}["nf_sp"]
                ledger_tasks.apply(connection, [Move(now, state, None, {"done_at": NOW} if state is TaskState.DONE else {})], NOW)
            ledger_tasks.apply(connection, [Move(tasks["declare"], TaskState.READY)], NOW)
            lost = task_table.c.step.in_(["nf_sp", "dqm_upload"])
            connection.execute(sa.delete(task_table).where(lost))
        recount(house)
        assert reconcile(house) == [("file without tasks", 1, True)]
        states = {task.step: task.state.value for task in house.tasks("v1", did)}
        assert states == {"nf_sp": "done", "declare": "ready", "evaluate": "blocked", "dqm_upload": "blocked"}
        assert {task.input_id for task in house.tasks()} == {tasks["nf_sp"].input_id}


def test_a_staged_chain_without_its_child_begins_again_from_the_first_step(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, layout="staged") as house:
        (did,) = house.arrive(1)
        house.take_in()
        damage(house, did, "done")
        recount(house)
        assert reconcile(house, repair=True) == [(MISSING, 1, True)]
        assert house.states("v1") == ["ready", "blocked", "blocked", "blocked"]


def test_what_was_blocked_by_a_task_that_is_done_by_now_goes_on(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, layout="staged") as house:
        house.arrive(1)
        house.take_in()
        with house.writing() as connection:
            payload = task_table.c.step == "nf_sp"
            connection.execute(sa.update(task_table).where(payload).values(state="done", done_at=NOW))
        recount(house)
        assert reconcile(house) == [("task blocked though the step before is done", 1, True)]
        assert house.states("v1") == ["done", "ready", "blocked", "blocked"]


def house_ids(connection: sa.Connection) -> list[int]:
    return list(connection.execute(sa.select(file_table.c.id)).scalars())


def damage(house: TwoVersions, did: str, state: str) -> None:
    """The task's state is another one, without its count, attempts or events."""
    with house.writing() as connection:
        values = {"state": state, "done_at": NOW if state == "done" else None}
        connection.execute(sa.update(task_table).where(task_table.c.input_did == did).values(**values))


def recount(house: TwoVersions) -> None:
    """The summary is right for the tasks as they are."""
    with house.writing() as connection:
        connection.execute(sa.delete(count_table))
        for (campaign_id, run, step, state, late), tasks in ledger_tasks.recount(connection).items():
            row = {"campaign_id": campaign_id, "run": run, "step": step, "state": state.value, "late": late, "tasks": tasks}
            connection.execute(sa.insert(count_table).values(**row))


def forget_children(house: TwoVersions, dids: list[str]) -> None:
    """The catalogue is another one that has only the raw files."""
    from declare_daemon.catalogs import embedded

    catalog: EmbeddedCatalog = house.catalog
    with catalog._database.write() as connection:
        children = sa.select(embedded._parent.c.child_id)
        names = list(connection.execute(children).scalars())
        connection.execute(sa.delete(embedded._parent))
        connection.execute(sa.delete(embedded._member).where(embedded._member.c.file_id.in_(names)))
        connection.execute(sa.delete(embedded._file).where(embedded._file.c.id.in_(names)))


def away(*_: object, **__: object) -> None:
    raise TransientError("the catalogue is away")
