"""Files leave the buffer only when they may, whole, and the catalogue follows them."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from declare_daemon.journal import file_obligations, meet_obligations, take_in, taken_in, waive_obligations
from declare_daemon.moves import MissingError, move_with_sidecar
from dune_prompt.errors import ConflictError, TransientError

LIFETIME = 3600.0
OBLIGATION = ("pdhd-prompt", "v1", "evaluate")


@pytest.fixture
def world(make_world: Any, new_stream: Any, tmp_path: Path) -> Any:
    released = tmp_path / "released"
    released.mkdir()
    release = {"release": {"move_to": str(released)}, "lifetime": "1h"}
    world = make_world(streams=(new_stream(process=True, **release), new_stream("tp", "np04hd_tp_run*.hdf5", **release)))
    world.released = released
    return world


def engine_takes(world: Any, *dids: str) -> None:
    with world.store.write() as connection:
        taken_in(connection, [file.id for file in take_in(connection, "physics", 100)])
        file_obligations(connection, [(did, *OBLIGATION) for did in dids])


def did(name: str) -> str:
    return f"hd-protodune:{name}"


def process(world: Any, name: str) -> None:
    """The campaign's final child is declared, and the engine has seen it."""
    world.declare_child(name)
    with world.store.write() as connection:
        meet_obligations(connection, [(did(name), *OBLIGATION[:2])], world.now)


def age(world: Any) -> None:
    """Let the lifetime pass; files are as old as their sidecars, which the real clock made."""
    world.now = (world.buffer / ".buffer").stat().st_mtime + 1.5 * LIFETIME
    world.settle_for(20, tick=5)


def test_a_file_leaves_when_it_is_old_and_its_obligations_are_met(world: Any) -> None:
    name = world.put()
    world.settle()
    engine_takes(world, did(name))
    age(world)
    assert world.states() == {name: "declared"}
    process(world, name)
    world.settle_for(20)
    assert world.states() == {name: "left"}
    assert {path.name for path in world.released.iterdir()} == {name, f"{name}.json"}
    assert world.tree() == set()
    assert world.embedded.places([did(name)]) == {did(name): str(world.released / name)}
    assert world.file(name).path == str(world.released / name)


def test_a_young_file_stays(world: Any) -> None:
    name = world.put(kind="tp")
    world.now = (world.buffer / name).stat().st_mtime + 0.5 * LIFETIME
    world.settle_for(30)
    assert world.states() == {name: "declared"}


def test_an_unprocessed_file_stays_however_old(world: Any) -> None:
    waiting, unasked, partly = world.put(0), world.put(1), world.put(2)
    world.settle()
    with world.store.write() as connection:
        files = {file.name: file.id for file in take_in(connection, "physics", 100)}
        taken_in(connection, [files[unasked], files[partly]])
        file_obligations(connection, [(did(partly), *OBLIGATION), (did(partly), "other", "v2", "evaluate")])
        meet_obligations(connection, [(did(partly), *OBLIGATION[:2])], world.now)
    age(world)
    assert world.states() == {waiting: "declared", unasked: "declared", partly: "declared"}


def test_a_waived_obligation_holds_nothing(world: Any) -> None:
    name = world.put()
    world.settle()
    engine_takes(world, did(name))
    with world.store.write() as connection:
        waive_obligations(connection, [(did(name), *OBLIGATION[:2])], "ana", "bad run", world.now)
    age(world)
    assert world.states() == {name: "left"}


def test_a_stream_that_is_not_processed_needs_no_obligation(world: Any) -> None:
    name = world.put(kind="tp")
    world.settle()
    age(world)
    assert world.states() == {name: "left"}


def test_an_undeclared_file_never_leaves(world: Any) -> None:
    name = world.put(kind="tp")
    world.catalog.away = True
    world.settle()
    age(world)
    assert world.states() == {name: "verified"}


def test_a_folder_for_released_files_that_is_not_there_is_not_made(world: Any) -> None:
    name = world.put(kind="tp")
    world.released.rmdir()
    world.settle()
    age(world)
    assert world.states() == {name: "leaving"}
    assert not world.released.exists()
    world.released.mkdir()
    world.settle_for(400, tick=10)
    assert world.states() == {name: "left"}


def test_another_file_of_that_name_where_it_should_go_is_a_conflict(world: Any) -> None:
    name = world.put(kind="tp")
    (world.released / name).write_bytes(b"other")
    world.settle()
    age(world)
    assert world.states() == {name: "conflict"}
    assert (world.buffer / name).exists()
    assert (world.released / name).read_bytes() == b"other"


def test_nothing_leaves_while_the_catalogue_cannot_be_asked(world: Any) -> None:
    name = world.put(kind="tp")
    world.settle()
    world.catalog.away = True
    age(world)
    assert world.states() == {name: "declared"}
    assert "embedded cannot be asked" in world.file(name).reason
    world.catalog.away = False
    world.settle_for(400, tick=10)
    assert world.states() == {name: "left"}


def test_a_catalogue_that_goes_away_after_the_proof_delays_only_the_last_step(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = world.put(kind="tp")
    world.settle()

    def refuse(*_: Any) -> None:
        raise TransientError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(world.embedded, "add", refuse)
        age(world)
        assert world.states() == {name: "leaving"}
        assert (world.released / name).exists()
        world.kill()
    world.settle_for(400, tick=10)
    assert world.states() == {name: "left"}
    assert world.embedded.places([did(name)]) == {did(name): str(world.released / name)}


def test_between_file_systems_the_data_are_copied_verified_and_only_then_removed(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_two_file_systems(monkeypatch, world.buffer)
    name = world.put(kind="tp")
    data = (world.buffer / name).read_bytes()
    world.settle()
    age(world)
    assert world.states() == {name: "left"}
    assert (world.released / name).read_bytes() == data
    assert {path.name for path in world.released.iterdir()} == {name, f"{name}.json"}


def test_data_that_changed_since_they_were_declared_are_not_copied(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_two_file_systems(monkeypatch, world.buffer)
    name = world.put(kind="tp")
    world.settle()
    with (world.buffer / name).open("r+b") as file:
        file.write(b"DAMAGE")
    age(world)
    assert world.states() == {name: "conflict"}
    assert (world.buffer / name).exists()
    assert list(world.released.iterdir()) == []


def pretend_two_file_systems(monkeypatch: pytest.MonkeyPatch, first: Path) -> None:
    rename = Path.rename

    def across(self: Path, target: Path) -> Path:
        if (self.parent == first) != (Path(target).parent == first):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)


def test_a_released_name_that_comes_again_is_looked_at_again(world: Any) -> None:
    name = world.put(kind="tp", data=b"once")
    world.settle()
    age(world)
    world.put(kind="tp", data=b"twice")
    world.settle()
    assert world.states() == {name: "conflict"}


def test_obligations_are_looked_up_by_index(world: Any) -> None:
    """A buffer of 50,000 files is asked for what may leave every ten seconds."""
    from declare_daemon.release.candidates import may_leave

    query = may_leave(world.site.streams[0], 0.0, 0.0).compile(world.store.engine, compile_kwargs={"literal_binds": True})
    with world.store.read() as connection:
        plan = " ".join(row.detail for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {query}")))
    assert "ix_journal_file_age" in plan
    assert "SCAN" not in plan


@pytest.mark.parametrize("done", ["nothing", "data", "all"])
def test_a_move_may_be_repeated_after_any_part_of_it(tmp_path: Path, done: str) -> None:
    source, target = tmp_path / "a" / "x", tmp_path / "b" / "x"
    for folder in (source.parent, target.parent):
        folder.mkdir()
    source.write_bytes(b"data")
    (tmp_path / "a" / "x.json").write_text("{}")
    if done in ("data", "all"):
        source.rename(target)
    if done == "all":
        (tmp_path / "a" / "x.json").rename(tmp_path / "b" / "x.json")
    for _ in range(2):
        move_with_sidecar(str(source), str(target))
    assert {path.name for path in target.parent.iterdir()} == {"x", "x.json"}
    assert list(source.parent.iterdir()) == []


def test_a_copy_that_was_finished_but_whose_source_is_still_there_is_ended(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "x", tmp_path / "b" / "x"):
        path.write_bytes(b"data")
    move_with_sidecar(f"{tmp_path}/x", f"{tmp_path}/b/x")
    assert not (tmp_path / "x").exists()


def test_a_move_overwrites_neither_data_nor_sidecar(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "x").write_bytes(b"data")
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "b" / "x.json").write_text('{"other": 1}')
    with pytest.raises(ConflictError, match="another sidecar"):
        move_with_sidecar(f"{tmp_path}/x", f"{tmp_path}/b/x")
    (tmp_path / "b" / "x.json").unlink()
    (tmp_path / "b" / "x").write_bytes(b"DATA")
    with pytest.raises(ConflictError, match="another file"):
        move_with_sidecar(f"{tmp_path}/x", f"{tmp_path}/b/x")
    assert (tmp_path / "b" / "x").read_bytes() == b"DATA"
    assert (tmp_path / "x").read_bytes() == b"data"


def test_what_is_nowhere_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        move_with_sidecar(f"{tmp_path}/x", f"{tmp_path}/y")
