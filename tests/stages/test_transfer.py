"""Copies in and out: only whole files count, nothing half-written keeps a final name, and the class of a failure says who can mend it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import zlib
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dune_prompt.errors import TransientError
from dune_prompt.records import InputFile, Output
from stages import storage, transfer
from stages.errors import InputAwayError, SiteError
from stages.storage import Mounted, Storage, storage_of
from stages.transfer import Inputs, Outputs
from stages.xrootd import Commands, Module
from tests.servers.xrootd import XrootdServer

CONTENT = bytes(range(256)) * 40


def adler32(content: bytes) -> str:
    return f"{zlib.adler32(content):08x}"


def raw(*places: object, content: bytes = CONTENT, **changes: Any) -> InputFile:
    known = {"size_bytes": len(content), "adler32": adler32(content)}
    return InputFile("x.hdf5", tuple(str(place) for place in places), did="ns:x.hdf5", **(known | changes))


def write(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, without their time."""
    return []


@pytest.fixture
def inputs(tmp_path: Path, slept: list[float]) -> Inputs:
    (tmp_path / "scratch").mkdir()
    return Inputs(tmp_path / "scratch", copy_mounted=True, sleep=slept.append)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder outputs of all attempts go to, as the engine has made it."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / "attempts" / "01A"


@pytest.fixture
def outputs(tmp_path: Path, place: Path, slept: list[float]) -> Outputs:
    (tmp_path / "out").mkdir()
    return Outputs(tmp_path / "out", str(place), tmp_path, sleep=slept.append)


def made(folder: Path, name: str, *, declared: bool = False, content: bytes = CONTENT) -> Output:
    write(folder / name, content)
    if declared:
        write(folder / f"{name}.json", b"{}")
    return Output(name, len(content), adler32(content), declared)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# inputs


def test_the_first_whole_copy_is_taken_and_only_once(tmp_path: Path, inputs: Inputs, slept: list[float]) -> None:
    short, swapped = write(tmp_path / "a", CONTENT[:-1]), write(tmp_path / "b", CONTENT[::-1])
    good = write(tmp_path / "c")
    item = raw(tmp_path / "gone", short, swapped, good)
    copy = inputs.locate(item)
    assert copy.read_bytes() == CONTENT
    assert copy.name == "x.hdf5"
    assert (inputs.copied_bytes, slept) == (len(CONTENT), [])
    good.unlink()
    assert inputs.locate(item) == copy
    inputs.remove()
    assert not copy.exists()


def test_an_input_that_is_whole_nowhere_leaves_nothing_and_is_no_fault_of_the_payload(tmp_path: Path, inputs: Inputs) -> None:
    short = write(tmp_path / "a", CONTENT[:-1])
    with pytest.raises(InputAwayError, match="10239 bytes, not 10240") as raised:
        inputs.locate(raw(short, tmp_path / "gone"))
    assert raised.value.error_class == "input"
    assert files_in(inputs.folder) == []


def test_places_that_answered_badly_are_tried_again_those_without_the_file_are_not(
    tmp_path: Path, inputs: Inputs, slept: list[float]
) -> None:
    with pytest.raises(InputAwayError):
        inputs.locate(raw(tmp_path / "gone"))
    assert slept == []
    with pytest.raises(InputAwayError):
        inputs.locate(raw(tmp_path, tmp_path / "gone"))  # a folder: no file, but something is there
    assert slept == [5.0]
    with pytest.raises(InputAwayError, match="no place is known"):
        inputs.locate(raw())


def test_an_input_larger_than_the_scratch_space_is_not_begun(tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9, 1000))
    with pytest.raises(SiteError, match="no room for x"):
        inputs.locate(raw(write(tmp_path / "a")))


def test_a_scratch_space_that_fills_up_is_the_sites_trouble(tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_source: object, _target: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(SiteError, match="no room"):
        inputs.locate(raw(write(tmp_path / "a"), size_bytes=None))


def test_a_real_full_disk_is_found_out(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)], capture_output=True).returncode:
        return  # the test before this one says the same without a real disk
    try:
        big = write(tmp_path / "big", bytes(500_000))
        with pytest.raises(SiteError, match="no room"):
            Inputs(full, copy_mounted=True).locate(raw(big, size_bytes=None, adler32=None))
        assert files_in(full) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_read_in_place_means_no_copy(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path / "never-made", copy_mounted=False)
    assert inputs.locate(raw("root://127.0.0.1:1//x", write(tmp_path / "a"))) == tmp_path / "a"


@pytest.mark.parametrize("stage", ["raw", "nf_sp"])
def test_with_a_derived_file_comes_its_sidecar_if_it_still_has_one(tmp_path: Path, inputs: Inputs, stage: str) -> None:
    write(tmp_path / "a" / "x.npz")
    write(tmp_path / "a" / "x.npz.json", b"{}")
    write(tmp_path / "a" / "y.npz")
    x, y = (InputFile(name, (str(tmp_path / "a" / name),), did=f"ns:{name}", stage=stage) for name in ("x.npz", "y.npz"))
    folder = inputs.locate(x).parent
    inputs.locate(y)
    assert files_in(folder) == ["x.npz", "x.npz.json", "y.npz"] if stage == "nf_sp" else ["x.npz", "y.npz"]


def test_a_worker_with_nothing_to_read_a_server_with_says_what_is_missing(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.shutil, "which", lambda _name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(SiteError, match="neither the commands xrdcp and xrdfs nor the Python module XRootD"):
        inputs.locate(raw("root://127.0.0.1//eos/x"))


@pytest.mark.parametrize("address", ["https://x/y", "root://", "root://host", "gsiftp://x//y"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(SiteError, match="neither a path nor a root:// address"):
        storage_of(address)


# outputs


def test_outputs_come_with_their_sidecars_and_final_names(tmp_path: Path, outputs: Outputs, place: Path) -> None:
    outputs.deliver([made(tmp_path / "out", "x.npz", declared=True), made(tmp_path / "out", "quality.json")])
    assert files_in(place) == ["quality.json", "x.npz", "x.npz.json"]
    assert (place / "x.npz").read_bytes() == CONTENT
    assert outputs.copied_bytes == 2 * len(CONTENT)


def test_delivering_again_gives_the_same(tmp_path: Path, outputs: Outputs, place: Path) -> None:
    output = made(tmp_path / "out", "x.npz", declared=True)
    write(place / "x.npz.part", b"of a try before")
    outputs.deliver([output])
    outputs.deliver([output])
    assert files_in(place) == ["x.npz", "x.npz.json"]


def test_a_copy_that_is_not_the_same_is_never_called_final(
    tmp_path: Path, outputs: Outputs, place: Path, monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    def lose_a_byte(_self: Mounted, source: Path, target: str) -> None:
        write(Path(target), source.read_bytes()[:-1])

    monkeypatch.setattr(Mounted, "store", lose_a_byte)
    with pytest.raises(TransientError, match="10239 bytes") as raised:
        outputs.deliver([made(tmp_path / "out", "x.npz")])
    assert raised.value.error_class == "transient"
    assert files_in(place) == []
    assert slept == [3.0, 15.0, 60.0]


def test_a_full_place_is_waited_for(
    tmp_path: Path, outputs: Outputs, place: Path, monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    store, full = Mounted.store, [1, 1]

    def store_when_there_is_room(self: Mounted, source: Path, target: str) -> None:
        if full:
            full.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
        store(self, source, target)

    monkeypatch.setattr(Mounted, "store", store_when_there_is_room)
    outputs.deliver([made(tmp_path / "out", "x.npz")])
    assert files_in(place) == ["x.npz"]
    assert slept == [3.0, 15.0]


def test_a_place_that_is_not_mounted_here_is_the_sites_trouble_and_is_not_made_up(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    outputs = Outputs(tmp_path / "out", str(tmp_path / "eos" / "outbox" / "attempts" / "01A"), tmp_path)
    with pytest.raises(SiteError, match="this worker cannot write there"):
        outputs.deliver([made(tmp_path / "out", "x.npz")])
    assert not (tmp_path / "eos").exists()


def test_a_place_we_may_not_write_to_is_the_sites_trouble(tmp_path: Path, outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Mounted, _source: Path, target: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)

    monkeypatch.setattr(Mounted, "store", refuse)
    with pytest.raises(SiteError, match="Permission denied"):
        outputs.deliver([made(tmp_path / "out", "x.npz")])


# a real server


@pytest.fixture(scope="module", params=[True, False], ids=["checksums", "no checksums"])
def server(request: pytest.FixtureRequest) -> Iterator[XrootdServer]:
    if missing := XrootdServer.missing():
        pytest.skip(missing)
    with tempfile.TemporaryDirectory() as folder, XrootdServer(Path(folder), checksums=request.param) as server:
        server.make_folder("/eos/outbox")
        yield server


@pytest.fixture(params=[Commands, Module])
def remote(request: pytest.FixtureRequest, server: XrootdServer) -> Storage:
    opened: Storage = request.param(server.address)
    return opened


def test_a_server_keeps_and_gives_back_what_it_was_given(tmp_path: Path, server: XrootdServer, remote: Storage) -> None:
    folder = server.url(f"/eos/outbox/attempts/{tmp_path.name}-{type(remote).__name__}")
    remote.store(write(tmp_path / "a"), f"{folder}/x.part")
    assert remote.adler32(f"{folder}/x.part", tmp_path / "back") == (len(CONTENT), adler32(CONTENT))
    remote.rename(f"{folder}/x.part", f"{folder}/x")
    assert (remote.exists(f"{folder}/x"), remote.exists(f"{folder}/x.part")) == (True, False)
    for size in (None, len(CONTENT)):
        remote.fetch(f"{folder}/x", tmp_path / "b", size)
        assert (tmp_path / "b").read_bytes() == CONTENT
    remote.remove(f"{folder}/x")
    remote.remove(f"{folder}/x")
    with pytest.raises(FileNotFoundError):
        remote.fetch(f"{folder}/x", tmp_path / "c", None)
    assert not (tmp_path / "back").exists()


def test_what_a_server_refuses_is_no_access(tmp_path: Path, server: XrootdServer, remote: Storage) -> None:
    with pytest.raises(PermissionError):
        remote.store(write(tmp_path / "a"), server.url("/elsewhere/x"))


def test_a_job_copies_from_a_server_and_to_it(tmp_path: Path, server: XrootdServer, inputs: Inputs) -> None:
    whole, short = server.put("/eos/x.hdf5", CONTENT), server.put("/eos/short.hdf5", CONTENT[:-1])
    assert inputs.locate(raw(server.url("/eos/gone"), short, whole)).read_bytes() == CONTENT
    (tmp_path / "out").mkdir()
    outputs = Outputs(tmp_path / "out", server.url(f"/eos/outbox/attempts/{tmp_path.name}/"), tmp_path)
    outputs.deliver([made(tmp_path / "out", "x.npz", declared=True)])
    outputs.leave_report(write(tmp_path / "anything.json", b"{}"), patiently=True)
    assert files_in(server.local(f"/eos/outbox/attempts/{tmp_path.name}")) == ["report.json", "x.npz", "x.npz.json"]


def test_a_server_that_is_away_is_waited_for_and_then_told_as_it_is(
    tmp_path: Path, inputs: Inputs, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := XrootdServer.missing():
        pytest.skip(missing)
    monkeypatch.setenv("XRD_CONNECTIONWINDOW", "1")
    monkeypatch.setenv("XRD_CONNECTIONRETRY", "1")
    away = "root://127.0.0.1:1//eos"
    with pytest.raises(InputAwayError, match="onnection"):
        inputs.locate(raw(f"{away}/x"))
    (tmp_path / "out").mkdir()
    outputs = Outputs(tmp_path / "out", f"{away}/attempts/01A", tmp_path, sleep=slept.append)
    with pytest.raises(TransientError) as raised:
        outputs.deliver([made(tmp_path / "out", "x.npz")])
    assert raised.value.error_class == "transient"
    assert slept == [5.0, 3.0, 15.0, 60.0]


def test_scratch_is_where_the_batch_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setenv("_CONDOR_SCRATCH_DIR", str(tmp_path))
    assert transfer.temporary_folder().parent == tmp_path
    monkeypatch.setenv("_CONDOR_SCRATCH_DIR", str(tmp_path / "gone"))
    with pytest.raises(SiteError, match="no folder for the job's files"):
        transfer.temporary_folder()
