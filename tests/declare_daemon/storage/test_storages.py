"""What every storage does alike, on a local disk and on an XRootD server."""

from __future__ import annotations

import zlib
from pathlib import Path
from threading import Event

import pytest

from declare_daemon.moves import MissingError, move_with_sidecar, remove_with_sidecar
from declare_daemon.storage import Storage, exists, name_of, parent_of, sidecar_of, storage_of, within
from dune_prompt.errors import ConflictError, TransientError

pytestmark = pytest.mark.usefixtures("settled")

DATA = bytes(range(256)) * 5000
CONTENT = (len(DATA), f"{zlib.adler32(DATA):08x}")


@pytest.fixture
def storage(folder: str) -> Storage:
    return storage_of(folder)


def put(place: str, content: bytes = DATA) -> str:
    storage_of(place).receive(place, [memoryview(content)])
    return place


def names(folder: str) -> set[str]:
    return set(storage_of(folder).listing(folder))


def test_what_was_written_is_there(storage: Storage, folder: str) -> None:
    place = put(within(folder, "x"))
    status = storage.stat(place)
    assert (status.size_bytes, status.is_file, status.is_folder) == (len(DATA), True, False)
    assert storage.read(place, 3) == DATA[:3]
    assert storage.read(place, 1 << 30) == DATA
    assert b"".join(bytes(piece) for piece in storage.pieces(place)) == DATA
    with storage.open(place) as file:
        file.seek(256)
        assert file.read(2) == b"\0\1"
    assert names(folder) == {"x"}


def test_a_file_can_be_read_by_others(folder: str, server: object) -> None:
    place = put(within(folder, "x"))
    path = server.local("/" + place.split("//")[2]) if place.startswith("root://") else Path(place)  # type: ignore[attr-defined]
    assert path.stat().st_mode & 0o044 == 0o044


def test_a_folder_is_told_from_a_file(storage: Storage, folder: str) -> None:
    deep = within(within(folder, "a"), "b")
    for _ in range(2):
        storage.make_folder(deep)
    status = storage.stat(deep)
    assert (status.is_file, status.is_folder) == (False, True)


def test_checksums_are_those_of_the_content(storage: Storage, folder: str) -> None:
    place = put(within(folder, "x"))
    assert storage.adler32(place, new=True) == CONTENT
    assert storage.adler32(place) == CONTENT
    assert storage.adler32_of_content(place) == CONTENT
    empty = put(within(folder, "empty"), b"")
    assert storage.adler32(empty) == storage.adler32_of_content(empty) == (0, "00000001")


def test_reading_ends_when_the_daemon_stops(storage: Storage, folder: str) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(TransientError, match="stopped"):
        storage.adler32_of_content(put(within(folder, "x")), stop)


def test_a_name_taken_by_another_file_has_another_number(storage: Storage, folder: str) -> None:
    place = put(within(folder, "x"), b"one")
    put(within(folder, "y"))
    before = storage.listing(folder)
    assert storage.listing(folder) == before
    put(within(folder, "new"), b"two")
    storage.remove(place)
    storage.rename(within(folder, "new"), place)
    after = storage.listing(folder)
    assert after["x"] != before["x"]
    assert after["y"] == before["y"]


def test_a_small_file_is_replaced_in_one_step(storage: Storage, folder: str) -> None:
    place = within(folder, "reason.json")
    for content in (b"one", b"another", b""):
        storage.write(place, content)
        assert storage.read(place, 100) == content
    assert names(folder) == {"reason.json"}


def test_a_rename_overwrites_nothing(storage: Storage, folder: str) -> None:
    one, other = put(within(folder, "one")), put(within(folder, "other"), b"other")
    with pytest.raises(FileExistsError):
        storage.rename(one, other)
    assert storage.read(other, 100) == b"other"
    storage.remove(other)
    storage.rename(one, other)
    assert names(folder) == {"other"}


def test_what_is_missing_is_said_to_be_missing_by_name(storage: Storage, folder: str) -> None:
    nowhere = within(folder, "nowhere")
    for call in (
        lambda: storage.stat(nowhere),
        lambda: storage.read(nowhere, 1),
        lambda: storage.open(nowhere),
        lambda: storage.adler32(nowhere),
        lambda: storage.remove(nowhere),
        lambda: storage.rename(nowhere, within(folder, "y")),
        lambda: storage.listing(nowhere),
    ):
        with pytest.raises(FileNotFoundError) as raised:
            call()
        assert raised.value.filename == nowhere
        assert raised.value.strerror
    assert not exists(nowhere)


# -- files with their sidecars -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["inside", "to another storage"])
def far(request: pytest.FixtureRequest, folder: str, local: str, remote: str) -> str:
    """A folder to move to."""
    home = folder if request.param == "inside" else local if folder == remote else remote
    place = within(home, "far")
    storage_of(place).make_folder(place)
    return place


@pytest.fixture
def source(folder: str) -> str:
    storage_of(folder).make_folder(within(folder, "near"))
    place = put(within(within(folder, "near"), "x"))
    put(sidecar_of(place), b"{}")
    return place


@pytest.mark.parametrize("done", ["nothing", "data", "all"])
def test_a_move_may_be_repeated_after_any_part_of_it(source: str, far: str, done: str) -> None:
    target = within(far, "x")
    for near, there, when in ((source, target, ("data", "all")), (sidecar_of(source), sidecar_of(target), ("all",))):
        if done in when:
            put(there, storage_of(near).read(near, 1 << 30))
            storage_of(near).remove(near)
    for _ in range(2):
        move_with_sidecar(source, target, CONTENT[1])
    assert names(far) == {"x", "x.json"}
    assert names(parent_of(source)) == set()
    assert storage_of(target).adler32_of_content(target) == CONTENT


def test_a_copy_that_was_finished_but_whose_source_is_still_there_is_ended(source: str, far: str) -> None:
    put(within(far, "x"))
    move_with_sidecar(source, within(far, "x"))
    assert names(parent_of(source)) == set()


def test_a_move_overwrites_neither_data_nor_sidecar(source: str, far: str) -> None:
    target = within(far, "x")
    put(sidecar_of(target), b"[]")
    with pytest.raises(ConflictError, match="another sidecar"):
        move_with_sidecar(source, target)
    storage_of(far).remove(sidecar_of(target))
    put(target, DATA[::-1])
    with pytest.raises(ConflictError, match="another file"):
        move_with_sidecar(source, target)
    assert names(parent_of(source)) == {"x", "x.json"}
    assert storage_of(target).read(target, 1 << 30) == DATA[::-1]


def test_what_is_nowhere_is_missing(folder: str, far: str) -> None:
    with pytest.raises(MissingError, match="gone: neither at"):
        move_with_sidecar(within(folder, "gone"), within(far, "gone"))


@pytest.mark.parametrize("done", ["nothing", "data", "all"])
def test_a_removal_may_be_repeated_after_any_part_of_it(source: str, done: str) -> None:
    if done != "nothing":
        storage_of(source).remove(source)
    if done == "all":
        storage_of(source).remove(sidecar_of(source))
    for _ in range(2):
        remove_with_sidecar(source)
    assert names(parent_of(source)) == set()


def test_the_data_are_removed_before_the_sidecar(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    removed = []
    monkeypatch.setattr(type(storage_of(source)), "remove", lambda _, place: removed.append(name_of(place)))
    remove_with_sidecar(source)
    assert removed == ["x", "x.json"]
