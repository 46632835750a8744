"""New work goes into the ledger whatever the catalogue does, and what is done is not done again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign.draining.answers import Answer, Answers, AtOnce, Health, Key
from campaign.engine.intake import IN_CATALOG, Intake
from campaign.installation import ActiveCampaign
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import count_table
from campaign.ledger.tasks import Move
from campaign.states import TaskState
from declare_daemon.journal.tables import intake_table, obligation_table
from dune_prompt.errors import TransientError
from dune_prompt.store import event_table
from tests.campaign.draining.installation import NOW, ScriptedCatalog, Small, child, raw

EVALUATED = "hd-protodune-det-reco:evaluated"


class ScriptedAnswers:
    """Answers as the test says: `open` ones are not known yet."""

    def __init__(self) -> None:
        self.done: set[str] = set()
        self.open: set[str] = set()
        self.late_ones: set[Key] = set()
        self.patience: list[float] = []

    def of(self, campaign: ActiveCampaign, dids: Sequence[str], patience_s: float = 5.0) -> Answer:
        self.patience.append(patience_s)
        return Answer(frozenset(self.done & set(dids)), frozenset(self.open & set(dids)))

    def late(self) -> set[Key]:
        late, self.late_ones = self.late_ones, set()
        return late

    def health(self) -> Health:
        return Health("metacat")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    small = Small.at(tmp_path)
    yield small
    small.close()


@pytest.fixture
def answers() -> ScriptedAnswers:
    return ScriptedAnswers()


def intake_of(small: Small, answers: Answers | None = None) -> Intake:
    return Intake(small.installation, small.write, answers=answers)


def waiting_in_journal(small: Small) -> int:
    return int(small.rows(sa.select(sa.func.count()).select_from(intake_table))[0][0])


def test_verified_files_become_tasks_and_those_that_are_done_are_done(small: Small) -> None:
    small.declare([raw(0), raw(1)], "hd-protodune:set")
    small.declare([child(raw(1))], EVALUATED)
    small.journal(3)
    assert intake_of(small).take_in(NOW) == 3
    assert small.states() == ["ready", "done", "ready"]
    obligations = small.rows(sa.select(obligation_table.c.did, obligation_table.c.met_at).order_by(obligation_table.c.did))
    assert [met for _, met in obligations] == [None, NOW, None]
    assert waiting_in_journal(small) == 0


def test_nothing_new_writes_nothing(small: Small) -> None:
    small.journal(1)
    intake = intake_of(small)
    intake.take_in(NOW)
    small.writes = 0
    assert intake.take_in(NOW + 1) == 0
    assert small.writes == 0


def test_a_file_waits_for_an_answer_that_may_still_come_and_the_others_go_in(small: Small, answers: ScriptedAnswers) -> None:
    dids = small.journal(3)
    answers.open = {dids[1]}
    intake = intake_of(small, answers)
    assert intake.take_in(NOW) == 2
    assert waiting_in_journal(small) == 1
    answers.open, answers.done = set(), {dids[1]}
    assert intake.take_in(NOW + 1) == 1
    assert sorted(small.states()) == ["done", "ready", "ready"]


def test_a_catalogue_outage_does_not_stop_new_work(small: Small) -> None:
    dids = small.journal(3)
    catalog = ScriptedCatalog(error=TransientError("away"), done={dids[0]})
    intake = intake_of(small, AtOnce(catalog))  # type: ignore[arg-type]
    assert intake.take_in(NOW) == 3
    assert small.states() == ["ready"] * 3
    assert [(health.ok, health.message) for health in intake.health()] == [(False, "away")]
    catalog.error = None
    small.journal(1, first=3)
    intake.take_in(NOW + 1)
    assert intake.health()[0].ok


def test_what_turns_out_to_be_done_later_is_not_done_again(small: Small, answers: ScriptedAnswers) -> None:
    dids = small.journal(2)
    intake = intake_of(small, answers)
    intake.take_in(NOW)
    answers.late_ones = {(small.campaign.id, dids[0])}
    intake.take_in(NOW + 10)
    assert small.states() == ["done", "ready"]
    done = small.tasks()[0]
    assert (done.done_at, done.message) == (NOW + 10, IN_CATALOG)
    assert small.rows(sa.select(event_table.c.before, event_table.c.after).where(event_table.c.room == "campaign")) == [("ready", "done")]
    met = small.rows(sa.select(obligation_table.c.did).where(obligation_table.c.met_at.is_not(None)))
    assert met == [(dids[0],)]


def test_a_task_somebody_has_begun_to_work_on_goes_on(small: Small, answers: ScriptedAnswers) -> None:
    dids = small.journal(1)
    intake = intake_of(small, answers)
    intake.take_in(NOW)
    with small.write() as connection:
        ledger_tasks.apply(connection, [Move(small.tasks()[0], TaskState.SUBMITTING, None, {"attempts": 1})], NOW)
    answers.late_ones = {(small.campaign.id, dids[0])}
    intake.take_in(NOW + 10)
    assert small.states() == ["submitting"]


def test_in_the_staged_layout_all_steps_of_a_done_input_are_done(tmp_path: Path, answers: ScriptedAnswers) -> None:
    small = Small.at(tmp_path, layout="staged")
    dids = small.journal(1)
    intake = intake_of(small, answers)
    intake.take_in(NOW)
    assert small.states() == ["ready", "blocked", "blocked", "blocked"]
    answers.late_ones = {(small.campaign.id, dids[0])}
    intake.take_in(NOW + 10)
    assert small.states() == ["done"] * 4
    counted = small.rows(sa.select(count_table.c.state, sa.func.sum(count_table.c.tasks)).group_by(count_table.c.state))
    assert {state: tasks for state, tasks in counted if tasks} == {"done": 4}
    small.close()


def test_files_that_were_there_before_the_campaign_wait_longer_for_the_catalogue(tmp_path: Path, answers: ScriptedAnswers) -> None:
    small = Small.at(tmp_path)
    dids = small.journal(3)
    with small.write() as connection:
        connection.execute(sa.delete(intake_table))
    answers.open = {dids[0]}
    intake = intake_of(small, answers)
    assert intake.take_in(NOW) == 0
    assert answers.patience == [600.0]
    answers.open, answers.done = set(), {dids[2]}
    assert intake.take_in(NOW + 1) == 3
    assert small.states() == ["ready", "ready", "done"]
    small.close()
    again = Small.at(tmp_path)
    assert not again.campaign.behind
    again.close()


def test_only_what_the_coverage_says_is_taken_in(small: Small) -> None:
    small.journal(2, run=1)
    small.journal(2, run=2, first=2)
    mine = {small.campaign.id: lambda run, did, metadata, arrived: run == 2 and arrived == NOW}
    intake = Intake(small.installation, small.write, coverage=lambda connection: mine)
    assert intake.take_in(NOW) == 2
    assert {task.run for task in small.tasks()} == {2}
