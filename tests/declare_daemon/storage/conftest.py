"""A real XRootD server, started once a module, and a fresh folder in each kind of storage for every test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.servers.xrootd import XrootdServer

_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[XrootdServer]:
    if (reason := XrootdServer.missing()) is not None:
        pytest.skip(reason)
    # Not below pytest's folders: as root the server is another user, and those are closed to others.
    with tempfile.TemporaryDirectory(prefix="xrootd-") as folder, XrootdServer(Path(folder)) as running:
        yield running


@pytest.fixture
def remote(server: XrootdServer) -> str:
    """A folder on the server, empty."""
    return server.make_folder(f"/eos/test{os.getpid()}-{next(_numbers)}")


@pytest.fixture
def local(tmp_path: Path) -> str:
    """A local folder, empty."""
    return str(tmp_path)


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest) -> str:
    """An empty folder, once of each kind of storage."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checksums are asked for at once; nobody here asks for one of an unfinished file."""
    monkeypatch.setattr("declare_daemon.storage.xrootd.SETTLE_S", 0.0)
