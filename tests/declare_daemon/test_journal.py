"""The journal: its states, and what the engine does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from declare_daemon.journal import (
    FileState,
    HandedOver,
    all_of_stream,
    counts,
    file_obligations,
    files_by_did,
    hand_over,
    meet_obligations,
    take_in,
    taken_in,
    waive_obligations,
)
from declare_daemon.journal.files import Change, change
from declare_daemon.journal.states import PRESENT, TRANSITIONS, WAITING
from declare_daemon.journal.tables import obligation_table
from declare_daemon.journal.writer import lease_name
from dune_prompt.errors import ConflictError
from dune_prompt.records import FileRecord
from dune_prompt.store import event_table

NOW = 1_750_000_000.0
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "declare.md"


def record(name: str = "x.npz", size: int = 5, namespace: str = "reco") -> FileRecord:
    return FileRecord(namespace, name, size, "0000000a", {"core.runs": [7]}, ("ns:raw",), "reco:d")


def over(attempt: str = "A1", **change: Any) -> HandedOver:
    item = record(**change)
    return HandedOver(item, f"/outbox/attempts/{attempt}/{item.name}", attempt)


def test_every_state_has_a_sentence_and_can_be_left_or_is_where_a_person_looks() -> None:
    assert TRANSITIONS.keys() == {None, *FileState}
    for state in FileState:
        assert state.sentence.endswith(".")
        assert TRANSITIONS[state], f"{state} can never be left"
    assert set().union(*TRANSITIONS.values()) == set(FileState)
    assert FileState.FOUND in WAITING & PRESENT


def test_every_state_is_in_the_reference_with_its_sentence() -> None:
    text = REFERENCE.read_text("utf-8")
    for state in FileState:
        assert f"| `{state}` | {state.sentence} |" in text


def test_a_transition_that_is_not_in_the_table_is_refused(world: Any) -> None:
    world.put()
    world.settle()
    (file,) = world.files().values()
    with world.store.write() as connection, pytest.raises(ConflictError, match="cannot go from declared to verified"):
        change(connection, [Change(file, FileState.VERIFIED)], NOW)


def test_a_file_that_changed_meanwhile_is_not_overwritten(world: Any) -> None:
    world.put()
    world.settle()
    (file,) = world.files().values()
    with world.store.write() as connection:
        change(connection, [Change(file, FileState.GONE)], NOW)
    with pytest.raises(ConflictError, match="changed their state"), world.store.write() as connection:
        change(connection, [Change(file, FileState.LEAVING)], NOW)
    assert world.states() == {file.name: "gone"}


def test_handing_over_again_does_nothing(world: Any) -> None:
    for _ in range(2):
        with world.store.write() as connection:
            hand_over(connection, [over(), over()], NOW)
    with world.store.read() as connection:
        assert counts(connection) == {"buffer": {}, "outbox": {FileState.FOUND: 1}}
        file = files_by_did(connection, ["reco:x.npz", "reco:unknown"])["reco:x.npz"]
        assert connection.execute(sa.select(sa.func.count()).select_from(event_table)).scalar_one() == 1
    assert (file.run, file.attempt, file.record) == (7, "A1", record())


@pytest.mark.parametrize(
    ("second", "said"),
    [(over("A2"), "again by attempt A2"), (over(size=6), "with other size or checksum")],
)
def test_a_second_claim_to_a_name_is_a_conflict_and_writes_nothing(world: Any, second: HandedOver, said: str) -> None:
    with world.store.write() as connection:
        hand_over(connection, [over()], NOW)
    with pytest.raises(ConflictError, match=said), world.store.write() as connection:
        hand_over(connection, [over(name="other.npz"), second], NOW)
    with world.store.read() as connection:
        assert counts(connection)["outbox"] == {FileState.FOUND: 1}


def test_an_output_of_the_name_of_a_raw_file_is_a_conflict(world: Any) -> None:
    name = world.put()
    world.settle()
    with pytest.raises(ConflictError, match="name of one in the buffer"), world.store.write() as connection:
        hand_over(connection, [over(name=name, namespace="hd-protodune")], NOW)


def test_two_different_outputs_of_one_name_at_once_are_a_conflict(world: Any) -> None:
    with pytest.raises(ConflictError, match="at once"), world.store.write() as connection:
        hand_over(connection, [over(), over(size=6)], NOW)


def test_the_engine_takes_each_file_in_once_oldest_first(world: Any) -> None:
    names = [world.put(index) for index in range(3)]
    world.settle()
    with world.store.write() as connection:
        first = take_in(connection, "physics", 2)
        taken_in(connection, [file.id for file in first] + [999])
    with world.store.read() as connection:
        rest = take_in(connection, "physics", 10)
    assert [file.name for file in first + rest] == names


def test_a_later_campaign_sees_all_files_of_its_stream_page_by_page(world: Any) -> None:
    names = [world.put(index) for index in range(3)]
    world.put(0, kind="tp")
    world.settle()
    seen, after = [], 0
    with world.store.read() as connection:
        while page := all_of_stream(connection, "physics", after, 2):
            seen += [file.name for file in page]
            after = page[-1].id
    assert seen == names


def test_obligations_are_filed_and_met_once(world: Any) -> None:
    with world.store.write() as connection:
        file_obligations(connection, [("ns:a", "c", "v1", "evaluate"), ("ns:b", "c", "v1", "evaluate")])
        file_obligations(connection, [("ns:a", "c", "v1", "evaluate")])
        meet_obligations(connection, [("ns:a", "c", "v1"), ("ns:unknown", "c", "v1")], NOW)
        meet_obligations(connection, [("ns:a", "c", "v1")], NOW + 9)
        waive_obligations(connection, [("ns:a", "c", "v1"), ("ns:b", "c", "v1")], "ana", "bad run", NOW)
        o = obligation_table.c
        rows = connection.execute(sa.select(o.did, o.met_at, o.waived_by, o.waived_why).order_by(o.did)).all()
    assert [tuple(row) for row in rows] == [("ns:a", NOW, None, None), ("ns:b", None, "ana", "bad run")]


def test_a_lease_has_a_name_the_table_can_hold() -> None:
    assert lease_name("/eos/np04") == "buffer:/eos/np04"
    assert len(lease_name("/eos/" + "x" * 300)) <= 100
