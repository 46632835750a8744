"""Files that others declared are found in the datasets of a campaign, taken in once, and not at all when they are done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.draining import known
from campaign.draining.answers import Answer
from campaign.draining.datasets import LIST_S, OFTEN_S, SELDOM_S, WHOLE_S, Drainer
from campaign.draining.tables import catalog_input_table, drained_table
from campaign.engine.intake import DATASET_FILES_A_STEP, Intake
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import obligation_table
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.records import FileRecord
from tests.campaign.draining.installation import NAMESPACE, NOW, ScriptedCatalog, Small, child, raw

RUN_1, RUN_2 = f"{NAMESPACE}:run_1", f"{NAMESPACE}:run_2"
INPUTS = f"{{datasets: ['{NAMESPACE}:run_*']}}"
EVALUATED = "hd-protodune-det-reco:evaluated"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Waterworks:
    """An installation with datasets, a drainer that works when the test says so, and the engine's intake."""

    def __init__(self, small: Small, catalog: Any) -> None:
        self.small, self.catalog, self.clock = small, catalog, Clock()
        self.drainer = Drainer(small.installation.store, small.installation.campaigns, self.clock)
        # The drainer is not the background's: the test's hand works it.
        self.intake = Intake(small.installation, small.write, answers=_Nothing(), drainer=_Unneeded(self.drainer))  # type: ignore[arg-type]

    def drain(self) -> int:
        """All that is due, and then steps until all of it is taken in; how many tasks are new."""
        while self.drainer.work(self.catalog) == 0.0:
            pass
        new = 0
        while self.drainer.next() is not None:
            new += self.intake.take_in(self.clock.now)
        return new

    def later(self, seconds: float) -> None:
        self.clock.now += seconds

    def inputs(self) -> list[str]:
        return [task.input_did for task in self.small.tasks()]


class _Nothing:
    """Nobody is asked what is done."""

    def of(self, campaign: Any, dids: Any, patience_s: float) -> Answer:
        return Answer()

    def late(self) -> set[Any]:
        return set()


class _Unneeded:
    """A drainer without a thread."""

    def __init__(self, drainer: Drainer) -> None:
        self.needed, self.next, self.taken = False, drainer.next, drainer.taken


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    small = Small.at(tmp_path, inputs=INPUTS)
    yield small
    small.close()


@pytest.fixture
def embedded(small: Small) -> Iterator[EmbeddedCatalog]:
    catalog = EmbeddedCatalog.at(small.installation.site.workspace / "catalog.sqlite")
    yield catalog
    catalog.close()


@pytest.fixture
def works(small: Small, embedded: EmbeddedCatalog) -> Waterworks:
    return Waterworks(small, embedded)


@pytest.fixture
def catalog() -> ScriptedCatalog:
    return ScriptedCatalog()


@pytest.fixture
def remote(small: Small, catalog: ScriptedCatalog) -> Waterworks:
    return Waterworks(small, catalog)


def raws(*indices: int, run: int = 1) -> list[FileRecord]:
    return [raw(index, run=run) for index in indices]


def test_open_files_of_all_runs_become_tasks_with_what_the_catalogue_tells(works: Waterworks, small: Small) -> None:
    small.declare(raws(0, 1), RUN_1)
    small.declare(raws(0, run=2), RUN_2)
    small.declare(raws(5, run=3), f"{NAMESPACE}:other_3")
    small.declare([child(raw(1))], EVALUATED)
    assert works.drain() == 2
    assert works.inputs() == [raw(0).did, raw(0, run=2).did]
    task = small.tasks()[0]
    assert (task.run, task.file_index, task.size_bytes, task.state.value) == (1, 0, 1000, "ready")
    with small.installation.store.read() as connection:
        kept = known.by_did(connection, works.inputs())
    assert kept[raw(0).did].metadata == raw(0).metadata
    assert task.deadline == (kept[raw(0).did].declared_at or 0) + 3600
    assert small.rows(sa.select(obligation_table)) == []


def test_a_growing_dataset_brings_only_what_joined(works: Waterworks, small: Small) -> None:
    small.declare(raws(0, 1), RUN_1)
    assert works.drain() == 2
    small.declare(raws(2, 3, 4), RUN_1)
    small.declare([child(raw(3))], EVALUATED)
    works.later(OFTEN_S)
    assert works.drain() == 2
    assert works.inputs() == [raw(index).did for index in (0, 1, 2, 4)]


def test_nothing_changed_is_nothing_to_take(remote: Waterworks, catalog: ScriptedCatalog) -> None:
    catalog.files[RUN_1] = raws(0)
    remote.drain()
    catalog.asked.clear()
    remote.later(OFTEN_S)
    assert remote.drain() == 0
    assert catalog.asked == ["left"]


def test_a_dataset_that_is_still_is_asked_less_and_less_often(remote: Waterworks, catalog: ScriptedCatalog) -> None:
    catalog.files[RUN_1] = []
    asked_at = []
    while remote.clock.now < NOW + 86400:
        catalog.asked.clear()
        rest = remote.drainer.work(catalog)
        if "left" in catalog.asked:
            asked_at.append(remote.clock.now)
            if (finding := remote.drainer.next()) is not None:
                remote.drainer.taken(finding)
        remote.later(rest)
    gaps = [later - earlier for earlier, later in pairwise(asked_at)]
    assert gaps[0] == OFTEN_S
    assert all(later >= earlier for earlier, later in pairwise(gaps))
    assert gaps[-1] == SELDOM_S


def test_the_order_of_the_tasks_does_not_depend_on_the_order_of_the_answer(remote: Waterworks, catalog: ScriptedCatalog) -> None:
    records = [raw(index, run=run) for run in (2, 1) for index in (3, 1, 2)]
    catalog.files[RUN_1] = records
    remote.drain()
    assert remote.inputs() == [raw(index, run=run).did for run in (1, 2) for index in (1, 2, 3)]


def test_files_of_our_own_journal_come_in_by_the_journal(works: Waterworks, small: Small) -> None:
    small.journal(1)
    small.journal(1, first=1, state=FileState.GONE)
    small.declare(raws(0, 1, 2), RUN_1)
    works.drain()
    assert works.inputs() == [raw(0).did, raw(1).did, raw(2).did]
    assert [row.did for row in small.rows(sa.select(catalog_input_table.c.did))] == [raw(1).did, raw(2).did]


def test_files_of_another_stream_or_run_are_left_alone(tmp_path: Path) -> None:
    small = Small.at(tmp_path, inputs=f"{{from_run: 2, datasets: ['{NAMESPACE}:run_*']}}")
    small.declare([*raws(0, run=1), *raws(0, run=2), raw(0, run=2, name="tp_run000002_0000.hdf5")], RUN_1)
    works = Waterworks(small, small.embedded)
    assert works.drain() == 1
    assert works.inputs() == [raw(0, run=2).did]
    small.close()


def test_a_large_dataset_is_taken_in_over_several_steps_and_marked_with_the_last(remote: Waterworks, catalog: ScriptedCatalog) -> None:
    catalog.files[RUN_1] = [raw(index) for index in range(DATASET_FILES_A_STEP + 1)]
    while remote.drainer.work(catalog) == 0.0:
        pass
    assert remote.intake.take_in(NOW) == DATASET_FILES_A_STEP
    assert remote.small.rows(sa.select(drained_table)) == []
    assert remote.intake.take_in(NOW) == 1
    assert [row.mark for row in remote.small.rows(sa.select(drained_table))] == [str(DATASET_FILES_A_STEP + 1)]


def test_a_kill_before_all_is_taken_in_loses_nothing_and_doubles_nothing(remote: Waterworks, catalog: ScriptedCatalog) -> None:
    catalog.files[RUN_1] = [raw(index) for index in range(DATASET_FILES_A_STEP + 1)]
    while remote.drainer.work(catalog) == 0.0:
        pass
    remote.intake.take_in(NOW)
    again = Waterworks(remote.small, catalog)
    assert again.drain() == 1
    assert len(set(again.inputs())) == len(again.inputs()) == DATASET_FILES_A_STEP + 1


def test_after_a_restart_only_the_mark_is_compared(tmp_path: Path, catalog: ScriptedCatalog) -> None:
    catalog.files[RUN_1] = raws(0, 1)
    catalog.done = {raw(0).did, raw(1).did}
    small = Small.at(tmp_path, inputs=INPUTS)
    Waterworks(small, catalog).drain()
    small.close()
    small = Small.at(tmp_path, inputs=INPUTS)
    again = Waterworks(small, catalog)
    while again.drainer.work(catalog) == 0.0:
        pass
    assert again.drainer.next() is None
    small.close()


def test_a_campaign_that_covers_other_inputs_now_looks_at_everything_again(tmp_path: Path, catalog: ScriptedCatalog) -> None:
    small = Small.at(tmp_path, inputs=f"{{to_run: 1, datasets: ['{NAMESPACE}:run_*']}}")
    catalog.files[RUN_1] = [*raws(0), *raws(0, run=2)]
    works = Waterworks(small, catalog)
    assert works.drain() == 1
    small.close()
    changed = Small.at(tmp_path, inputs=f"{{to_run: 2, datasets: ['{NAMESPACE}:run_*']}}")
    again = Waterworks(changed, catalog)
    assert again.drain() == 1
    assert again.inputs() == [raw(0).did, raw(0, run=2).did]
    changed.close()


def test_a_file_somebody_else_has_processed_meanwhile_is_done(remote: Waterworks, catalog: ScriptedCatalog) -> None:
    catalog.files[RUN_1] = raws(0, 1, 2)
    remote.drain()
    catalog.done = {raw(1).did}
    remote.later(WHOLE_S)
    remote.drain()
    assert remote.small.states() == ["ready", "done", "ready"]


def test_a_file_that_left_its_dataset_is_not_taken_for_done(remote: Waterworks, catalog: ScriptedCatalog) -> None:
    catalog.files[RUN_1] = raws(0, 1)
    remote.drain()
    catalog.files[RUN_1] = raws(0)
    remote.later(WHOLE_S)
    remote.drain()
    assert remote.small.states() == ["ready", "ready"]


def test_an_outage_says_nothing_and_is_made_up_for(remote: Waterworks, catalog: ScriptedCatalog) -> None:
    catalog.files[RUN_1] = raws(0)
    remote.drain()
    catalog.error = TransientError("away")
    catalog.files[RUN_1] += raws(1)
    remote.later(LIST_S)
    with pytest.raises(TransientError):
        remote.drain()
    assert remote.small.states() == ["ready"]
    catalog.error = None
    remote.later(LIST_S)
    assert remote.drain() == 1


def test_a_dataset_that_cannot_be_asked_for_is_shown_and_does_not_hold_up_the_others(tmp_path: Path, catalog: ScriptedCatalog) -> None:
    small = Small.at(tmp_path, inputs=f"{{datasets: ['{NAMESPACE}:bad_*', '{NAMESPACE}:run_*']}}")
    catalog.files[RUN_1] = raws(0)
    works = Waterworks(small, catalog)
    listed = catalog.datasets

    def datasets(pattern: str) -> list[str]:
        if "bad" in pattern:
            raise ConfigError("no right to list bad")
        return listed(pattern)

    catalog.datasets = datasets  # type: ignore[method-assign]
    assert works.drain() == 1
    assert works.drainer.problems == ["no right to list bad"]
    small.close()


def test_what_is_known_of_an_input_stays_as_it_was_first_told(remote: Waterworks, catalog: ScriptedCatalog) -> None:
    catalog.files[RUN_1] = raws(0)
    remote.drain()
    catalog.files[RUN_1] = [*raws(1), raw(0, size_bytes=2000)]
    remote.later(OFTEN_S)
    remote.drain()
    sizes = remote.small.rows(sa.select(catalog_input_table.c.size_bytes).order_by(catalog_input_table.c.did))
    assert [row.size_bytes for row in sizes] == [1000, 1000]


def test_the_service_drains_by_itself(small: Small) -> None:
    """With a thread, as in operation."""
    small.declare(raws(0, 1), RUN_1)
    intake = Intake(small.installation, small.write)
    try:
        end = time.monotonic() + 20
        while not small.tasks() and time.monotonic() < end:
            intake.take_in(NOW)
            time.sleep(0.01)
        assert small.states() == ["ready", "ready"]
        assert [health.ok for health in intake.health()] == [True, True]
    finally:
        intake.close()
