"""The whole daemon on a buffer behind a real XRootD server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from declare_daemon.preview import preview
from declare_daemon.retry import ask_again, quarantined_files
from declare_daemon.storage import path_below, storage_of, within
from dune_prompt.settings.site import BufferSettings
from tests.servers.xrootd import XrootdServer

pytestmark = pytest.mark.usefixtures("settled")


@pytest.fixture
def world(make_world: Callable[..., Any], server: XrootdServer, remote: str) -> Any:
    """An installation whose buffer is a folder of the server; the data acquisition writes where the server keeps it."""
    world = make_world()
    storage_of(remote).write(within(remote, ".buffer"), b"")
    world.buffer = server.local("/" + remote.rpartition("//")[2])
    world.site = world.site.model_copy(update={"buffer": BufferSettings(path=remote)})
    return world


def in_buffer(world: Any) -> set[str]:
    """All files of the buffer, without the sentinel."""
    return {str(path.relative_to(world.buffer)) for path in world.buffer.rglob("*") if path.is_file()} - {".buffer"}


def test_a_closed_file_is_declared_where_the_server_has_it(world: Any, remote: str) -> None:
    name = world.put()
    world.settle()
    assert world.states() == {name: "declared"}
    assert world.embedded.places([world.file(name).did]) == {world.file(name).did: within(remote, name)}
    assert in_buffer(world) == {name, f"{name}.json"}


def test_a_file_whose_times_only_it_can_tell_is_asked_for_them(world: Any, tiny_hdf5: Any, tmp_path: Path) -> None:
    tiny_hdf5(tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    sidecar = world.sidecar(world.raw_name(0), data)
    del sidecar["metadata"]["core.start_time"], sidecar["metadata"]["core.end_time"]
    name = world.put(data=data, sidecar=sidecar)
    world.settle()
    assert world.states() == {name: "declared"}
    assert world.file(name).metadata["core.start_time"] == 1718795010.0


def test_bad_data_are_put_away_on_the_server_and_come_back(world: Any, remote: str) -> None:
    name = world.put(data=b"data", sidecar=world.sidecar(world.raw_name(0), b"atad"))
    world.settle_for(60)
    assert world.states() == {name: "quarantined"}
    assert in_buffer(world) == {f".quarantine/{name}", f".quarantine/{name}.json", f".quarantine/{name}.reason.json"}
    reason = json.loads((world.buffer / ".quarantine" / f"{name}.reason.json").read_text())
    assert reason["from"] == within(remote, name)
    assert "its sidecar says" in reason["reason"]
    draft = world.buffer / "better.json"
    draft.write_text(json.dumps(world.sidecar(name, b"data")))
    draft.rename(world.buffer / ".quarantine" / f"{name}.json")
    with world.store.write() as connection:
        ask_again(connection, quarantined_files(connection), world.site, world.now, "somebody")
    world.settle_for(60)
    assert world.states() == {name: "declared"}
    assert in_buffer(world) == {name, f"{name}.json"}


def test_a_second_bad_file_of_a_name_gets_a_place_of_its_own(world: Any) -> None:
    for data in (b"data", b"date"):
        name = world.put(data=data, sidecar=world.sidecar(world.raw_name(0), b"atad"))
        world.settle_for(60)
    assert {f".quarantine/{name}", f".quarantine/2/{name}"} <= in_buffer(world)


def released(world: Any, folder: str) -> None:
    """Files of trigger primitives leave for `folder`, when their time is over."""
    physics, tp = world.site.streams
    tp = tp.model_copy(update={"release": tp.release.model_copy(update={"move_to": folder})})
    world.site = world.site.model_copy(update={"streams": (physics, tp)})


def age(world: Any) -> None:
    """Let the lifetime pass; files are as old as their sidecars, which the real clock made."""
    world.now = (world.buffer / ".buffer").stat().st_mtime + 25 * 3600
    world.settle_for(20, tick=5)


def test_a_file_that_leaves_is_moved_inside_the_server(world: Any, server: XrootdServer, remote: str) -> None:
    folder = f"{remote}-released"
    released(world, folder)
    name = world.put(kind="tp")
    world.settle()
    age(world)
    assert world.states() == {name: "leaving"}, "a folder for released files that is not there is not made"
    assert in_buffer(world) == {name, f"{name}.json"}
    server.make_folder("/" + folder.rpartition("//")[2])
    world.settle_for(60)
    assert world.states() == {name: "left"}
    assert world.file(name).path == within(folder, name)
    assert in_buffer(world) == set()
    assert storage_of(folder).listing(folder).keys() == {name, f"{name}.json"}


def test_a_file_that_leaves_for_a_local_disk_is_copied(world: Any, tmp_path: Path) -> None:
    released(world, str(tmp_path))
    name = world.put(kind="tp")
    data = (world.buffer / name).read_bytes()
    world.settle()
    age(world)
    assert world.states() == {name: "left"}
    assert (tmp_path / name).read_bytes() == data
    assert (tmp_path / f"{name}.json").exists()
    assert in_buffer(world) == set()


def test_a_server_that_is_away_is_no_absence_and_no_bad_data(world: Any, server: XrootdServer) -> None:
    first = world.put(0)
    world.settle()
    server.kill()
    try:
        second = world.put(1)
        world.settle_for(120, tick=20)
        assert world.states() == {first: "declared"}
        assert list(world.daemon.outages.now()) == [f"buffer:{world.site.buffer.path}"]
    finally:
        server.start()
    world.settle_for(120, tick=20)
    assert world.states() == {first: "declared", second: "declared"}


def test_a_server_that_goes_away_while_files_are_verified_costs_only_time(world: Any, server: XrootdServer) -> None:
    names = {world.put(index) for index in range(5)}
    world.daemon._arrivals.take()
    server.kill()
    try:
        world.daemon._verifier.start(buffer=True)
        world.daemon._verifier.finish(10.0)
        assert set(world.states().values()) == {"found"}
    finally:
        server.start()
    world.settle_for(300, tick=20)
    assert world.states() == dict.fromkeys(names, "declared")


def test_a_file_removed_by_others_is_gone(world: Any) -> None:
    name = world.put()
    world.settle()
    (world.buffer / name).unlink()
    world.settle_for(5)
    assert world.states() == {name: "gone"}


def test_a_declared_file_that_is_overwritten_is_a_conflict(world: Any) -> None:
    name = world.put(data=b"the first")
    world.settle()
    world.put(data=b"the second")
    world.settle()
    assert world.states() == {name: "conflict"}


def test_folders_and_strange_files_are_told_apart(world: Any, server: XrootdServer, remote: str) -> None:
    server.make_folder("/" + remote.rpartition("//")[2] + "/folder")
    (world.buffer / "stranger").touch()
    world.settle()
    assert world.states() == {"stranger": "unmatched"}


def test_what_would_be_done_is_told(world: Any) -> None:
    name = world.put()
    (prospect,) = preview(world.site, world.store)
    assert (prospect.name, prospect.would) == (name, "verify, declare in hd-protodune:hd-protodune_28049, process as stream physics")


def test_workers_are_told_where_the_buffer_is_for_them(world: Any, remote: str) -> None:
    name = world.put()
    world.settle()
    assert path_below(world.file(name).path, remote) == name
