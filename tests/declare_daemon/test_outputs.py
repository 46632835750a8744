"""Outputs handed over by the engine: verified, placed, declared with their parents."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import pytest

from declare_daemon.journal import FileState
from declare_daemon.outbox import place_of, root_of
from dune_prompt.errors import ConflictError, DataError
from dune_prompt.records import MadeBy

MADE_BY = MadeBy("pdhd-prompt", "v1", "nf_sp")
PLACE = "outbox/hd-protodune-det-reco/pdhd-prompt_v1_gauss_028049"


def test_an_output_gets_its_final_place_and_is_declared_as_a_child(world: Any) -> None:
    raw = world.put()
    record = world.hand_over()
    world.settle_for(5)
    assert world.states() == {raw: "declared", record.name: "declared"}
    assert world.tree() == {f"buffer/{raw}", f"buffer/{raw}.json", f"{PLACE}/{record.name}", f"{PLACE}/{record.name}.json"}
    parent = f"hd-protodune:{raw}"
    assert world.embedded.children_of([parent], MADE_BY) == {parent: (record.did,)}
    assert world.embedded.places([record.did]) == {record.did: str(world.root / PLACE / record.name)}
    assert world.file(record.name).path == str(world.root / PLACE / record.name)


def test_a_child_waits_for_its_parent_as_long_as_it_takes(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    declare = world.embedded.declare

    def refuse_raw(records: Any, dataset: str) -> None:
        if any(record.name.endswith(".hdf5") for record in records):
            raise DataError("metadata refused")
        declare(records, dataset)

    with monkeypatch.context() as patch:
        patch.setattr(world.embedded, "declare", refuse_raw)
        raw = world.put()
        record = world.hand_over()
        world.settle_for(60)
        assert world.states() == {raw: "quarantined", record.name: "verified"}
        assert world.file(record.name).reason == f"its parent hd-protodune:{raw} is not declared yet (quarantined)"
    (world.root / "quarantine" / raw).rename(world.buffer / raw)
    (world.root / "quarantine" / f"{raw}.json").rename(world.buffer / f"{raw}.json")
    world.settle_for(60)
    assert world.states() == {raw: "declared", record.name: "declared"}


def test_a_child_of_a_file_nobody_knows_is_quarantined(world: Any) -> None:
    record = world.hand_over(of=5)
    world.settle_for(60)
    file = world.file(record.name)
    assert file.state is FileState.QUARANTINED
    assert "is not declared" in file.reason


def test_a_child_of_a_file_others_declared_is_declared(world: Any) -> None:
    raw = world.put()
    world.settle()
    world.kill()
    record = world.hand_over()
    world.settle()
    assert world.states() == {raw: "declared", record.name: "declared"}


def test_an_output_that_is_not_on_disk_is_given_up_after_some_tries(world: Any) -> None:
    world.put()
    record = world.hand_over()
    (world.outbox / "attempts" / "A1" / record.name).unlink()
    world.settle_for(3)
    assert world.file(record.name).state is FileState.FOUND
    world.settle_for(60)
    file = world.file(record.name)
    assert file.state is FileState.QUARANTINED
    assert "but not there" in file.reason


def test_an_output_that_is_not_what_was_reported_is_quarantined(world: Any) -> None:
    world.put()
    record = world.hand_over()
    (world.outbox / "attempts" / "A1" / record.name).write_bytes(b"Frames")
    world.settle_for(60)
    assert world.file(record.name).state is FileState.QUARANTINED
    assert f"quarantine/{record.name}" in world.tree()


def test_another_attempt_may_replace_a_quarantined_output(world: Any) -> None:
    raw = world.put()
    record = world.hand_over()
    (world.outbox / "attempts" / "A1" / record.name).unlink()
    world.settle_for(60)
    again = world.hand_over(attempt="A2", data=b"better")
    world.settle_for(5)
    assert world.states() == {raw: "declared", record.name: "declared"}
    assert world.embedded.look([again.did])[again.did].size_bytes == 6


def test_an_output_of_an_attempt_that_counts_is_not_replaced(world: Any) -> None:
    world.put()
    world.hand_over()
    world.settle()
    with pytest.raises(ConflictError, match="attempt A1 already"):
        world.hand_over(attempt="A2")


def test_an_outbox_that_is_away_is_no_absence(world: Any) -> None:
    raw = world.put()
    world.hand_over()
    world.settle_for(5)
    record = world.hand_over("metrics.json")
    world.outbox.rename(world.root / "away")
    world.outbox.mkdir()
    world.settle_for(600, tick=20)
    assert world.file(record.name).state is FileState.FOUND
    world.outbox.rmdir()
    (world.root / "away").rename(world.outbox)
    world.settle_for(400, tick=20)
    assert set(world.states().values()) == {"declared"}
    assert raw in world.states()


def test_a_final_place_that_is_taken_is_a_conflict_and_nothing_is_overwritten(world: Any) -> None:
    world.put()
    record = world.hand_over()
    place = world.root / PLACE / record.name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"somebody else's")
    world.settle_for(60)
    assert world.file(record.name).state is FileState.CONFLICT
    assert place.read_bytes() == b"somebody else's"
    assert (world.outbox / "attempts" / "A1" / record.name).read_bytes() == b"frames"


def test_outputs_of_a_campaign_with_its_own_place_stay_there(world: Any) -> None:
    world.put()
    world.outbox = world.root / "elsewhere"
    record = world.hand_over()
    world.settle_for(5)
    assert world.file(record.name).path == str(world.root / "elsewhere" / PLACE.removeprefix("outbox/") / record.name)


def test_metadata_of_outputs_are_checked_as_those_of_raw_files(world: Any) -> None:
    world.put()
    record = world.hand_over()
    incomplete = world.hand_over("other.npz", metadata={key: value for key, value in record.metadata.items() if "application" not in key})
    world.settle_for(60)
    assert world.states()[record.name] == "declared"
    assert "core.application.family" in world.file(incomplete.name).reason


def test_where_an_output_goes_follows_from_where_it_is(world: Any) -> None:
    world.hand_over()
    (file,) = world.files().values()
    default = world.root / "outbox"
    final = place_of(file, default)
    assert final == world.root / PLACE / file.name
    assert place_of(replace(file, path=str(final)), default) == final
    assert root_of(replace(file, path="/eos/reco/attempts/A1/x"), default).as_posix() == "/eos/reco"
    assert root_of(replace(file, path=f"/eos/reco/.quarantine/{file.name}"), default).as_posix() == "/eos/reco"
    assert root_of(replace(file, path=f"/somewhere/{file.name}"), default) == default


@pytest.mark.parametrize("dataset", ["reco:..", "reco:a/b", "reco:"])
def test_a_dataset_that_is_no_folder_name_is_bad_data(world: Any, dataset: str) -> None:
    world.hand_over()
    (file,) = world.files().values()
    with pytest.raises(DataError):
        place_of(replace(file, dataset=dataset), world.root / "outbox")


def test_the_outputs_sidecar_goes_along(world: Any) -> None:
    world.put()
    record = world.hand_over()
    world.settle_for(5)
    shutil.rmtree(world.outbox / "attempts")
    sidecar = json.loads((world.root / PLACE / f"{record.name}.json").read_text())
    assert sidecar["checksums"]["adler32"] == record.adler32
