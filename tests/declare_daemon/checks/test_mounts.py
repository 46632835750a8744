"""The folders of an installation: what is looked at, what is written, and that nothing is left behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from declare_daemon.checks import Verdict
from declare_daemon.checks.mounts import Mount, check_buffer, check_folders, check_workspace, mount_of, read_mounts
from declare_daemon.storage import storage_of
from dune_prompt.settings import Site, load_site
from tests.servers.xrootd import XrootdServer

MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:40 / /eos rw,relatime shared:7 - fuse.eosxd eosxd rw
31 27 0:41 / /srv/with\040space rw,relatime - nfs4 server:/x rw
32 27 0:42 / /data rw,relatime - nfs server:/old rw
33 27 254:1 / /data rw,relatime - xfs /dev/vdb rw
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for folder in ("buffer", "workspace", "released"):
        (tmp_path / folder).mkdir()
    (tmp_path / "buffer" / ".buffer").touch()
    path = tmp_path / "site.yaml"
    path.write_text(
        "site: here\nworkspace: workspace\nbuffer: {path: buffer}\n"
        "streams: [{name: physics, pattern: 'np04hd_raw_run*.hdf5', release: {move_to: released}}]\n"
    )
    return load_site(path)


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_good_installation_is_tried_without_a_trace(site: Site, tmp_path: Path) -> None:
    before = everything_in(tmp_path)
    results = [*check_buffer(site), *check_workspace(site), *check_folders(site)]
    assert {result.verdict for result in results} == {Verdict.OK}
    assert everything_in(tmp_path) == before


def test_the_buffer_is_never_written(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("written")

    monkeypatch.setattr("declare_daemon.storage.local.LocalStorage.write", refuse)
    (result,) = check_buffer(site)
    assert result.verdict is Verdict.OK
    assert "1 entries, sentinel seen" in result.detail


def test_a_buffer_without_its_sentinel_is_away(site: Site) -> None:
    Path(site.buffer.path, ".buffer").unlink()
    (result,) = check_buffer(site)
    assert (result.verdict, result.error_class) == (Verdict.FAILED, "transient")
    assert "sentinel .buffer is missing" in result.detail


def test_a_buffer_that_is_not_there_is_away(site: Site) -> None:
    gone = site.model_copy(update={"buffer": site.buffer.model_copy(update={"path": "/nowhere/buffer"})})
    (result,) = check_buffer(gone)
    assert (result.error_class, result.detail) == ("transient", "/nowhere/buffer: No such file or directory")


def test_a_buffer_that_files_cannot_leave_is_a_matter_of_rights(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    (result,) = check_buffer(site)
    assert (result.error_class, "streams physics" in result.detail) == ("configuration", True)


def test_a_buffer_that_nothing_leaves_may_be_read_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    streams = tuple(stream.model_copy(update={"release": type(stream.release)()}) for stream in site.streams)
    (result,) = check_buffer(site.model_copy(update={"streams": streams}))
    assert result.verdict is Verdict.OK


def test_sqlite_on_a_network_file_system_is_refused(site: Site) -> None:
    (result,) = check_workspace(site, [Mount(Path("/"), "nfs4")])
    assert (result.error_class, "need a local disk" in result.detail) == ("configuration", True)


def test_with_databases_elsewhere_the_workspace_may_be_anywhere(site: Site) -> None:
    outside = site.model_copy(update={"store": "postgresql+psycopg://host/prompt", "catalogs": ()})
    (result,) = check_workspace(outside, [Mount(Path("/"), "nfs4")])
    assert result.verdict is Verdict.OK


def test_a_workspace_that_is_missing_is_not_made(site: Site) -> None:
    site.workspace.rmdir()
    (result,) = check_workspace(site)
    assert (result.error_class, "no such folder" in result.detail) == ("configuration", True)
    assert not site.workspace.exists()


def test_a_folder_whose_files_come_back_changed_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("declare_daemon.storage.local.LocalStorage.read", lambda *_: b"something else")
    results = check_folders(site, ["/nowhere/outputs"])
    verdicts = {result.what.split()[0]: (result.verdict, result.detail) for result in results}
    assert verdicts["outbox"][0] is Verdict.OK  # the daemon makes it
    assert "other content" in verdicts["released"][1]
    assert verdicts["outputs"][0] is Verdict.FAILED


@pytest.fixture
def xrootd() -> Iterator[XrootdServer]:
    if (reason := XrootdServer.missing()) is not None:
        pytest.skip(reason)
    # Not below pytest's folders: as root the server is another user, and those are closed to others.
    with tempfile.TemporaryDirectory(prefix="xrootd-") as folder:
        Path(folder).chmod(0o755)
        with XrootdServer(Path(folder)) as running:
            yield running


def test_a_buffer_and_a_storage_element_behind_xrootd_are_tried(site: Site, xrootd: XrootdServer) -> None:
    url = xrootd.url("/eos/buffer")
    path = site.workspace.parent / "xrootd.yaml"
    path.write_text(
        f"site: here\nworkspace: workspace\nbuffer: {{path: '{url}'}}\n"
        "streams: [{name: a, pattern: 'x*', release: {delete: true}}]\n"
        f"catalogs: [{{kind: embedded}}, {{kind: rucio, rse: A, place: true, place_url: '{url}'}}]\n"
    )
    remote, storage = load_site(path), storage_of(url)
    (away,) = check_buffer(remote)
    assert (away.verdict, away.error_class) == (Verdict.FAILED, "transient")
    storage.make_folder(url)
    storage.write(f"{url}/.buffer", b"")
    assert [result.detail for result in check_buffer(remote)] == [
        "1 entries, sentinel seen, whether files may leave shows only when one does"
    ]
    assert [result.verdict for result in check_folders(remote)] == [Verdict.OK] * 3
    assert list(storage.listing(url)) == [".buffer"]


@pytest.mark.parametrize(
    ("path", "kind", "local"),
    [
        ("/var/lib", "ext4", True),
        ("/eos/experiment", "fuse.eosxd", False),
        ("/eos", "fuse.eosxd", False),
        ("/eos2", "ext4", True),
        ("/srv/with space/x", "nfs4", False),
        ("/data/x", "xfs", True),  # the later mount hides the earlier one
    ],
)
def test_a_path_is_on_the_nearest_mount_above_it(path: str, kind: str, local: bool) -> None:
    mount = mount_of(Path(path), read_mounts(MOUNTINFO))
    assert mount is not None
    assert (mount.kind, mount.is_local) == (kind, local)


def test_this_machines_own_mounts_can_be_read() -> None:
    assert mount_of(Path("/"), read_mounts(Path("/proc/self/mountinfo").read_text())) is not None
