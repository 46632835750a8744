"""What becomes of each kind of file in the buffer."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from declare_daemon import verify
from declare_daemon.journal import FileState, take_in, taken_in
from declare_daemon.outage import ALARM_AFTER_S, DATA_TRIES
from dune_prompt.errors import ConfigError
from dune_prompt.store import event_table
from dune_prompt.store.lease import LeaseHeldError, LeaseLostError, lease_table


def events(world: Any, subject: str) -> list[tuple[str | None, str]]:
    c = event_table.c
    with world.store.read() as connection:
        return [tuple(row) for row in connection.execute(sa.select(c.before, c.after).where(c.subject == subject).order_by(c.id))]


def test_a_closed_file_is_declared_in_its_runs_dataset_with_its_place(world: Any) -> None:
    name = world.put()
    world.settle()
    did = f"hd-protodune:{name}"
    file = world.file(name)
    assert (file.state, file.did, file.run, file.file_index, file.stream) == (FileState.DECLARED, did, 28049, 0, "physics")
    assert file.dataset == "hd-protodune:hd-protodune_28049"
    assert world.embedded.look([did], with_metadata=True)[did].metadata["core.runs_subruns"] == [2804900001]
    assert world.embedded.places([did]) == {did: str(world.buffer / name)}


def test_every_transition_leaves_an_event(world: Any) -> None:
    name = world.put()
    world.settle()
    assert events(world, name) == [(None, "found")]
    assert events(world, f"hd-protodune:{name}") == [("found", "verified"), ("verified", "declared")]


def test_a_file_waits_for_its_sidecar(world: Any) -> None:
    name = world.put(sidecar=None)
    world.settle_for(20)
    assert world.files() == {}
    world.write_sidecar(name, world.sidecar(name, (world.buffer / name).read_bytes()))
    world.settle()
    assert world.states() == {name: "declared"}


def test_files_being_written_are_left_alone(world: Any) -> None:
    (world.buffer / f"{world.raw_name(1)}.writing").write_bytes(b"half")
    (world.buffer / f"{world.raw_name(2)}.json.tmp").write_text("{")
    (world.buffer / ".hidden").touch()
    (world.buffer / "folder").mkdir()
    world.settle()
    assert world.files() == {}


def test_a_half_written_sidecar_is_read_again_when_it_is_whole(world: Any) -> None:
    name = world.put(sidecar='{"name": ')
    world.settle_for(2)
    assert world.states() == {name: "found"}
    world.write_sidecar(name, world.sidecar(name, (world.buffer / name).read_bytes()))
    world.settle_for(10)
    assert world.states() == {name: "declared"}


def test_a_broken_sidecar_ends_in_the_quarantine_with_the_reason_beside_it(world: Any) -> None:
    name = world.put(sidecar='{"name": ')
    world.settle_for(60)
    file = world.file(name)
    assert (file.state, file.tries) == (FileState.QUARANTINED, DATA_TRIES)
    assert world.tree() == {f"quarantine/{name}", f"quarantine/{name}.json", f"quarantine/{name}.reason.json"}
    reason = json.loads((world.root / "quarantine" / f"{name}.reason.json").read_text())
    assert "not JSON" in reason["reason"]
    assert reason["from"] == str(world.buffer / name)
    assert file.path == str(world.root / "quarantine" / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 7}, "its sidecar says 7"),
        ({"checksums": {"adler32": "00000001"}}, "with 00000001"),
        ({"name": "another.hdf5"}, "name is 'another.hdf5'"),
        ({"checksums": {}}, "checksum"),
    ],
)
def test_a_file_that_is_not_what_its_sidecar_says_is_quarantined(world: Any, change: dict[str, Any], said: str) -> None:
    name = world.raw_name(0)
    world.put(sidecar=world.sidecar(name, b"data") | change, data=b"data")
    good = world.put(1)
    world.settle_for(60)
    assert world.states() == {name: "quarantined", good: "declared"}
    assert said in world.file(name).reason
    assert world.embedded.look([f"hd-protodune:{name}"]) == {}


def test_the_quarantine_overwrites_nothing(world: Any) -> None:
    for data in (b"first", b"second"):
        name = world.put(data=data, sidecar="{")
        world.settle_for(60)
    kept = {path.read_bytes() for path in (world.root / "quarantine").rglob(name)}
    assert kept == {b"first", b"second"}
    assert world.file(name).path == str(world.root / "quarantine" / "2" / name)


def test_without_the_sentinel_nothing_is_absent_and_nothing_is_quarantined(world: Any) -> None:
    declared = world.put(0)
    world.settle()
    found = world.put(1, sidecar="{")
    world.settle()
    world.unmount()
    world.settle_for(600, tick=20)
    assert world.states() == {declared: "declared", found: "found"}
    world.mount()
    world.write_sidecar(found, world.sidecar(found, (world.buffer / found).read_bytes()))
    world.settle_for(400, tick=20)
    assert world.states() == {declared: "declared", found: "declared"}


def test_a_long_outage_of_the_buffer_is_one_alarm_and_its_end_one_event(world: Any) -> None:
    world.settle()
    world.unmount()
    world.settle_for(ALARM_AFTER_S * 5, tick=10)
    subject = f"buffer:{world.buffer}"
    assert events(world, subject) == [("back", "away")]
    world.kill()
    world.mount()
    world.settle_for(400, tick=20)
    assert events(world, subject) == [("back", "away"), ("away", "back")]


def test_a_short_outage_is_no_alarm(world: Any) -> None:
    world.settle()
    world.unmount()
    world.settle_for(ALARM_AFTER_S / 4)
    world.mount()
    world.settle_for(ALARM_AFTER_S)
    assert events(world, f"buffer:{world.buffer}") == []


def test_a_file_that_fits_no_stream_is_alarmed_once_and_left_alone(world: Any) -> None:
    (world.buffer / "strange file.dat").touch()
    other = world.put(0, **{"dune.daq_test": "True"})
    world.kill()
    world.site = world.site.model_copy(update={"streams": (world.site.streams[0].model_copy(update={"where": {"dune.daq_test": False}}),)})
    for _ in range(2):
        world.settle_for(5)
        world.kill()
    assert world.states() == {"strange file.dat": "unmatched", other: "unmatched"}
    assert events(world, "strange file.dat") == [(None, "unmatched")]
    assert events(world, other) == [(None, "found"), ("found", "unmatched")]
    assert (world.buffer / other).exists()


def test_a_stranger_is_taken_in_when_the_site_file_gets_a_stream_for_it(world: Any, new_stream: Any) -> None:
    name = "np02vd_raw_run039252_0000_df-s04-d0_dw_0_20250829T115242.hdf5"
    data = b"vertical drift"
    (world.buffer / name).write_bytes(data)
    world.write_sidecar(name, world.sidecar(name, data))
    world.settle()
    assert world.states() == {name: "unmatched"}
    world.kill()
    world.site = world.site.model_copy(update={"streams": (new_stream("vd", "np02vd_raw_*.hdf5"),)})
    world.settle()
    assert world.states() == {name: "declared"}


def test_streams_are_told_apart_by_metadata(make_world: Any, new_stream: Any) -> None:
    world = make_world(
        streams=(
            new_stream("physics", where={"dune.daq_test": False}, process=True),
            new_stream("daq_test", where={"dune.daq_test": True}),
        )
    )
    physics, test = world.put(0, **{"dune.daq_test": "false"}), world.put(1, **{"dune.daq_test": True})
    world.settle()
    assert {name: file.stream for name, file in world.files().items()} == {physics: "physics", test: "daq_test"}


def test_a_stream_that_is_not_declared_is_journaled_only(make_world: Any, new_stream: Any) -> None:
    world = make_world(streams=(new_stream(declare=False),))
    name = world.put(sidecar=world.sidecar(world.raw_name(0), b"data") | {"checksums": {"adler32": "1"}}, data=b"data")
    world.settle()
    assert world.states() == {name: "ignored"}
    assert world.embedded.look([f"hd-protodune:{name}"]) == {}


def test_processing_without_declaring_is_a_wrong_setting(make_world: Any, new_stream: Any) -> None:
    world = make_world(streams=(new_stream(declare=False, process=True),))
    with pytest.raises(ConfigError, match="process without declare"):
        world.settle()


def test_a_file_without_sidecars_is_closed_when_it_has_stopped_growing(make_world: Any, new_stream: Any, tiny_hdf5: Any) -> None:
    world = make_world(streams=(new_stream(sidecar=False),))
    path = world.buffer / world.raw_name(0)
    tiny_hdf5(path)
    for _ in range(2):
        world.settle()
        with path.open("ab") as file:
            file.write(b"\0")
    assert world.files() == {}
    for _ in range(4):
        world.settle()
    assert world.states() == {path.name: "declared"}
    assert world.file(path.name).metadata["core.start_time"] == 1718795010.0


def test_a_known_file_without_sidecar_is_not_read_again_after_a_restart(make_world: Any, new_stream: Any, tiny_hdf5: Any) -> None:
    world = make_world(streams=(new_stream(sidecar=False),))
    tiny_hdf5(world.buffer / world.raw_name(0))
    for _ in range(5):
        world.settle()
    before = events(world, f"hd-protodune:{world.raw_name(0)}")
    world.kill()
    world.settle_for(5)
    assert events(world, f"hd-protodune:{world.raw_name(0)}") == before


def test_a_file_that_vanishes_before_it_is_verified_is_noted(world: Any) -> None:
    name = world.put(sidecar="{")
    world.settle()
    (world.buffer / name).unlink()
    world.settle_for(60)
    assert world.states() == {name: "gone"}


def test_a_declared_file_that_vanishes_while_the_daemon_is_down_is_noted(world: Any) -> None:
    name = world.put()
    world.settle()
    world.kill()
    (world.buffer / name).unlink()
    world.settle()
    assert world.states() == {name: "gone"}


def test_a_vanished_file_that_comes_back_is_declared_again_without_harm(world: Any) -> None:
    name = world.put()
    world.settle()
    first = world.file(name).declared_at
    (world.buffer / name).rename(world.root / "aside")
    world.settle()
    (world.root / "aside").rename(world.buffer / name)
    world.advance(10)
    world.settle()
    assert world.states() == {name: "declared"}
    assert world.file(name).declared_at == first


@pytest.mark.parametrize("restart", [False, True])
def test_a_declared_name_that_comes_again_with_other_content_is_a_conflict_and_stays(world: Any, restart: bool) -> None:
    name = world.put(data=b"the first")
    world.settle()
    (world.buffer / name).unlink()
    world.settle()
    if restart:
        world.kill()
    world.put(data=b"the second")
    world.settle()
    file = world.file(name)
    assert file.state is FileState.CONFLICT
    assert "declared with 9 bytes" in file.reason
    assert (world.buffer / name).read_bytes() == b"the second"
    assert world.embedded.look([file.did])[file.did].size_bytes == 9


def test_a_declared_file_that_is_overwritten_is_a_conflict(world: Any) -> None:
    name = world.put(data=b"the first")
    world.settle()
    world.put(data=b"the second")
    world.settle()
    assert world.states() == {name: "conflict"}


def test_a_name_the_catalogue_has_with_other_content_is_a_conflict_naming_both(world: Any) -> None:
    name = world.put(data=b"somebody else's")
    world.settle()
    world.kill()
    with world.store.write() as connection:
        for table in ("journal_intake", "journal_step", "journal_file"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    world.put(data=b"ours")
    world.settle()
    file = world.file(name)
    assert file.state is FileState.CONFLICT
    assert "declared with size 15" in file.reason
    assert "here size 4" in file.reason
    assert (world.buffer / name).exists()


def test_verified_files_of_a_processed_stream_are_offered_to_the_engine_once(world: Any) -> None:
    world.catalog.away = True
    first, _ = world.put(0), world.put(1, kind="tp")
    world.settle()
    with world.store.write() as connection:
        offered = take_in(connection, "physics", 10)
        assert [(file.name, file.state) for file in offered] == [(first, FileState.VERIFIED)]
        assert take_in(connection, "tp", 10) == []
        taken_in(connection, [file.id for file in offered])
    world.catalog.away = False
    world.settle_for(60, tick=20)
    with world.store.read() as connection:
        assert take_in(connection, "physics", 10) == []


def test_two_daemons_on_one_buffer_are_impossible(world: Any) -> None:
    world.settle()
    with world.store.write() as connection:
        connection.execute(sa.update(lease_table).values(holder="other-host/1/1"))
    mine, world._daemon = world._daemon, None
    with pytest.raises(LeaseHeldError):
        world.settle()
    world._daemon = mine


def test_a_daemon_that_lost_its_lease_writes_nothing_more(world: Any) -> None:
    world.settle()
    with world.store.write() as connection:
        connection.execute(sa.update(lease_table).values(token=lease_table.c.token + 1))
    world.put()
    with pytest.raises(LeaseLostError):
        world.settle()
    assert world.files() == {}


def test_an_outage_of_the_store_does_not_end_the_loop(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = world.daemon
    name = world.put()
    broken = iter([True, True, False])
    step, stop = daemon.step, threading.Event()

    def sometimes(**keywords: Any) -> Any:
        if next(broken, False):
            raise OSError(5, "Input/output error")
        return step(**keywords)

    monkeypatch.setattr(daemon, "step", sometimes)
    monkeypatch.setattr("declare_daemon.outage.FIRST_DELAY_S", 0.01)
    thread = threading.Thread(target=daemon.run, args=(0.01, stop))
    thread.start()
    deadline = time.monotonic() + 10
    while world.states().get(name) != "declared" and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    thread.join()
    assert world.states() == {name: "declared"}


def test_the_loop_wakes_when_outputs_are_handed_over(world: Any) -> None:
    world.put()
    world.settle()
    stop = threading.Event()
    thread = threading.Thread(target=world.daemon.run, args=(60.0, stop))
    thread.start()
    time.sleep(0.2)
    record = world.hand_over()
    deadline = time.monotonic() + 10
    while world.states().get(record.name) != "declared" and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    thread.join()
    assert world.states()[record.name] == "declared"


def test_a_large_file_holds_up_nothing_else(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect, go_on = verify.inspect_raw, threading.Event()

    def slowly(site: Any, path: str, stop: Any) -> Any:
        if Path(path).stat().st_size > 100:
            assert go_on.wait(10)
        return inspect(site, path, stop)

    monkeypatch.setattr(verify, "QUICK_BYTES", 100)
    monkeypatch.setattr(verify, "inspect_raw", slowly)
    large, small = world.put(0, data=b"x" * 101), world.put(1)
    while world.daemon.step():
        pass
    assert world.states() == {large: "found", small: "declared"}
    go_on.set()
    world.settle()
    assert world.states() == {large: "declared", small: "declared"}


def test_data_files_that_wait_an_hour_for_their_sidecar_are_an_alarm(world: Any) -> None:
    name = world.put(sidecar=None)
    world.settle_for(2 * 3600, tick=300)
    subject = f"sidecars:{world.buffer}"
    assert events(world, subject) == [("back", "away")]
    world.write_sidecar(name, world.sidecar(name, (world.buffer / name).read_bytes()))
    world.settle()
    assert events(world, subject)[-1] == ("away", "back")


def test_a_name_no_catalogue_accepts_is_alarmed_and_not_touched(world: Any) -> None:
    path = world.buffer / b"np04hd_raw_run028049_\xff.hdf5".decode("utf-8", "surrogateescape")
    path.touch()
    for _ in range(2):
        world.settle_for(3)
        world.kill()
    assert world.states() == {"np04hd_raw_run028049_\\udcff.hdf5": "unmatched"}
    assert path.exists()
