"""Registration in the catalogues: outages, refusals, several catalogues, resumption."""

from __future__ import annotations

import time
from typing import Any

import pytest
import sqlalchemy as sa

from declare_daemon import verify
from declare_daemon.catalogs import Catalogs, OpenCatalog
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import step_table
from declare_daemon.outage import ALARM_AFTER_S
from dune_prompt.errors import ConfigError, ConflictError, DataError
from dune_prompt.store import event_table
from tests.declare_daemon.storehouse import Storehouse


@pytest.fixture
def two_catalogs(world: Any) -> Any:
    """A second catalogue that keeps metadata only."""
    other = EmbeddedCatalog.at(world.root / "second.sqlite")
    faulty = type(world.catalog)(other, world.faults, "second")
    world.catalogs = Catalogs((OpenCatalog("embedded", world.catalog, world.catalog), OpenCatalog("second", faulty, None)))
    world.second = faulty
    yield world
    other.close()


def confirmed(world: Any) -> set[tuple[str, str]]:
    with world.store.read() as connection:
        return {tuple(row) for row in connection.execute(sa.select(step_table.c.catalog, step_table.c.step))}


def test_an_outage_of_the_catalogue_quarantines_nothing_and_ends_by_itself(world: Any) -> None:
    world.catalog.away = True
    names = [world.put(index) for index in range(3)]
    world.settle_for(3 * ALARM_AFTER_S, tick=5)
    assert set(world.states().values()) == {"verified"}
    assert world.tree() == {f"buffer/{name}{suffix}" for name in names for suffix in ("", ".json")}
    world.catalog.away = False
    world.settle_for(400, tick=10)
    assert set(world.states().values()) == {"declared"}


def test_a_catalogue_that_is_away_is_asked_less_and_less(world: Any) -> None:
    world.catalog.away = True
    world.put()
    world.settle_for(600, tick=2)
    assert len(world.catalog.calls) < 25


def test_a_long_outage_is_one_alarm(world: Any) -> None:
    world.catalog.away = True
    world.put()
    world.settle_for(5 * ALARM_AFTER_S, tick=5)
    world.kill()
    world.catalog.away = False
    world.settle_for(5)
    c = event_table.c
    with world.store.read() as connection:
        rows = connection.execute(sa.select(c.before, c.after).where(c.subject == "catalog:embedded").order_by(c.id)).all()
    assert [tuple(row) for row in rows] == [("back", "away"), ("away", "back")]


@pytest.mark.parametrize("error", [ConfigError("token expired"), ConflictError("the dataset is somebody else's")])
def test_what_a_person_must_set_right_stops_no_file(world: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(world.embedded, "ensure_dataset", refuse)
        name = world.put()
        world.settle_for(10)
        assert world.states() == {name: "verified"}
    world.settle_for(100)
    assert world.states() == {name: "declared"}


def test_one_catalogue_away_holds_up_only_its_own_part(two_catalogs: Any) -> None:
    world = two_catalogs
    world.catalog.away = True
    name = world.put()
    world.settle_for(5)
    assert world.states() == {name: "verified"}
    assert confirmed(world) == {("second", "metadata")}
    world.catalog.away = False
    world.settle_for(100)
    assert world.states() == {name: "declared"}
    assert confirmed(world) == {("second", "metadata"), ("embedded", "metadata"), ("embedded", "replica")}


def test_a_kill_between_two_catalogues_is_resumed_where_it_was(two_catalogs: Any) -> None:
    world = two_catalogs
    world.second.away = True
    name = world.put()
    world.settle()
    world.kill()
    world.catalog.calls.clear()
    world.second.away = False
    world.settle()
    assert world.states() == {name: "declared"}
    assert world.catalog.calls == []


def test_a_bad_file_in_a_batch_is_found_by_halving(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [world.put(index) for index in range(40)]
    bad = {names[7], names[31]}
    declare = world.embedded.declare

    def picky(records: Any, dataset: str) -> None:
        if any(record.name in bad for record in records):
            raise DataError("metadata refused")
        declare(records, dataset)

    monkeypatch.setattr(world.embedded, "declare", picky)
    world.settle_for(60)
    assert {name for name, state in world.states().items() if state == "quarantined"} == bad
    assert {name for name, state in world.states().items() if state == "declared"} == set(names) - bad
    assert world.file(names[7]).reason == "embedded: metadata refused"


def test_a_conflict_seen_only_when_writing_stops_that_file_alone(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [world.put(index) for index in range(5)]
    declare = world.embedded.declare

    def racing(records: Any, dataset: str) -> None:
        if any(record.name == names[2] for record in records):
            raise ConflictError("somebody was faster")
        declare(records, dataset)

    monkeypatch.setattr(world.embedded, "declare", racing)
    world.settle()
    assert world.states() == {name: "conflict" if name == names[2] else "declared" for name in names}
    assert (world.buffer / names[2]).exists()


def test_an_answer_is_not_believed_before_the_file_is_seen(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(world.embedded, "declare", lambda *_: None)
        name = world.put()
        world.settle_for(30)
        assert world.states() == {name: "verified"}
    world.settle_for(60)
    assert world.states() == {name: "declared"}


def test_what_the_catalogue_has_already_is_not_declared_twice(world: Any) -> None:
    name = world.put()
    world.settle()
    world.kill()
    with world.store.write() as connection:
        for table in ("journal_intake", "journal_step", "journal_file"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    world.settle()
    assert world.states() == {name: "declared"}


def test_many_files_are_declared_in_few_calls(world: Any) -> None:
    for index in range(120):
        world.put(index)
    world.settle()
    assert set(world.states().values()) == {"declared"}
    assert world.catalog.calls.count("declare") <= 3
    assert world.catalog.calls.count("ensure_dataset") <= 2


def test_a_dataset_that_vanished_is_made_again(world: Any) -> None:
    world.put(0)
    world.settle()
    with world.embedded._database.write() as connection:
        for table in ("member", "dataset"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    name = world.put(1)
    world.settle_for(10)
    assert world.states()[name] == "declared"


def test_a_fault_of_ours_while_reading_a_file_stops_only_that_file(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect = verify.inspect_raw
    odd, good = world.put(0), world.put(1)

    def faulty(site: Any, path: str, stop: Any) -> Any:
        if path.endswith(odd):
            raise ZeroDivisionError("oops")
        return inspect(site, path, stop)

    with monkeypatch.context() as patch:
        patch.setattr(verify, "inspect_raw", faulty)
        world.settle_for(10)
        assert world.states() == {odd: "found", good: "declared"}
        assert "fault in the code" in world.file(odd).reason
    world.settle_for(60)
    assert world.file(odd).state is FileState.DECLARED


def test_a_copy_that_becomes_known_meanwhile_undoes_no_answer(make_world: Any, new_stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(streams=(new_stream(),))
    storehouse = Storehouse(world.root / "rse", world.faults)
    world.catalogs = Catalogs((OpenCatalog("embedded", world.catalog, None), OpenCatalog("rucio", None, storehouse, places=True)))
    look = world.embedded.look

    def slow(*arguments: Any, **keywords: Any) -> Any:
        for _ in range(200):
            if any(file.place for file in world.files().values()):
                break
            time.sleep(0.01)
        return look(*arguments, **keywords)

    monkeypatch.setattr(world.embedded, "look", slow)
    name = world.put()
    world.settle()
    assert world.states() == {name: "declared"}
    assert world.catalog.calls.count("declare") == 1
