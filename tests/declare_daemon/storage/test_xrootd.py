"""What only a server can do: be away, hang, come back, refuse, remember a wrong checksum."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from declare_daemon.root_attributes import _attributes, root_metadata
from declare_daemon.scanner import FolderAwayError, list_folder
from declare_daemon.storage import SETTLE_S, exists, measured, storage_of, within
from declare_daemon.storage.xrootd import XRootDStorage, _client
from dune_prompt.errors import ConfigError, TransientError
from tests.servers.xrootd import XrootdServer

DATA = b"all of the data"
CONTENT = (len(DATA), f"{zlib.adler32(DATA):08x}")


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(server: XrootdServer, clock: Clock) -> XRootDStorage:
    return XRootDStorage(server.address, clock=clock)


@pytest.fixture
def path(remote: str) -> str:
    """The path on the server of a file in an empty folder."""
    return "/" + remote.rpartition("//")[2] + "/x"


@pytest.fixture
def place(server: XrootdServer, path: str) -> str:
    return server.put(path, DATA)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("declare_daemon.storage.xrootd.CALL_S", 1)


@pytest.fixture
def away(server: XrootdServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@pytest.fixture
def trapped(server: XrootdServer, path: str) -> str:
    """A file whose checksum was asked for when half of it was written, and that was finished within the same second."""
    place = server.put(path, DATA[:5])
    when = server.local(path).stat().st_mtime
    storage_of(place).adler32(place, new=True)
    server.put(path, DATA)
    os.utime(server.local(path), (when, when))
    assert storage_of(place).adler32(place, new=True) == (len(DATA), f"{zlib.adler32(DATA[:5]):08x}"), "this server remembers nothing"
    return place


# -- checksums -----------------------------------------------------------------------------------------------------------------------------


def test_a_checksum_is_not_asked_for_before_the_file_has_stayed_the_same(storage: XRootDStorage, clock: Clock, place: str) -> None:
    with pytest.raises(TransientError, match="changed a moment ago"):
        storage.adler32(place)
    clock.now += SETTLE_S - 0.1
    with pytest.raises(TransientError):
        storage.adler32(place)
    clock.now += 0.2
    assert storage.adler32(place) == CONTENT


def test_a_change_starts_the_waiting_again(storage: XRootDStorage, clock: Clock, server: XrootdServer, path: str, place: str) -> None:
    with pytest.raises(TransientError):
        storage.adler32(place)
    clock.now += SETTLE_S
    server.put(path, DATA + b"!")
    with pytest.raises(TransientError):
        storage.adler32(place)
    clock.now += SETTLE_S
    assert storage.adler32(place)[0] == len(DATA) + 1


def test_what_a_listing_saw_long_enough_ago_needs_no_waiting(storage: XRootDStorage, clock: Clock, remote: str, place: str) -> None:
    storage.listing(remote)
    clock.now += SETTLE_S / 2
    storage.listing(remote)
    clock.now += SETTLE_S / 2
    assert storage.adler32(place) == CONTENT


@pytest.mark.parametrize("ahead_s", [-1e6, 1e6])
def test_the_clock_of_the_server_does_not_matter(
    storage: XRootDStorage, clock: Clock, server: XrootdServer, path: str, place: str, ahead_s: float
) -> None:
    when = server.local(path).stat().st_mtime + ahead_s
    os.utime(server.local(path), (when, when))
    with pytest.raises(TransientError):
        storage.adler32(place)
    clock.now += SETTLE_S
    assert storage.adler32(place) == CONTENT


def test_a_file_that_changes_while_its_checksum_is_asked_for_is_asked_again(
    storage: XRootDStorage, clock: Clock, server: XrootdServer, path: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(place: str, size_bytes: int) -> str:
        server.put(path, DATA + b"more")
        return CONTENT[1]

    monkeypatch.setattr(storage, "_known_adler32", slowly)
    with pytest.raises(TransientError, match="changed while"):
        storage.adler32(place, new=True)


def test_good_data_are_believed_though_the_server_remembers_a_wrong_checksum(trapped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("declare_daemon.storage.xrootd.SETTLE_S", 0.0)
    assert measured(trapped, CONTENT) == CONTENT
    assert measured(trapped, (len(DATA), "00000000")) == CONTENT


def test_a_server_without_checksums_is_read() -> None:
    with tempfile.TemporaryDirectory(prefix="xrootd-") as folder, XrootdServer(Path(folder), checksums=False) as server:
        place = server.put("/eos/x", DATA)
        assert storage_of(place).adler32(place, new=True) == CONTENT


# -- errors --------------------------------------------------------------------------------------------------------------------------------


def _calls(place: str) -> list[Callable[[], Any]]:
    storage = storage_of(place)
    folder = place.rpartition("/")[0]
    return [
        lambda: exists(place),
        lambda: storage.listing(folder),
        lambda: storage.read(place, 10),
        lambda: storage.adler32(place, new=True),
        lambda: storage.adler32_of_content(place),
        lambda: storage.write(place, b"x"),
        lambda: storage.rename(place, f"{place}2"),
        lambda: storage.remove(place),
        lambda: storage.make_folder(folder),
    ]


def test_a_server_that_is_away_is_no_absence(place: str, away: None) -> None:
    for call in _calls(place):
        with pytest.raises(OSError, match="Connection error") as raised:
            call()
        assert not isinstance(raised.value, FileNotFoundError)


def test_a_server_that_is_back_is_used_at_once(server: XrootdServer, place: str) -> None:
    server.kill()
    for _ in range(3):
        with pytest.raises(OSError, match="Connection error"):
            exists(place)
    server.start()
    assert exists(place)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_holds_no_thread_for_ever(server: XrootdServer, place: str) -> None:
    assert exists(place)
    server.freeze()
    try:
        for call in (lambda: exists(place), lambda: storage_of(place).read(place, 10), lambda: storage_of(place).remove(place)):
            with pytest.raises(TimeoutError, match="no answer in time"):
                call()
    finally:
        server.thaw()
    assert exists(server.put("/eos/after", DATA))


def test_what_the_server_does_not_allow_is_refused(server: XrootdServer) -> None:
    with pytest.raises(PermissionError):
        storage_of(server.address).stat(server.url("/etc/passwd"))


def test_a_server_nobody_knows_is_away() -> None:
    with pytest.raises(OSError, match="Invalid address"):
        exists("root://nowhere.invalid//eos/x")


def test_a_file_of_the_server_that_others_may_not_read_is_refused(server: XrootdServer, path: str, place: str) -> None:
    server.local(path).chmod(0)
    with pytest.raises(PermissionError, match="permission denied"):
        storage_of(place).read(place, 1)


def test_without_the_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "XRootD.client", None)
    with pytest.raises(ConfigError, match=r"dune-prompt\[dune\]"):
        _client.__wrapped__()


def test_what_the_operator_set_for_the_client_stays() -> None:
    code = "from declare_daemon.storage.xrootd import _client as c; print(*map(c().EnvGetInt, ('ConnectionWindow', 'RunForkHandler')))"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("XRD_")} | {"XRD_CONNECTIONWINDOW": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["7", "0"]


def test_other_programs_are_started_while_files_are_read(place: str) -> None:
    code = """
import subprocess, sys, threading
from declare_daemon.storage import storage_of
place, done = sys.argv[1], threading.Event()
def read():
    while not done.is_set():
        storage_of(place).read(place, 10)
threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(100):
    subprocess.run(["true"], check=True, preexec_fn=int)  # a real fork
done.set()
for thread in threads:
    thread.join()
"""
    subprocess.run([sys.executable, "-c", code, place], check=True, timeout=60)


# -- folders and HDF5 files ----------------------------------------------------------------------------------------------------------------


def test_a_folder_without_its_sentinel_or_its_server_is_away(server: XrootdServer, remote: str, place: str) -> None:
    with pytest.raises(FolderAwayError, match="sentinel"):
        list_folder(remote, ".buffer")
    storage_of(remote).write(within(remote, ".buffer"), b"")
    assert list_folder(remote, ".buffer").keys() == {".buffer", "x"}
    server.kill()
    try:
        with pytest.raises(FolderAwayError, match="cannot be listed"):
            list_folder(remote, ".buffer")
    finally:
        server.start()


def test_strange_names_are_listed_in_ascii(storage: XRootDStorage, server: XrootdServer, remote: str, path: str) -> None:
    server.put(path + "ä b", b"")
    assert storage.listing(remote).keys() == {"x\\xe4 b"}


def test_a_name_that_is_no_text_is_said_to_be_the_trouble(storage: XRootDStorage, server: XrootdServer, remote: str, path: str) -> None:
    server.put(path + "\udcff", b"")
    with pytest.raises(OSError, match="not UTF-8"):
        storage.listing(remote)


def test_root_attributes_are_read_through_the_server(server: XrootdServer, path: str, tiny_hdf5: Any, tmp_path: Path) -> None:
    tiny_hdf5(tmp_path / "x.hdf5")
    place = server.put(path, (tmp_path / "x.hdf5").read_bytes())
    assert root_metadata(place) == root_metadata(str(tmp_path / "x.hdf5"))


def test_a_server_that_goes_away_while_attributes_are_read_is_no_bad_data(
    server: XrootdServer, path: str, tiny_hdf5: Any, tmp_path: Path
) -> None:
    tiny_hdf5(tmp_path / "x.hdf5")
    place = server.put(path, (tmp_path / "x.hdf5").read_bytes())
    with storage_of(place).open(place) as file:
        server.kill()
        try:
            with pytest.raises(OSError, match="Connection error"):
                _attributes(file, place)
        finally:
            server.start()
