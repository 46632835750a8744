"""The explicit second pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign.commands.exclude import ExcludeArguments, exclude
from campaign.commands.protocol import Rows
from campaign.commands.redo import RedoArguments, redo
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import redo_table
from campaign.ledger.tasks import Move
from campaign.states import TaskState
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.journal.tables import file_table
from dune_prompt.errors import ConfigError, ConflictError, TransientError
from dune_prompt.records import MadeBy
from tests.campaign.two_versions import NOW, TwoVersions

V2 = "inputs: {from_run: 10}"


def ask(house: TwoVersions, run: int = 1, version: str = "v2", **more: object) -> Rows:
    return redo(house, RedoArguments(run=run, version=version, by="ann", **more), NOW + 100)


def test_a_version_processes_a_run_that_its_inputs_do_not_cover(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        dids = house.arrive(3)
        house.take_in()
        assert house.inputs("v2") == set()
        (row,) = ask(house)
        assert (row["files"], row["new"], row["done"], row["older_results"]) == (3, 3, 0, "kept")
        assert house.inputs("v2") == set(dids)
        assert house.kept("v2") == set(dids)
        late = house.arrive(1, first=3)
        house.take_in()
        assert house.inputs("v2") == {*dids, *late}


def test_asking_twice_makes_nothing_twice(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        house.arrive(3)
        house.take_in()
        ask(house)
        before = house.tasks()
        (row,) = ask(house)
        assert row["new"] == 0
        assert house.tasks() == before


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        house.arrive(3)
        house.take_in()
        before = house.tasks()
        (row,) = ask(house, dry_run=True)
        assert row["new"] == 3
        assert house.tasks() == before
        assert house.rows(sa.select(redo_table)) == []


def test_files_that_have_left_the_buffer_are_done_again_too(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        dids = house.arrive(2)
        house.take_in()
        with house.writing() as connection:
            connection.execute(sa.update(file_table).where(file_table.c.did == dids[0]).values(state="left", path="/elsewhere/a.hdf5"))
        ask(house)
        assert house.inputs("v2") == set(dids)


def test_what_the_catalogue_has_of_the_version_is_not_done_again(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        house.arrive(2)
        house.take_in()
        ask(house)
        house.process("v2", sorted(house.inputs("v2"))[:1])
        forget(house, "v2")
        (row,) = ask(house)
        assert (row["new"], row["done"]) == (1, 1)
        assert sorted(house.states("v2")) == ["done", "ready"]


def test_results_are_final(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        dids = house.arrive(2)
        house.take_in()
        with pytest.raises(ConfigError, match=r"prompt v1 is at work on it \(2 files to go\)"):
            ask(house, version="v1")
        house.process("v1", dids)
        with pytest.raises(ConfigError, match=r"results of \(campaign, version\) are final: raise `version`"):
            ask(house, version="v1")


def test_parked_files_are_for_retry(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        house.arrive(1)
        house.take_in()
        with house.writing() as connection:
            ledger_tasks.apply(connection, [Move(task, TaskState.PARKED) for task in ledger_tasks.select(connection)], NOW)
        with pytest.raises(ConfigError, match="1 of its files parked: `campaign retry --parked --run 1`"):
            ask(house, version="v1")


@pytest.mark.parametrize(
    ("run", "version", "message"),
    [
        (1, "v9", "no campaign file here is of any campaign version v9; there are: prompt v1, prompt v2"),
        (9, "v2", "run 9: the journal has no verified file of stream physics of it"),
        (2, "v2", r"run 2 is excluded by ann \(bad beam\): `campaign include 2` first"),
    ],
)
def test_a_second_pass_that_makes_no_sense_is_refused(tmp_path: Path, run: int, version: str, message: str) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        house.arrive(1)
        house.arrive(1, run=2)
        exclude(house, ExcludeArguments(run=2, why="bad beam", by="ann"), NOW)
        with pytest.raises(ConfigError, match=message):
            ask(house, run, version)


def test_with_the_catalogue_away_nothing_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        house.arrive(1)
        house.take_in()
        monkeypatch.setattr(EmbeddedCatalog, "children_of", away)
        with pytest.raises(TransientError, match="away"):
            ask(house)
        assert house.inputs("v2") == set()
        assert house.rows(sa.select(redo_table)) == []


def test_older_results_are_retired_when_all_of_the_run_is_done_and_never_a_raw_file(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        dids = house.arrive(2)
        house.take_in()
        house.process("v1", dids)
        other = house.arrive(1, run=2)
        house.take_in()
        house.process("v1", other)
        (row,) = ask(house, retire_old=True)
        assert row["older_results"] == "wait for 2 files of run 1 that version v2 has not processed yet"
        house.process("v2", dids[:1])
        assert "wait for 1 files" in ask(house)[0]["older_results"]
        assert children(house, "v1", dids) == 4
        house.process("v2", dids[1:])
        assert ask(house, dry_run=True)[0]["older_results"] == "are due to be retired"
        assert children(house, "v1", dids) == 4
        assert ask(house)[0]["older_results"] == "4 files retired"
        assert (children(house, "v1", dids), children(house, "v2", dids), children(house, "v1", other)) == (0, 4, 2)
        assert not any(entry.retired for entry in house.catalog.look([*dids, *other]).values())
        assert ask(house)[0]["older_results"] == "retired"
        assert house.values(sa.select(redo_table.c.retired_at)) == [NOW + 100]


def test_a_retirement_that_was_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        dids = house.arrive(1)
        house.take_in()
        house.process("v1", dids)
        ask(house, retire_old=True)
        house.process("v2", dids)
        with monkeypatch.context() as patch:
            patch.setattr(EmbeddedCatalog, "retire", away)
            with pytest.raises(TransientError):
                ask(house)
        assert house.values(sa.select(redo_table.c.retired_at)) == [None]
        assert ask(house)[0]["older_results"] == "2 files retired"


def test_a_file_that_somebody_else_made_is_never_retired(tmp_path: Path) -> None:
    from campaign.versions.retirement import retire_files

    with TwoVersions.open(tmp_path, v2=V2) as house:
        dids = house.arrive(1)
        with house.installation.store.read() as connection:
            from campaign.ledger import versions as ledger_versions

            old = ledger_versions.find(connection, "prompt", "v1")
        with pytest.raises(ConflictError, match="made by None None: not retired"):
            retire_files(house.installation.catalogs, old, dids)
        assert not house.catalog.look(dids)[dids[0]].retired


def test_the_older_version_takes_no_new_files_of_a_run_that_is_replaced(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        house.arrive(1)
        house.take_in()
        ask(house, retire_old=True)
        (late,) = house.arrive(1, first=1)
        house.take_in()
        assert late in house.inputs("v2")
        assert late not in house.inputs("v1")


def children(house: TwoVersions, version: str, dids: list[str]) -> int:
    stages = ("nf_sp", "evaluate")
    found = [house.catalog.children_of(dids, MadeBy("prompt", version, stage)) for stage in stages]
    return sum(len(names) for each in found for names in each.values())


def forget(house: TwoVersions, version: str) -> None:
    """The ledger loses the tasks of a version."""
    from campaign.ledger.tables import attempt_table, commit_table, task_table

    mine = task_table.c.campaign_id == house.version(version).id
    ids = sa.select(task_table.c.id).where(mine)
    with house.writing() as connection:
        connection.execute(sa.delete(commit_table).where(commit_table.c.input_id.in_(ids)))
        connection.execute(sa.delete(attempt_table).where(attempt_table.c.task_id.in_(ids)))
        connection.execute(sa.delete(task_table).where(mine))


def away(*_: object, **__: object) -> None:
    raise TransientError("the catalogue is away")
