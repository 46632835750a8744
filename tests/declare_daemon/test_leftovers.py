"""Outputs of attempts that never counted are cleared away; what anybody may still need is not."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, campaign_table, commit_table, slice_table, task_table
from declare_daemon.journal import FileState, HandedOver, hand_over
from declare_daemon.journal.tables import file_table
from declare_daemon.journal.writer import Journal, lease_name
from declare_daemon.leftovers import EVERY_S, FOLDERS_A_STEP, Leftovers
from dune_prompt.store import Lease, Store, event_table

DAY = 86400.0


@pytest.fixture
def world(make_world: Any) -> Any:
    world = make_world(daemon={"outbox_grace": "14d"})
    (world.outbox / "attempts").mkdir(parents=True)
    (world.outbox / ".outbox").touch()
    store = Store(world.store.engine)
    world.journal = Journal(store, Lease.acquire(store, lease_name(str(world.buffer)), now=world.now), lambda: world.now)
    world.leftovers = Leftovers(world.site, world.journal)
    return world


def left_by(world: Any, attempt: str, *names: str, days: float = 15, root: Path | None = None) -> Path:
    """The folder of an attempt that ended so many days ago."""
    folder: Path = (root or world.outbox) / "attempts" / attempt
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"frames")
    grow_old(world, folder, days)
    return folder


def grow_old(world: Any, folder: Path, days: float = 15) -> None:
    at = world.now - days * DAY
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (at, at), follow_symlinks=False)


def put_into(world: Any, state: FileState, **values: Any) -> None:
    with Store(world.store.engine).write() as connection:
        connection.execute(sa.update(file_table).values(state=state.value, **values))


def in_ledger(world: Any, attempt: str, *, ended: bool = True, counts: bool = False, task: str = "waiting_retry") -> None:
    """The attempt in the engine's ledger, at an input whose task is in state `task`."""
    at = world.now - 20 * DAY
    rows: list[tuple[sa.Table, dict[str, Any]]] = [
        (
            campaign_table,
            {"id": 1, "name": "pdhd-prompt", "version": "v1", "stream": "physics", "detector": "pdhd", "layout": "fused"}
            | {"required": True, "file_hash": "", "content": {}, "first_seen": at},
        ),
        (
            task_table,
            {"id": 1, "input_id": 1, "campaign_id": 1, "input_did": "n:raw", "step": "chain", "state": task, "run": 1, "size_bytes": 1}
            | {"deadline": at, "allowed_failures": 3, "ready_at": at, "created_at": at},
        ),
        (slice_table, {"id": "S", "campaign_id": 1, "step": "chain", "launcher": "local", "created_at": at}),
        (
            attempt_table,
            {"id": attempt, "task_id": 1, "slice_id": "S", "number": 1, "state": "succeeded", "stages": "", "launcher": "local"}
            | {"token_hash": "", "lease_until": at, "created_at": at, "ended_at": at if ended else None},
        ),
    ]
    if counts:
        rows.append((commit_table, {"input_id": 1, "stage": "nf_sp", "attempt_id": attempt}))
    with Store(world.store.engine).write() as connection:
        for table, values in rows:
            connection.execute(sa.insert(table).values(values))


def removals(world: Any) -> list[str]:
    with world.store.read() as connection:
        query = sa.select(event_table.c.subject).where(event_table.c.after == "removed", event_table.c.room == "declare")
        return sorted(connection.execute(query).scalars())


def test_outputs_that_never_counted_go_after_the_grace_time(world: Any) -> None:
    old, young = left_by(world, "OLD", "x.npz", "x.npz.json"), left_by(world, "YOUNG", "y.npz", days=13)
    assert world.leftovers.sweep(world.now) == [old]
    assert not old.exists()
    assert (young / "y.npz").exists()
    assert [path.name for path in (world.outbox / "attempts").iterdir()] == ["YOUNG"]
    assert removals(world) == ["attempt:OLD"]


def test_one_young_file_keeps_an_old_folder(world: Any) -> None:
    folder = left_by(world, "A", "x.npz")
    (folder / "part").mkdir()
    (folder / "part" / "log").write_text("still writing")
    at = world.now - 15 * DAY
    for path in (folder, folder / "part"):
        os.utime(path, (at, at))
    os.utime(folder / "part" / "log", (world.now, world.now))
    assert world.leftovers.sweep(world.now) == []


def test_a_young_folder_of_old_files_stays(world: Any) -> None:
    folder = left_by(world, "A", "x.npz")
    os.utime(folder, (world.now, world.now))
    assert world.leftovers.sweep(world.now) == []


@pytest.mark.parametrize("state", [*FileState])
def test_what_the_journal_still_needs_stays(world: Any, state: FileState) -> None:
    record = world.hand_over(attempt="A")
    folder = world.outbox / "attempts" / "A"
    moved = state in (FileState.DECLARED, FileState.LEFT, FileState.QUARANTINED, FileState.GONE)
    put_into(world, state, proof=1 if state is FileState.LEAVING else None)
    if moved:
        put_into(world, state, path=f"{world.outbox}/{record.name}")
    grow_old(world, folder)
    assert world.leftovers.sweep(world.now) == ([folder] if moved else [])
    assert folder.exists() is not moved


def test_a_declared_output_that_still_lies_there_stays(world: Any) -> None:
    world.hand_over(attempt="A")
    put_into(world, FileState.DECLARED)
    grow_old(world, world.outbox / "attempts" / "A")
    assert world.leftovers.sweep(world.now) == []


def test_an_output_that_another_attempt_handed_over_stays(world: Any) -> None:
    """`declare` as a job of its own hands over what the attempt of the payload has left."""
    record = world.hand_over(attempt="A")
    put_into(world, FileState.FOUND, attempt="B")
    folder = world.outbox / "attempts" / "A"
    grow_old(world, folder)
    assert world.leftovers.sweep(world.now) == []
    assert (folder / record.name).exists()


def test_an_output_that_is_to_come_back_into_the_folder_keeps_it(world: Any) -> None:
    record = world.hand_over(attempt="A")
    folder = world.outbox / "attempts" / "A"
    put_into(world, FileState.DECLARED, attempt="B", path="/elsewhere", target=str(folder / record.name))
    grow_old(world, folder)
    assert world.leftovers.sweep(world.now) == []


def test_an_attempt_in_flight_keeps_its_folder_however_long_it_takes(world: Any) -> None:
    left_by(world, "A", "x.npz")
    in_ledger(world, "A", ended=False)
    assert world.leftovers.sweep(world.now) == []


@pytest.mark.parametrize(("task", "counts", "goes"), [("parked", True, False), ("parked", False, True), ("done", True, True)])
def test_what_counts_for_unfinished_work_stays(world: Any, task: str, counts: bool, goes: bool) -> None:
    folder = left_by(world, "A", "x.npz")
    in_ledger(world, "A", counts=counts, task=task)
    assert world.leftovers.sweep(world.now) == ([folder] if goes else [])


def test_a_root_without_its_sentinel_is_left_alone(world: Any) -> None:
    folder = left_by(world, "A", "x.npz")
    (world.outbox / ".outbox").unlink()
    assert world.leftovers.sweep(world.now) == []
    assert (folder / "x.npz").exists()


def test_the_roots_of_campaigns_are_swept_too(world: Any, tmp_path: Path) -> None:
    root = tmp_path / "campaign outputs"
    (root / "attempts").mkdir(parents=True)
    (root / ".outbox").touch()
    record = world.hand_over(attempt="A")
    with Store(world.store.engine).write() as connection:
        place = root / "attempts" / "B" / "other.npz"
        other = replace(record, name="other.npz", dataset="n:d")
        hand_over(connection, [HandedOver(other, str(place), "B")], world.now)
    folder = left_by(world, "C", "x.npz", root=root)
    assert world.leftovers.sweep(world.now) == [folder]


def test_symbolic_links_are_removed_and_never_followed(world: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"data")
    folder = left_by(world, "A", "x.npz")
    (folder / "link").symlink_to(outside)
    (folder / "file link").symlink_to(outside / "precious")
    (world.outbox / "attempts" / "LINK").symlink_to(outside)
    grow_old(world, folder)
    grow_old(world, outside)
    assert world.leftovers.sweep(world.now) == [folder]
    assert (outside / "precious").read_bytes() == b"data"
    assert (world.outbox / "attempts" / "LINK").is_symlink()


def test_attempts_behind_a_symbolic_link_are_left_alone(world: Any, tmp_path: Path) -> None:
    left_by(world, "A", "x.npz")
    shutil.move(world.outbox / "attempts", tmp_path / "elsewhere")
    (world.outbox / "attempts").symlink_to(tmp_path / "elsewhere")
    assert world.leftovers.sweep(world.now) == []


def test_folders_are_listed_once_an_hour(world: Any) -> None:
    assert world.leftovers.sweep(world.now) == []
    folder = left_by(world, "A", "x.npz")
    assert world.leftovers.sweep(world.now + EVERY_S - 1) == []
    assert world.leftovers.sweep(world.now + EVERY_S) == [folder]


def test_many_folders_are_worked_off_step_by_step(world: Any) -> None:
    for number in range(FOLDERS_A_STEP + 5):
        left_by(world, f"A{number:03}", "x.npz")
    assert len(world.leftovers.sweep(world.now)) == FOLDERS_A_STEP
    assert len(world.leftovers.sweep(world.now)) == 5
    assert len(removals(world)) == FOLDERS_A_STEP + 5


def test_a_folder_that_cannot_be_removed_stops_no_other_and_is_tried_again(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = left_by(world, "A", "x.npz"), left_by(world, "B", "x.npz")
    rmtree = shutil.rmtree

    def refuse_first(path: Path) -> None:
        if path.name.startswith(".A"):
            raise PermissionError(13, "Permission denied", str(path))
        rmtree(path)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse_first)
        assert world.leftovers.sweep(world.now) == [second]
    assert len(world.leftovers.sweep(world.now + EVERY_S)) == 1
    assert list((world.outbox / "attempts").iterdir()) == []
    assert removals(world) == ["attempt:A", "attempt:B"]
    assert not first.exists()


def test_a_rename_that_fails_leaves_no_event(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = left_by(world, "A", "x.npz")

    def refuse(*_: Any) -> Path:
        raise PermissionError(13, "Permission denied", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        assert world.leftovers.sweep(world.now) == []
    assert removals(world) == []
    assert (folder / "x.npz").exists()


def test_an_attempt_that_is_handed_over_meanwhile_stays(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine commits between the look at the folder and its removal."""
    folder = left_by(world, "A", "x.npz")
    look = Leftovers._is_old

    def then_hand_over(self: Leftovers, folder: Path, now: float) -> bool:
        old = look(self, folder, now)
        world.hand_over(attempt="A")
        return old

    monkeypatch.setattr(Leftovers, "_is_old", then_hand_over)
    assert world.leftovers.sweep(world.now) == []
    assert (folder / "x.npz").exists()


def test_files_beside_the_folders_stay(world: Any) -> None:
    (world.outbox / "attempts" / "notes").write_text("mine")
    (world.outbox / "attempts" / ".hidden").mkdir()
    grow_old(world, world.outbox / "attempts")
    assert world.leftovers.sweep(world.now) == []
