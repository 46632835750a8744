"""The engine's step: what becomes of an input, whatever happens to its jobs."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, commit_table, count_table
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table, intake_table, obligation_table

NOW = 1_700_000_000.0


def work_off(house: Any, now: float = NOW, rounds: int = 30) -> float:
    """Let every job go well and every output be declared until nothing changes."""
    for _ in range(rounds):
        now += 1
        house.engine.step(now)
        for attempt in house.launcher.waiting():
            house.launcher.finish(attempt)
        house.engine.step(now)
        house.declare_outputs()
        if house.engine.step(now + 0.5).idle and not house.launcher.waiting():
            return now
    raise AssertionError("still busy")


def test_a_verified_file_becomes_one_job_and_is_done_when_its_outputs_are_declared(house: Any) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    assert house.states() == ["running"]
    (attempt,) = house.launcher.waiting()
    assert house.launcher.assignment(attempt).stages == ("nf_sp", "declare", "evaluate", "dqm_upload")
    house.launcher.running.add(attempt)
    house.engine.step(NOW + 1)
    assert house.states() == ["running"]
    house.launcher.finish(attempt)
    house.engine.step(NOW + 2)
    assert house.states() == ["reported"]
    outbox = house.rows(sa.select(file_table.c.attempt, file_table.c.state).where(file_table.c.origin == "outbox"))
    assert outbox == [(attempt, "found"), (attempt, "found")]
    house.declare_outputs(only="gauss")
    house.engine.step(NOW + 3)
    assert house.states() == ["reported"]
    house.declare_outputs()
    house.engine.step(NOW + 4)
    assert house.states() == ["done"]


def test_no_more_jobs_than_slots_and_the_earliest_deadline_goes_first(house: Any) -> None:
    house.arrive(4, run=1, at=NOW + 100)
    house.arrive(4, run=2, at=NOW)
    house.engine.step(NOW)
    jobs = [house.launcher.assignment(attempt).raw.name for attempt in house.launcher.waiting()]
    assert len(jobs) == house.installation.site.slots.max == 4
    assert all("run000002" in name for name in jobs)
    house.engine.step(NOW + 1)
    assert len(house.launcher.waiting()) == 4


def test_what_is_late_goes_after_what_can_still_be_prompt(house: Any) -> None:
    house.arrive(4, run=1, at=NOW - 7200)
    house.arrive(4, run=2, at=NOW)
    house.engine.step(NOW)
    assert all("run000002" in house.launcher.assignment(attempt).raw.name for attempt in house.launcher.waiting())
    assert [task.late for task in house.tasks()] == [True] * 4 + [False] * 4


def test_every_file_is_processed_once_in_either_layout(house: Any) -> None:
    house.arrive(10)
    work_off(house)
    assert house.states() == ["done"] * 10
    assert len(house.launcher.jobs) == 10


def test_staged_steps_follow_each_other_and_pass_their_outputs_on(staged_house: Any) -> None:
    house = staged_house
    house.arrive(2)
    house.engine.step(NOW)
    assert sorted(house.states()) == ["blocked"] * 6 + ["running"] * 2
    work_off(house)
    assert house.states() == ["done"] * 8
    assert len(house.launcher.jobs) == 8
    by_stage: dict[str, Any] = {}
    for attempt in house.launcher.jobs:
        assignment = house.launcher.assignment(attempt)
        by_stage.setdefault(assignment.stages[0], assignment)
    assert [item.stage for item in by_stage["evaluate"].earlier] == ["nf_sp"]
    assert sorted(item.stage for item in by_stage["dqm_upload"].earlier) == ["evaluate", "nf_sp"]
    # Nothing of nf_sp is handed to the registrar before `declare` has sealed it.
    assert len(house.rows(sa.select(file_table).where(file_table.c.origin == "outbox"))) == 4


def test_a_failed_job_is_tried_again_later_and_parked_after_its_last_allowed_attempt(house: Any) -> None:
    house.arrive(1)
    now = NOW
    for failures in (1, 2, 3):
        house.engine.step(now)
        (attempt,) = house.launcher.waiting()
        house.launcher.finish(attempt, fail_at="nf_sp")
        house.engine.step(now)
        (task,) = house.tasks()
        assert task.failures == failures
        assert task.state == ("parked" if failures == 3 else "waiting_retry")
        if failures < 3:
            house.engine.step(task.ready_at - 0.01)
            assert house.states() == ["waiting_retry"]
            now = task.ready_at + 0.01
    assert "boom" in house.tasks()[0].message
    assert house.engine.step(now + 1e6).idle


def test_lost_jobs_do_not_count_as_failures(house: Any) -> None:
    house.arrive(1)
    now = NOW
    for _ in range(10):
        house.engine.step(now)
        (attempt,) = house.launcher.waiting()
        house.launcher.vanish(attempt)
        house.engine.step(now)
        (task,) = house.tasks()
        assert (task.state, task.failures) == ("waiting_retry", 0)
        now = task.ready_at
    assert house.tasks()[0].attempts == 10


def test_bad_input_is_parked_at_once(house: Any) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    house.launcher.finish(house.launcher.waiting()[0], fail_at="nf_sp", error_class="data", message="fragment 7 has no marker")
    house.engine.step(NOW + 1)
    (task,) = house.tasks()
    assert (task.state, task.error_class, task.message) == ("parked", "data", "nf_sp: fragment 7 has no marker")


def test_a_chain_that_broke_after_declare_starts_again_with_evaluate_on_the_sealed_outputs(house: Any) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    (first,) = house.launcher.waiting()
    house.launcher.finish(first, fail_at="dqm_upload", error_class="transient")
    house.engine.step(NOW + 1)
    assert house.states() == ["waiting_retry"]
    house.declare_outputs()
    house.engine.step(house.tasks()[0].ready_at)
    (second,) = house.launcher.waiting()
    assignment = house.launcher.assignment(second)
    assert assignment.stages == ("evaluate", "dqm_upload")
    assert [item.stage for item in assignment.earlier] == ["nf_sp"]
    house.launcher.finish(second)
    house.engine.step(NOW + 100)
    house.declare_outputs()
    house.engine.step(NOW + 101)
    assert house.states() == ["done"]
    by_stage = dict(house.rows(sa.select(commit_table.c.stage, commit_table.c.attempt_id)))
    assert by_stage == {"nf_sp": first, "declare": first, "evaluate": second, "dqm_upload": second}


def test_outputs_that_vanish_before_they_are_declared_are_made_again(house: Any) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    house.launcher.finish(house.launcher.waiting()[0])
    house.engine.step(NOW + 1)
    house.declare_outputs(FileState.QUARANTINED, only="gauss")
    house.declare_outputs()
    house.engine.step(NOW + 2)
    (task,) = house.tasks()
    assert (task.state, task.error_class) == ("waiting_retry", "outputs")
    house.engine.step(task.ready_at)
    (second,) = house.launcher.waiting()
    assert house.launcher.assignment(second).stages == ("nf_sp", "declare")
    house.launcher.finish(second)
    house.engine.step(task.ready_at + 1)
    house.declare_outputs()
    house.engine.step(task.ready_at + 2)
    assert house.states() == ["done"]


def test_a_conflict_of_an_output_parks_the_task(house: Any) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    house.launcher.finish(house.launcher.waiting()[0])
    house.engine.step(NOW + 1)
    house.declare_outputs(FileState.CONFLICT)
    house.engine.step(NOW + 2)
    (task,) = house.tasks()
    assert (task.state, task.error_class) == ("parked", "conflict")


def test_a_silent_batch_system_changes_nothing(house: Any) -> None:
    house.arrive(2)
    house.engine.step(NOW)
    house.launcher.away = True
    house.engine.step(NOW + 1)
    assert house.states() == ["running"] * 2
    house.launcher.away = False
    work_off(house, NOW + 2)
    assert house.states() == ["done"] * 2


def test_a_batch_system_that_takes_no_jobs_costs_no_attempt_that_counts(house: Any) -> None:
    house.arrive(1)
    house.launcher.refuse = True
    now = NOW
    for _ in range(6):
        house.engine.step(now)
        (task,) = house.tasks()
        assert (task.state, task.failures) == ("waiting_retry", 0)
        now = task.ready_at
    house.launcher.refuse = False
    work_off(house, now)
    assert house.states() == ["done"]


def test_a_report_of_another_attempt_or_with_other_stages_is_not_believed(house: Any) -> None:
    house.arrive(3)
    house.engine.step(NOW)
    good, foreign, odd = house.launcher.waiting()
    for attempt in (good, foreign, odd):
        house.launcher.finish(attempt)
    house.launcher.jobs[foreign].report.write_text(house.launcher.jobs[good].report.read_text())
    report = json.loads(house.launcher.jobs[odd].report.read_text())
    house.launcher.jobs[odd].report.write_text(json.dumps(report | {"stages": report["stages"][::-1]}))
    house.engine.step(NOW + 1)
    ends = {row.id: row for row in house.rows(sa.select(attempt_table))}
    assert ends[good].state == "succeeded"
    assert (ends[foreign].state, ends[foreign].error_class) == ("failed", "internal")
    assert f"is of attempt {good}" in ends[foreign].message
    assert (ends[odd].state, ends[odd].error_class) == ("failed", "internal")
    assert "its stages are not those of the attempt" in ends[odd].message


def test_a_killed_engine_is_continued_by_the_next_without_a_second_job(house: Any) -> None:
    house.arrive(3)
    house.engine.step(NOW)
    house = house.restart()
    house.engine.step(NOW + 1)
    assert len(house.launcher.jobs) == 3
    work_off(house, NOW + 1)
    assert house.states() == ["done"] * 3
    assert len(house.launcher.jobs) == 3


def test_only_one_attempt_can_be_in_flight(house: Any) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    rows = house.rows(sa.select(attempt_table.c.task_id).where(attempt_table.c.ended_at.is_(None)))
    assert len(rows) == 1
    row = dict(house.rows(sa.select(attempt_table))[0]._mapping) | {"id": "0" * 26}
    try:
        with house.store.write() as connection:
            connection.execute(sa.insert(attempt_table), [row])
    except sa.exc.IntegrityError:
        return
    raise AssertionError("the database took a second attempt in flight")


def test_required_versions_file_obligations_and_meet_them(house: Any) -> None:
    (did,) = house.arrive(1)
    house.engine.step(NOW)
    assert house.rows(sa.select(obligation_table.c.did, obligation_table.c.child, obligation_table.c.met_at)) == [(did, "evaluate", None)]
    work_off(house)
    assert house.rows(sa.select(obligation_table.c.met_at))[0][0] is not None


def test_the_intake_is_emptied_and_a_file_is_taken_in_once(house: Any) -> None:
    (did,) = house.arrive(1)
    house.engine.step(NOW)
    assert house.rows(sa.select(intake_table)) == []
    with house.store.write() as connection:
        (file_id,) = connection.execute(sa.select(file_table.c.id).where(file_table.c.did == did)).one()
        connection.execute(sa.insert(intake_table).values(file_id=file_id))
    house.engine.step(NOW + 1)
    assert len(house.tasks()) == 1


def test_output_folders_of_finished_inputs_are_cleared_away(house: Any) -> None:
    house.arrive(1)
    house.engine.step(NOW)
    (attempt,) = house.launcher.waiting()
    house.launcher.finish(attempt, fail_at="evaluate")
    assert (house.folder / "outbox" / "attempts" / attempt).is_dir()
    house.engine.step(NOW + 1)
    work_off(house, house.tasks()[0].ready_at)
    assert house.states() == ["done"]
    assert list((house.folder / "outbox" / "attempts").iterdir()) == []


def test_the_summary_equals_a_recount(house: Any) -> None:
    from campaign.ledger.tasks import recount

    house.arrive(5, run=1, at=NOW - 7200)
    house.arrive(5, run=2)
    house.engine.step(NOW)
    house.launcher.finish(house.launcher.waiting()[0], fail_at="nf_sp")
    house.engine.step(NOW + 1)
    columns = (count_table.c.campaign_id, count_table.c.run, count_table.c.step, count_table.c.state, count_table.c.late)
    summary = {tuple(row[:5]): row[5] for row in house.rows(sa.select(*columns, count_table.c.tasks)) if row[5]}
    with house.store.read() as connection:
        assert summary == dict(recount(connection))


def test_in_the_staged_layout_the_payload_makes_vanished_outputs_again(staged_house: Any) -> None:
    house = staged_house
    house.arrive(1)
    for _ in range(2):
        house.engine.step(NOW)
        for attempt in house.launcher.waiting():
            house.launcher.finish(attempt)
    house.engine.step(NOW)
    assert house.states() == ["done", "reported", "blocked", "blocked"]
    house.declare_outputs(FileState.QUARANTINED)
    house.engine.step(NOW + 1)
    assert house.states() == ["running", "blocked", "blocked", "blocked"]
    work_off(house, NOW + 2)
    assert house.states() == ["done"] * 4


def test_what_the_catalogue_says_is_done_is_not_done_again(house: Any) -> None:
    from dune_prompt.records import FileRecord

    (done, todo) = house.arrive(2)
    truth = house.installation.catalogs.truth
    truth.ensure_dataset("a:set")
    made_by = {"core.application.name": "evaluate", "core.application.version": "v1", "dune.campaign": "test-prompt"}
    raw = FileRecord("hd-protodune", done.partition(":")[2], 1000, "00000001", {})
    truth.declare([raw], "a:set")
    truth.declare([FileRecord("a", "child.json", 1, "00000001", made_by, parents=(done,))], "a:set")
    house.engine.step(NOW)
    assert {task.input_did: str(task.state) for task in house.tasks()} == {done: "done", todo: "running"}
    # Its obligation is filed and met, so that it may leave the buffer.
    met = dict(house.rows(sa.select(obligation_table.c.did, obligation_table.c.met_at)))
    assert met == {done: NOW, todo: None}


def test_one_odd_attempt_does_not_keep_the_others_from_being_committed(house: Any, monkeypatch: Any) -> None:
    from campaign.engine import commit

    house.arrive(2)
    house.engine.step(NOW)
    odd, plain = house.launcher.waiting()
    house.launcher.finish(odd)
    house.launcher.finish(plain)
    real = commit.sealed_stages
    odd_stages = iter([ValueError("odd")])

    def sealed(*arguments: Any) -> Any:
        for error in odd_stages:
            raise error
        return real(*arguments)

    monkeypatch.setattr(commit, "sealed_stages", sealed)
    house.engine.step(NOW + 1)
    assert sorted(house.states()) == ["reported", "waiting_retry"]


def test_an_engine_that_was_taken_over_writes_nothing_more(house: Any) -> None:
    from dune_prompt.store import Lease, LeaseLostError

    house.arrive(1)
    house.engine.step(NOW)
    Lease.acquire(house.store, "engine", now=NOW + 1)
    house.launcher.finish(house.launcher.waiting()[0])
    try:
        house.engine.step(NOW + 2)
    except LeaseLostError:
        assert house.states() == ["running"]
        return
    raise AssertionError("it went on")


def test_a_second_process_changes_nothing_while_the_first_holds_the_ledger(house: Any) -> None:
    import pytest

    from campaign.installation import open_installation
    from campaign.ledger.tables import campaign_table
    from dune_prompt.store import LeaseHeldError
    from dune_prompt.store.lease import lease_table

    with house.store.write() as connection:
        connection.execute(sa.update(lease_table).values(holder="elsewhere/1/1", expires_at=NOW + 1000))
    campaign = house.folder / "campaigns" / "test.yaml"
    campaign.write_text(campaign.read_text().replace("version: v1", "version: v2\ninputs: {from_run: 1}"))
    with pytest.raises(LeaseHeldError):
        open_installation(house.folder / "site.yaml", NOW)
    assert house.rows(sa.select(campaign_table.c.version)) == [("v1",)]
