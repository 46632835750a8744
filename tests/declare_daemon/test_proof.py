"""Nothing leaves the buffer unproven, whatever fails when; what is proven is kept and can be read."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from declare_daemon.catalogs import Catalogs, OpenCatalog
from declare_daemon.journal import file_obligations, meet_obligations, take_in, taken_in, waive_obligations
from declare_daemon.journal.tables import proof_table
from declare_daemon.registration import pauses
from declare_daemon.release.checklist import Check, Seen, holds, keep, proofs_of
from declare_daemon.release.release import HELD_S
from dune_prompt.errors import DataError
from dune_prompt.store import event_table
from tests.declare_daemon.storehouse import Storehouse

LIFETIME = 3600.0
CAMPAIGN = ("pdhd-prompt", "v1")


def did(name: str) -> str:
    return f"hd-protodune:{name}"


def with_storehouse(world: Any) -> Any:
    """A world whose files get a copy in a storehouse, and are deleted when they may."""
    world.storehouse = Storehouse(world.root / "rse", world.faults)
    world.catalogs = Catalogs(
        (OpenCatalog("embedded", world.catalog, None), OpenCatalog("rucio", None, world.storehouse, places=True)),
    )
    return world


def site_settings(new_stream: Any, **buffer: Any) -> dict[str, Any]:
    release = {"release": {"delete": True, "min_age": "10min"}, "lifetime": "1h"}
    return {
        "streams": (new_stream(process=True, **release), new_stream("tp", "np04hd_tp_run*.hdf5", **release)),
        "catalogs": ({"kind": "embedded"}, {"kind": "rucio", "rse": "EOS", "rules": ("TAPE",), "place": True}),
        "buffer_settings": buffer,
    }


@pytest.fixture
def world(make_world: Any, new_stream: Any) -> Any:
    return with_storehouse(make_world(**site_settings(new_stream)))


def age(world: Any, seconds: float = 1.5 * LIFETIME) -> None:
    """Let time pass; files are as old as their sidecars, which the real clock made."""
    world.now = max(world.now, (world.buffer / ".buffer").stat().st_mtime + seconds)
    world.settle_for(20, tick=5)


def ask_for(world: Any, *names: str) -> None:
    """The engine has taken the files in and keeps them for its campaign."""
    with world.store.write() as connection:
        taken_in(connection, [file.id for file in take_in(connection, "physics", 100)])
        file_obligations(connection, [(did(name), *CAMPAIGN, "evaluate") for name in names])


def process(world: Any, name: str) -> None:
    world.declare_child(name)
    with world.store.write() as connection:
        meet_obligations(connection, [(did(name), *CAMPAIGN)], world.now)


def proofs(world: Any, name: str) -> list[Any]:
    with world.store.read() as connection:
        return proofs_of(connection, [world.file(name).id])


def test_a_file_is_copied_registered_and_deleted_with_a_proof_that_stays(world: Any) -> None:
    name = world.put()
    world.settle()
    assert world.states() == {name: "declared"}
    copy = world.root / "rse" / name
    assert copy.read_bytes() == (world.buffer / name).read_bytes()
    assert world.storehouse.replicas[did(name)].path == str(copy)
    ask_for(world, name)
    process(world, name)
    age(world)
    assert world.states() == {name: "left"}
    assert world.tree() == {f"rse/{name}"}
    assert world.file(name).path == str(copy)
    (proof,) = proofs(world, name)
    assert (proof.action, proof.ended_at is not None, holds(proof.checks)) == ("delete", True, True)
    said = {check.check: check.evidence for check in proof.checks}
    assert said.keys() == {"declared", "age", "processed", "embedded", "rucio copies", "file", "copy"}
    assert said["rucio copies"] == "at EOS; rule TAPE: OK"
    assert world.file(name).adler32 in said["copy"]


@pytest.mark.parametrize("state", ["REPLICATING", "STUCK", "missing"])
def test_a_rule_that_is_not_satisfied_keeps_the_file(world: Any, state: str) -> None:
    name = world.put(kind="tp")
    world.storehouse.rules[did(name)] = state
    world.settle()
    age(world)
    assert world.states() == {name: "declared"}
    assert f"rule TAPE: {state}" in world.file(name).reason
    world.storehouse.rules.clear()
    world.settle_for(2 * HELD_S, tick=10)
    assert world.states() == {name: "left"}


def test_a_copy_that_rotted_keeps_the_file(world: Any) -> None:
    name = world.put(kind="tp")
    world.settle()
    (world.root / "rse" / name).write_bytes(b"rotten")
    age(world)
    assert world.states() == {name: "declared"}
    assert "copy: " in world.file(name).reason
    assert proofs(world, name) == []


def test_a_file_that_changed_in_the_buffer_is_not_deleted(world: Any) -> None:
    name = world.put(kind="tp")
    world.settle()
    with (world.buffer / name).open("ab") as file:
        file.write(b"more")
    age(world)
    assert world.states() == {name: "declared"}
    assert "it was declared with" in world.file(name).reason


def test_what_the_journal_believes_is_asked_of_the_catalogue(world: Any) -> None:
    """An obligation the journal calls met, whose child was retired since, holds the file again."""
    name = world.put()
    world.settle()
    ask_for(world, name)
    child = world.declare_child(name)
    with world.store.write() as connection:
        meet_obligations(connection, [(did(name), *CAMPAIGN)], world.now)
    world.embedded.retire([child])
    age(world)
    assert world.states() == {name: "declared"}
    assert "embedded has no such child of it" in world.file(name).reason


def test_a_proof_is_stored_only_if_it_holds(world: Any) -> None:
    name = world.put()
    world.settle()
    with pytest.raises(DataError, match="age: too young"), world.store.write() as connection:
        keep(connection, world.file(name), "delete", None, [Check("age", False, "too young")], Seen(1, 1.0), world.now)


def test_the_database_itself_refuses_a_file_that_leaves_without_proof(world: Any) -> None:
    name = world.put()
    world.settle()
    with pytest.raises(sa.exc.IntegrityError, match="nothing_leaves_unproven"), world.store.write() as connection:
        connection.execute(sa.text("UPDATE journal_file SET state = 'leaving' WHERE name = :name"), {"name": name})


def test_the_sidecar_of_a_file_deleted_before_a_kill_goes_too(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = world.put(kind="tp")
    world.settle()

    def half(place: str) -> None:
        Path(place).unlink()
        raise OSError(5, "Input/output error", place)

    with monkeypatch.context() as patch:
        patch.setattr("declare_daemon.release.release.remove_with_sidecar", half)
        age(world)
        assert world.states() == {name: "leaving"}
        world.kill()
    assert not (world.buffer / name).exists()
    assert (world.buffer / f"{name}.json").exists()
    world.settle_for(400, tick=20)
    assert world.states() == {name: "left"}
    assert not (world.buffer / f"{name}.json").exists()


def test_an_unmounted_buffer_is_not_taken_for_a_finished_deletion(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = world.put(kind="tp")
    world.settle()
    with monkeypatch.context() as patch:
        patch.setattr("declare_daemon.release.release.Release._start_deletions", lambda _: None)
        age(world)
        assert world.states() == {name: "leaving"}
        world.kill()
    world.unmount()
    world.settle_for(60, tick=10)
    assert world.states() == {name: "leaving"}
    world.mount()
    world.settle_for(200, tick=10)
    assert world.states() == {name: "left"}


# -- pauses and waivers ------------------------------------------------------------------------------------------------


def test_a_paused_catalogue_is_not_called_and_its_files_stay(world: Any) -> None:
    with world.store.write() as connection:
        pauses.pause(connection, "rucio", world.now + 3 * 3600, "ana", "upgrade", world.now)
    name = world.put(kind="tp")
    world.settle_for(60)
    assert world.states() == {name: "verified"}
    assert world.storehouse.calls == []
    assert world.embedded.look([did(name)]).keys() == {did(name)}
    world.advance(3 * 3600)
    world.settle_for(60)
    assert world.states() == {name: "declared"}
    c = event_table.c
    with world.store.read() as connection:
        rows = connection.execute(sa.select(c.before, c.after, c.by).where(c.subject == "catalog:rucio").order_by(c.id)).all()
    assert [tuple(row) for row in rows] == [(None, "paused", "ana"), ("paused", "resumed", None)]


def test_a_pause_holds_the_release_of_what_was_declared_before(world: Any) -> None:
    name = world.put(kind="tp")
    world.settle()
    with world.store.write() as connection:
        pauses.pause(connection, "rucio", None, "ana", "upgrade", world.now)
    age(world)
    assert world.states() == {name: "declared"}
    assert "paused by ana" in world.file(name).reason


def test_a_waived_catalogue_holds_nothing_and_is_still_told_later(make_world: Any, new_stream: Any, tmp_path: Path) -> None:
    (tmp_path / "released").mkdir()
    moved = {"release": {"move_to": str(tmp_path / "released")}, "lifetime": "1h"}
    world = make_world(streams=(new_stream("tp", "np04hd_tp_run*.hdf5", **moved),))
    second = type(world.catalog)(type(world.embedded).at(world.root / "second.sqlite"), world.faults, "second")
    world.catalogs = Catalogs((OpenCatalog("embedded", world.catalog, world.catalog), OpenCatalog("second", second, None)))
    second.away = True
    name = world.put(kind="tp")
    world.settle()
    assert world.states() == {name: "verified"}
    with world.store.write() as connection:
        pauses.waive(connection, "second", [world.file(name)], "ana", "disk is full", world.now)
    world.settle()
    assert world.states() == {name: "declared"}
    age(world)
    assert world.states() == {name: "left"}
    (proof,) = proofs(world, name)
    waived = {check.check: check.waived_by for check in proof.checks}
    assert (waived["declared"], waived["second"]) == ("ana", "ana")
    second.away = False
    world.settle_for(200, tick=10)
    assert second.look([did(name)]).keys() == {did(name)}
    second.close()


def test_a_waived_result_holds_nothing_and_the_proof_names_who(world: Any) -> None:
    name = world.put()
    world.settle()
    ask_for(world, name)
    with world.store.write() as connection:
        waive_obligations(connection, [(did(name), *CAMPAIGN)], "ana", "bad run", world.now)
    age(world)
    assert world.states() == {name: "left"}
    (proof,) = proofs(world, name)
    assert next(check for check in proof.checks if check.check == "processed").waived_by == "ana"


# -- space -------------------------------------------------------------------------------------------------------------


def full_world(make_world: Any, new_stream: Any, **buffer: Any) -> Any:
    """Ten files of 100 bytes in a buffer of 1,000; the first six are processed."""
    world = with_storehouse(make_world(**site_settings(new_stream, capacity="1000B", high_water="85%", low_water="60%", **buffer)))
    names = []
    for index in range(10):
        names.append(world.put(index, bytes(100)))
        path = world.buffer / f"{names[-1]}.json"
        stamp = path.stat().st_mtime + index
        os.utime(path, (stamp, stamp))
    world.names = names
    world.settle()
    ask_for(world, *names)
    for name in names[:6]:
        process(world, name)
    return world


def test_space_pressure_releases_the_oldest_processed_files_down_to_the_low_mark(make_world: Any, new_stream: Any) -> None:
    world = full_world(make_world, new_stream)
    age(world, 1000)
    states = world.states()
    assert [name for name in world.names if states[name] == "left"] == world.names[:4]
    assert {check.check: check.evidence for check in proofs(world, world.names[0])[0].checks}["age"].endswith(
        "the buffer is 100% full, more than 85%"
    )


def test_no_pressure_releases_what_is_too_young(make_world: Any, new_stream: Any) -> None:
    world = full_world(make_world, new_stream)
    age(world, 300)
    assert set(world.states().values()) == {"declared"}


def test_pressure_never_releases_an_unprocessed_file(make_world: Any, new_stream: Any) -> None:
    world = full_world(make_world, new_stream)
    for name in world.names[1:6]:
        world.storehouse.rules[did(name)] = "REPLICATING"
    age(world, 1000)
    states = world.states()
    assert [name for name in world.names if states[name] == "left"] == world.names[:1]


def test_a_sacrifice_is_made_only_by_the_site_file_and_leaves_a_trace(make_world: Any, new_stream: Any) -> None:
    world = full_world(make_world, new_stream, sacrifice=("physics",))
    for name in world.names[1:6]:
        world.storehouse.rules[did(name)] = "STUCK"
    age(world, 1000)
    world.settle_for(60, tick=10)
    states = world.states()
    gone = [name for name in world.names if states[name] == "left"]
    assert gone == [world.names[0], *world.names[6:9]]
    (proof,) = proofs(world, world.names[6])
    assert next(check for check in proof.checks if check.check == "processed").waived_by == "buffer.sacrifice"
    with world.store.read() as connection:
        query = sa.select(sa.func.count()).where(event_table.c.after == "sacrificed")
        assert connection.execute(query).scalar_one() == 3


# -- any order ---------------------------------------------------------------------------------------------------------


def test_no_interleaving_of_failures_releases_an_unproven_file(world_class: Any, store_file: Path, new_stream: Any) -> None:
    class Operation(RuleBasedStateMachine):
        """Files come and are processed, catalogues go away, rules fail, copies rot, the daemon is killed: the truth is kept beside."""

        def __init__(self) -> None:
            super().__init__()
            self.root = Path(tempfile.mkdtemp())
            self.world = with_storehouse(world_class(self.root / "world", store_file, **site_settings(new_stream)))
            # Files are as old as the real clock made them.
            self.world.now = (self.world.buffer / ".buffer").stat().st_mtime + 1.0
            self.names: list[str] = []
            self.processed: set[str] = set()
            self.waived: set[str] = set()
            self.seen_proofs: set[int] = set()
            self.mounted = True

        def present(self) -> list[str]:
            folder = self.world.buffer if self.mounted else self.world.root / "unmounted"
            return [name for name in self.names if (folder / name).exists()]

        @initialize()
        def there_is_work_already(self) -> None:
            for child, rule_is in (("declared", "OK"), ("declared", "STUCK"), ("only believed", "OK")):
                self.close_and_work_on(child, rule_is)

        @rule(
            child=st.sampled_from(["declared", "declared", "retired", "only believed", "not made"]),
            rule_is=st.sampled_from(["OK", "OK", "STUCK"]),
        )
        def a_file_is_closed_and_worked_on(self, child: str, rule_is: str) -> None:
            self.close_and_work_on(child, rule_is)

        def close_and_work_on(self, child: str, rule_is: str) -> None:
            """The engine may believe that a child is declared which is not, or no longer."""
            name = self.world.put(len(self.names))
            self.names.append(name)
            self.world.storehouse.rules[did(name)] = rule_is
            self.world.settle()
            with self.world.store.write() as connection:
                taken_in(connection, [file.id for file in take_in(connection, "physics", 100)])
                file_obligations(connection, [(did(name), *CAMPAIGN, "evaluate")])
                if child != "not made":
                    meet_obligations(connection, [(did(name), *CAMPAIGN)], self.world.now)
            if child in ("declared", "retired"):
                made = self.world.declare_child(name)
                if child == "retired":
                    self.world.embedded.retire([made])
                else:
                    self.processed.add(name)

        @precondition(lambda self: self.names)
        @rule(data=st.data())
        def somebody_waives_the_result(self, data: Any) -> None:
            name = data.draw(st.sampled_from(self.names))
            with self.world.store.write() as connection:
                waive_obligations(connection, [(did(name), *CAMPAIGN)], "ana", "test", self.world.now)
            self.waived.add(name)

        @precondition(lambda self: self.names)
        @rule(data=st.data(), state=st.sampled_from(["OK", "STUCK"]))
        def a_rule_changes(self, data: Any, state: str) -> None:
            self.world.storehouse.rules[did(data.draw(st.sampled_from(self.names)))] = state

        @precondition(lambda self: self.present())
        @rule(data=st.data())
        def a_copy_rots(self, data: Any) -> None:
            copy = self.world.root / "rse" / data.draw(st.sampled_from(self.present()))
            if copy.exists():
                copy.write_bytes(b"rotten")

        @rule(which=st.sampled_from(["embedded", "rucio", "buffer"]))
        def something_is_away_for_a_while(self, which: str) -> None:
            if which == "buffer":
                self.world.unmount()
                self.mounted = False
            else:
                (self.world.catalog if which == "embedded" else self.world.storehouse).away = True
            self.world.advance(2 * LIFETIME)
            self.world.settle()
            self.what_left_was_proven_and_the_proof_was_true()
            self.come_back()
            self.world.settle_for(200, tick=50)  # what was away is asked again less often

        def come_back(self) -> None:
            if not self.mounted:
                self.world.mount()
            self.mounted = True
            self.world.catalog.away = self.world.storehouse.away = False

        @rule(points=st.integers(0, 30))
        def the_daemon_is_killed_while_time_passes(self, points: int) -> None:
            with pytest.MonkeyPatch.context() as patch:
                self.world.faults.around_file_changes(patch)
                self.world.advance(2 * LIFETIME)
                self.world.settle_with_crash(points, self.world.settle)

        @rule(seconds=st.sampled_from([2 * HELD_S, 2 * LIFETIME]))
        def time_passes(self, seconds: float) -> None:
            self.world.advance(seconds)
            self.world.settle()

        @invariant()
        def what_left_was_proven_and_the_proof_was_true(self) -> None:
            """Every proof is looked at in the step that made it, while the truth is still what it was."""
            with self.world.store.read() as connection:
                rows = connection.execute(sa.select(proof_table.c.id, proof_table.c.file_id)).all()
            names = {file.id: name for name, file in self.world.files().items()}
            for number, file_id in rows:
                if number not in self.seen_proofs:
                    self.seen_proofs.add(number)
                    name = names[file_id]
                    assert name in self.processed | self.waived, f"{name} was proven though nobody has processed or waived it"
                    assert self.world.storehouse.rules.get(did(name), "OK") == "OK"
                    assert (self.world.root / "rse" / name).read_bytes() == f"data of {name}".encode()
            proven = {names[file_id] for _, file_id in rows}
            assert set(self.names) - set(self.present()) <= proven

        def teardown(self) -> None:
            try:
                self.come_back()
                self.world.storehouse.rules.clear()
                self.world.settle_for(3 * LIFETIME, tick=600)
                self.what_left_was_proven_and_the_proof_was_true()
            finally:
                self.world.close()
                shutil.rmtree(self.root)

    run_state_machine_as_test(Operation, settings=settings(max_examples=25, stateful_step_count=12, deadline=None))
