"""Whatever happens to jobs, outputs and the engine, in whatever order: no input is lost, none is processed twice, tries are bounded."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from campaign.ledger.tables import attempt_table, commit_table, count_table
from campaign.ledger.tasks import recount
from campaign.retries import POLICIES
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table

NOW = 1_700_000_000.0
STAGES = ["nf_sp", "declare", "evaluate", "dqm_upload"]
CLASSES = ["payload", "data", "transient", "memory"]
# Shrinking a run of a machine with a database takes minutes; the steps printed are enough.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


def machine_for(layout: str, write_files: Any, open_house: Any) -> type[RuleBasedStateMachine]:
    class AnyOrder(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.folder = Path(tempfile.mkdtemp(prefix="any-order-"))
            write_files(self.folder, layout)
            self.house = open_house(self.folder)
            self.now = NOW
            self.arrived: list[str] = []
            self.handed_over: dict[str, str] = {}

        def teardown(self) -> None:
            self.end_well()
            self.house.store.close()
            shutil.rmtree(self.folder)

        def pick(self, number: int) -> str:
            jobs = self.house.launcher.waiting()
            return str(jobs[number % len(jobs)])

        @rule(count=st.integers(1, 3))
        def files_arrive(self, count: int) -> None:
            self.arrived += self.house.arrive(count, first=len(self.arrived), at=self.now)

        @rule(seconds=st.sampled_from([0.5, 10.0, 500.0, 5000.0, -3600.0, 1e6]))
        def a_step(self, seconds: float) -> None:
            self.now += seconds
            self.house.engine.step(self.now)

        @precondition(lambda self: self.house.launcher.waiting())
        @rule(number=st.integers(0, 100))
        def a_job_begins(self, number: int) -> None:
            self.house.launcher.running.add(self.pick(number))

        @precondition(lambda self: self.house.launcher.waiting())
        @rule(number=st.integers(0, 100))
        def a_job_succeeds(self, number: int) -> None:
            self.house.launcher.finish(self.pick(number))

        @precondition(lambda self: self.house.launcher.waiting())
        @rule(number=st.integers(0, 100), stage=st.sampled_from(STAGES), error_class=st.sampled_from(CLASSES))
        def a_job_fails(self, number: int, stage: str, error_class: str) -> None:
            self.house.launcher.finish(self.pick(number), fail_at=stage, error_class=error_class)

        @precondition(lambda self: self.house.launcher.waiting())
        @rule(number=st.integers(0, 100), how=st.sampled_from([None, "crashed", "time_limit"]))
        def a_job_vanishes(self, number: int, how: str | None) -> None:
            self.house.launcher.vanish(self.pick(number), how)

        @rule()
        def the_engine_is_killed_and_started_again(self) -> None:
            self.house = self.house.restart()

        @rule(away=st.booleans())
        def the_batch_system_goes_or_comes(self, away: bool) -> None:
            self.house.launcher.away = self.house.launcher.refuse = away

        @rule(what=st.sampled_from(["gauss", "metrics"]))
        def outputs_are_declared(self, what: str) -> None:
            self.house.declare_outputs(only=what)

        @rule(what=st.sampled_from(["gauss", "metrics"]))
        def outputs_vanish(self, what: str) -> None:
            self.house.declare_outputs(FileState.QUARANTINED, only=what)

        @invariant()
        def no_input_is_lost(self) -> None:
            with self.house.store.read() as connection:
                waiting = connection.execute(sa.text("select count(*) from journal_intake")).scalar_one()
            inputs = {task.input_did for task in self.house.tasks()}
            assert len(inputs) + waiting == len(self.arrived)

        @invariant()
        def tries_are_bounded(self) -> None:
            for task in self.house.tasks():
                assert task.failures <= task.allowed_failures
                if task.state == "parked":
                    assert task.failures == task.allowed_failures or not POLICIES[task.error_class].again

        @invariant()
        def counts_agree(self) -> None:
            key = (count_table.c.campaign_id, count_table.c.run, count_table.c.step, count_table.c.state, count_table.c.late)
            summary = {tuple(row[:5]): row[5] for row in self.house.rows(sa.select(*key, count_table.c.tasks)) if row[5]}
            with self.house.store.read() as connection:
                assert summary == dict(recount(connection))

        @invariant()
        def a_task_at_work_has_one_attempt_in_flight_and_others_have_none(self) -> None:
            open_attempts = [
                row[0] for row in self.house.rows(sa.select(attempt_table.c.task_id).where(attempt_table.c.ended_at.is_(None)))
            ]
            at_work = [task.id for task in self.house.tasks() if task.state in ("submitting", "submitted", "running")]
            assert sorted(open_attempts) == at_work

        def end_well(self) -> None:
            """From now on all goes well: everything ends as done, or parked for a reason."""
            self.house.launcher.away = self.house.launcher.refuse = False
            for _ in range(200):
                self.now += 4000
                self.house.engine.step(self.now)
                for attempt in self.house.launcher.waiting():
                    self.house.launcher.finish(attempt)
                self.house.engine.step(self.now)
                self.house.declare_outputs()
                self.house.engine.step(self.now)
                if (
                    not {str(task.state) for task in self.house.tasks()} - {"done", "parked", "blocked"}
                    and not self.house.launcher.waiting()
                ):
                    break
            tasks = self.house.tasks()
            assert {task.input_did for task in tasks} == set(self.arrived)
            parked = {task.input_did for task in tasks if task.state == "parked"}
            assert {str(task.state) for task in tasks if task.input_did not in parked} <= {"done"}
            commits = self.house.rows(sa.select(commit_table.c.input_id, commit_table.c.stage))
            input_id = {task.input_did: task.input_id for task in tasks}
            for did in set(self.arrived) - parked:
                assert sorted(stage for item, stage in commits if item == input_id[did]) == sorted(STAGES)
            outputs = self.house.rows(sa.select(file_table.c.name).where(file_table.c.origin == "outbox", file_table.c.state == "declared"))
            assert len(outputs) == len(set(outputs))

    return AnyOrder


@pytest.mark.parametrize("layout", ["fused", "staged"])
def test_any_order_of_events_keeps_the_books(layout: str, house_tools: Any) -> None:
    machine = machine_for(layout, house_tools.write_files, house_tools.open_house)
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES),
    )
