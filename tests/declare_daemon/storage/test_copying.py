"""Copies between any two places: verified, over nothing that is there, and again after a kill at any point."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from declare_daemon.storage import copy, storage_of, within
from declare_daemon.storage.local import LocalStorage
from declare_daemon.storage.places import part_of
from declare_daemon.storage.protocol import Storage
from declare_daemon.storage.xrootd import XRootDStorage
from dune_prompt.errors import ConflictError, TransientError
from tests.servers.xrootd import XrootdServer

pytestmark = pytest.mark.usefixtures("settled")

# Three pieces as they come from a server.
DATA = os.urandom(17 << 20)
CONTENT = (len(DATA), f"{zlib.adler32(DATA):08x}")


class Killed(BaseException):
    """The process died here."""


@pytest.fixture(params=["local to local", "local to remote", "remote to local", "remote to remote"])
def way(request: pytest.FixtureRequest, local: str, remote: str) -> tuple[str, str]:
    """Where a copy comes from and goes to."""
    first, _, second = request.param.partition(" to ")
    folders = {"local": local, "remote": remote}
    for name, folder in ((first, "from"), (second, "to")):
        place = within(folders[name], folder)
        storage_of(place).make_folder(place)
    source = within(within(folders[first], "from"), "x")
    storage_of(source).receive(source, [memoryview(DATA)])
    return source, within(within(folders[second], "to"), "x")


def arrived(target: str) -> bool:
    """Whether the copy is there, whole and alone."""
    storage, folder = storage_of(target), target.rpartition("/")[0]
    return set(storage.listing(folder)) == {"x"} and storage.adler32_of_content(target) == CONTENT


def in_the_middle(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Have `act` called when a part of the next copy's source was read."""
    for kind in (LocalStorage, XRootDStorage):

        def pieces(storage: Storage, place: str, real: Any = kind.pieces) -> Iterator[memoryview]:
            for number, piece in enumerate(real(storage, place)):
                if number == 2:
                    act()
                yield piece

        monkeypatch.setattr(kind, "pieces", pieces)


def test_a_copy_is_whole_and_may_be_repeated(way: tuple[str, str]) -> None:
    for _ in range(2):
        copy(*way, CONTENT)
        assert arrived(way[1])
    assert storage_of(way[0]).adler32_of_content(way[0]) == CONTENT


def test_an_empty_file_is_copied(local: str, remote: str) -> None:
    source, target = within(local, "x"), within(remote, "x")
    Path(source).touch()
    copy(source, target, (0, "00000001"))
    assert storage_of(target).stat(target).size_bytes == 0


def test_a_kill_in_the_middle_leaves_nothing_that_looks_finished(way: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> None:
        raise Killed

    with monkeypatch.context() as patch:
        in_the_middle(patch, die)
        with pytest.raises(Killed):
            copy(*way, CONTENT)
    assert set(storage_of(way[1]).listing(way[1].rpartition("/")[0])) == {".x.part"}
    copy(*way, CONTENT)
    assert arrived(way[1])


def test_a_part_left_over_by_a_kill_is_replaced(way: tuple[str, str]) -> None:
    part = part_of(way[1])
    storage_of(part).receive(part, [memoryview(DATA + b"longer than the file itself")])
    copy(*way, CONTENT)
    assert arrived(way[1])


def test_a_copy_ends_when_the_daemon_stops(way: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Event()
    in_the_middle(monkeypatch, stop.set)
    with pytest.raises(TransientError, match="stopped"):
        copy(*way, CONTENT, stop)


def test_another_file_at_the_target_is_a_conflict_and_stays(way: tuple[str, str]) -> None:
    for other in (DATA[::-1], b"short"):
        storage_of(way[1]).receive(way[1], [memoryview(other)])
        with pytest.raises(ConflictError, match="another file of that name"):
            copy(*way, CONTENT)
        assert storage_of(way[1]).read(way[1], len(DATA)) == other


@pytest.mark.parametrize("changed", [DATA[:-1], DATA[1:] + DATA[:1]], ids=["shorter", "other"])
def test_a_source_that_changed_is_a_conflict_and_nothing_arrives(way: tuple[str, str], changed: bytes) -> None:
    storage_of(way[0]).receive(way[0], [memoryview(changed)])
    with pytest.raises(ConflictError, match=r"x: has \d+ bytes .*now, not"):
        copy(*way, CONTENT)
    assert storage_of(way[1]).listing(way[1].rpartition("/")[0]) == {}


def test_a_copy_that_is_damaged_on_its_way_does_not_arrive(way: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (LocalStorage, XRootDStorage):

        def damaged(storage: Storage, place: str, pieces: Any, real: Any = kind.receive) -> None:
            real(storage, place, (memoryview(bytes(piece)[:-1] + b"?") for piece in pieces))

        monkeypatch.setattr(kind, "receive", damaged)
    with pytest.raises(OSError, match="the copy has"):
        copy(*way, CONTENT)
    assert storage_of(way[1]).listing(way[1].rpartition("/")[0]) == {}
    monkeypatch.undo()
    monkeypatch.setattr("declare_daemon.storage.xrootd.SETTLE_S", 0.0)
    copy(*way, CONTENT)
    assert arrived(way[1])


@pytest.mark.parametrize("way", ["local to remote", "remote to local", "remote to remote"], indirect=True)
@pytest.mark.parametrize("comes_back", ["later", "at once"])
def test_a_server_killed_in_the_middle_of_a_copy_costs_nothing_but_time(
    way: tuple[str, str], server: XrootdServer, monkeypatch: pytest.MonkeyPatch, comes_back: str
) -> None:
    def restart() -> None:
        server.kill()
        if comes_back == "at once":
            server.start()

    with monkeypatch.context() as patch:
        in_the_middle(patch, restart)
        try:
            copy(*way, CONTENT)
        except OSError as error:
            assert not isinstance(error, FileNotFoundError)
        finally:
            if comes_back == "later":
                server.start()
    copy(*way, CONTENT)
    assert arrived(way[1])


def test_times_and_rights_go_along_on_a_local_disk(local: str) -> None:
    source, target = Path(local, "x"), Path(local, "y")
    source.write_bytes(DATA)
    source.chmod(0o640)
    os.utime(source, (1_750_000_000, 1_750_000_000))
    copy(str(source), str(target), CONTENT)
    assert (target.stat().st_mtime, target.stat().st_mode) == (source.stat().st_mtime, source.stat().st_mode)
