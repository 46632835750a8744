"""The SAM catalogue against a double of SAM's server, by each of the three clients, over a network that may fail."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from declare_daemon.catalogs.protocol import CONFIRMED, OUTPUT_STATUS, Finding, Replica, Wanted
from declare_daemon.catalogs.sam import SamCatalog
from declare_daemon.catalogs.sam_clients import HttpClient, ModuleClient
from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError
from dune_prompt.records import FileRecord, MadeBy
from dune_prompt.settings.catalogs import SamSettings
from tests.servers.proxy import FaultProxy
from tests.servers.sam import API, SamServer

PARTS = Path(__file__).resolve().parents[2] / "servers" / "samweb_parts"
CLIENTS = ("http", "samweb_client", "samweb")
MADE_BY = MadeBy("pdhd-prompt", "v1", "evaluate")
NAMESPACE = "hd-protodune"

_number = itertools.count()


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamServer]:
    with SamServer(tmp_path_factory.mktemp("sam")) as sam:
        yield sam


@pytest.fixture
def own_sam(tmp_path: Path) -> Iterator[SamServer]:
    """A server for a test that kills it or changes how it behaves."""
    with SamServer(tmp_path / "sam") as sam:
        yield sam


@pytest.fixture
def proxy(sam: SamServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", sam.port) as proxy:
        yield proxy


@pytest.fixture
def open_sam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., SamCatalog]]:
    """Opens catalogues at an address; the module and the command `samweb` are the doubles."""
    for variable in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    command = tmp_path / "bin" / "samweb"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{PARTS}" exec "{sys.executable}" "{PARTS}/samweb_command.py" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.syspath_prepend(str(PARTS))
    with ExitStack() as stack:

        def open_at(url: str, client: str = "http", **settings: Any) -> SamCatalog:
            settings = {"kind": "sam", "url": url, "client": client, "location": "cern-eos:", "timeout": "20s"} | settings
            catalog = SamCatalog.open(SamSettings.model_validate(settings))
            stack.callback(catalog.close)
            return catalog

        yield open_at
    for module in ("samweb_client", "samweb_client.exceptions"):
        sys.modules.pop(module, None)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def catalog(sam: SamServer, open_sam: Callable[..., SamCatalog], client: str) -> SamCatalog:
    return open_sam(sam.url, client)


class Files:
    """Records of files of a run of its own."""

    def __init__(self, metadata: dict[str, Any], derived: dict[str, Any]) -> None:
        self.run = 30000 + next(_number)
        self.dataset = f"{NAMESPACE}:{NAMESPACE}_{self.run}"
        self._metadata, self._derived = metadata, derived

    def raw(self, index: int = 0, **change: Any) -> FileRecord:
        runs = {"core.runs": [self.run], "core.runs_subruns": [self.run * 100000 + 1]}
        values: dict[str, Any] = {"namespace": NAMESPACE, "name": f"np04hd_raw_run{self.run:06d}_{index:04d}.hdf5"}
        values |= {"size_bytes": 5, "adler32": "0000000a", "metadata": self._metadata | runs | change.pop("metadata", {})}
        return FileRecord(**values | change)

    def child(self, of: FileRecord, stage: str = "evaluate", version: str = "v1", **change: Any) -> FileRecord:
        made = self._derived | {"core.application.name": stage, "core.application.version": version}
        return self.raw(name=f"{of.name}_{stage}_{version}", metadata=made, parents=(of.did,), **change)

    def replica(self, of: FileRecord, path: str | None = None) -> Replica:
        return Replica(of.did, of.size_bytes, of.adler32, path or f"/eos/np04/{of.name}")


@pytest.fixture
def files(raw_metadata: dict[str, Any], derived_metadata: dict[str, Any]) -> Files:
    return Files(raw_metadata, derived_metadata)


def declared_once(sam: SamServer, files: Files, records: list[FileRecord]) -> bool:
    """Whether SAM has exactly these files in the run, each with one id."""
    catalog = SamCatalog.open(SamSettings(kind="sam", url=sam.url, client="http"))  # type: ignore[arg-type]
    try:
        return catalog.members(files.dataset).keys() == {record.did for record in records}
    finally:
        catalog.close()


# -- metadata, by every client -----------------------------------------------------------------------------------------


def test_a_declared_file_is_found_with_its_metadata_and_sams_id(catalog: SamCatalog, files: Files) -> None:
    one, two = files.raw(0), files.raw(1)
    catalog.ensure_dataset(files.dataset)
    catalog.declare([one, two], files.dataset)
    entries = catalog.look([one.did, two.did, f"{NAMESPACE}:unknown"], with_metadata=True)
    assert entries.keys() == {one.did, two.did}
    assert entries[one.did].agrees_with(one)
    assert entries[one.did].metadata == one.metadata
    assert (entries[one.did].fid or "").isdecimal()
    assert entries[one.did].fid != entries[two.did].fid
    assert catalog.look([one.did])[one.did].metadata == {}


def test_an_unknown_file_is_absent(catalog: SamCatalog) -> None:
    assert catalog.look([f"{NAMESPACE}:unknown"]) == {}


def test_a_sam_that_answers_is_pinged(catalog: SamCatalog) -> None:
    catalog.ping()


def test_declaring_the_same_again_changes_nothing(sam: SamServer, catalog: SamCatalog, files: Files) -> None:
    records = [files.raw(index) for index in range(3)]
    catalog.declare(records, files.dataset)
    sam.forget()
    catalog.declare(records, files.dataset)
    assert sam.counts() == {"POST /files/metadata": 1}
    assert declared_once(sam, files, records)


def test_another_content_under_a_name_is_a_conflict_naming_both_and_nothing_is_written(catalog: SamCatalog, files: Files) -> None:
    catalog.declare([files.raw()], files.dataset)
    with pytest.raises(ConflictError, match=r"size 5, adler32 0000000a.*size 6, adler32 0000000b"):
        catalog.declare([files.raw(1), files.raw(size_bytes=6, adler32="0000000b")], files.dataset)
    assert catalog.look([files.raw(1).did]) == {}


def test_a_name_taken_between_the_look_and_the_write_is_a_conflict_only_with_other_content(
    sam: SamServer, catalog: SamCatalog, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.declare([files.raw(0), files.raw(1)], files.dataset)
    looks = []
    look = catalog._forms

    def blind_at_first(dids: Any, **options: Any) -> Any:
        looks.append(dids)
        return {} if len(looks) == 1 else look(dids, **options)

    monkeypatch.setattr(catalog, "_forms", blind_at_first)
    catalog.declare([files.raw(0)], files.dataset)
    looks.clear()
    with pytest.raises(ConflictError, match="adler32 0000000b"):
        catalog.declare([files.raw(1, adler32="0000000b")], files.dataset)
    assert declared_once(sam, files, [files.raw(0), files.raw(1)])


def test_a_refused_file_is_named_the_others_are_declared_and_only_it_is_sent_again(
    sam: SamServer, catalog: SamCatalog, files: Files
) -> None:
    bad = files.raw(1, metadata={"core.data_tier": "no-such-tier"})
    good = [files.raw(0), files.raw(2), files.raw(3)]
    with pytest.raises(DataError, match=r"_0001\.hdf5.*Unknown data tier 'no-such-tier'"):
        catalog.declare([good[0], bad, *good[1:]], files.dataset)
    assert declared_once(sam, files, good)
    sam.forget()
    with pytest.raises(DataError):
        catalog.declare([good[0], bad], files.dataset)
    catalog.declare(good, files.dataset)
    assert sam.counts() == {"POST /files/metadata": 2, "POST /files": 1}


def test_an_unknown_parent_is_bad_data(catalog: SamCatalog, files: Files) -> None:
    child = files.child(files.raw())
    with pytest.raises(DataError, match=r"Parent file '.*_0000\.hdf5' not found"):
        catalog.declare([child], files.dataset)
    assert catalog.look([child.did]) == {}


def test_a_parent_may_be_declared_in_the_same_batch(catalog: SamCatalog, files: Files) -> None:
    raw = files.raw()
    child = files.child(raw)
    catalog.declare([files.child(child, "dqm"), child, raw], files.dataset)
    assert catalog.children_of([raw.did], MADE_BY) == {raw.did: (child.did,)}


def test_only_children_of_this_campaign_version_and_stage_count(catalog: SamCatalog, files: Files) -> None:
    done, undone = files.raw(0), files.raw(1)
    reco = f"{NAMESPACE}:reco_{files.run}"
    catalog.declare([done, undone], files.dataset)
    catalog.declare([files.child(done), files.child(undone, "nf_sp"), files.child(undone, version="v0")], reco)
    assert catalog.children_of([done.did, undone.did, f"{NAMESPACE}:unknown"], MADE_BY) == {done.did: (files.child(done).did,)}
    assert catalog.undone(files.dataset, MADE_BY) == [undone.did]
    assert catalog.undone(f"{NAMESPACE}:unknown", MADE_BY) == []
    assert catalog.members(files.dataset).keys() == {done.did, undone.did}
    assert catalog.members(files.dataset)[done.did].agrees_with(done)


def test_retiring_a_child_makes_its_parent_undone_again(catalog: SamCatalog, files: Files) -> None:
    raw = files.raw()
    child = files.child(raw)
    catalog.declare([raw, child], files.dataset)
    assert catalog.undone(files.dataset, MADE_BY) == [child.did]
    for _ in range(2):
        catalog.retire([child.did, f"{NAMESPACE}:unknown"])
    assert catalog.look([child.did])[child.did].retired
    assert catalog.undone(files.dataset, MADE_BY) == [raw.did]
    assert catalog.children_of([raw.did], MADE_BY) == {}
    with pytest.raises(ConflictError, match="retired"):
        catalog.declare([child], files.dataset)


def test_verified_outputs_are_confirmed_once(sam: SamServer, catalog: SamCatalog, files: Files) -> None:
    records = [files.raw(0, metadata={OUTPUT_STATUS: "recorded"}), files.raw(1)]
    catalog.declare(records, files.dataset)
    before = catalog.look([records[0].did], with_metadata=True)[records[0].did].metadata
    dids = [*(record.did for record in records), f"{NAMESPACE}:unknown"]
    catalog.confirm(dids)
    sam.forget()
    catalog.confirm(dids)
    assert "PUT /files" not in sam.counts()
    after = catalog.look([records[0].did], with_metadata=True)[records[0].did].metadata
    assert after == before | {OUTPUT_STATUS: CONFIRMED}


def test_a_file_declared_by_others_joins_the_dataset(sam: SamServer, catalog: SamCatalog, files: Files) -> None:
    record = files.raw()
    theirs = HttpClient(SamSettings(kind="sam", url=sam.url))  # type: ignore[arg-type]
    runs = [[files.run, 1, NAMESPACE]]
    form = {
        "file_name": record.name,
        "file_size": 5,
        "checksum": ["enstore:12", "adler32:a"],
        "file_type": "detector",
        "file_format": "hdf5",
    }
    theirs.declare(form | {"runs": runs})
    theirs.close()
    assert catalog.look([record.did])[record.did].agrees_with(record)
    assert catalog.members(files.dataset) == {}
    catalog.declare([record], files.dataset)
    assert catalog.members(files.dataset).keys() == {record.did}


# -- replicas ----------------------------------------------------------------------------------------------------------


def test_a_location_is_added_once_and_follows_the_file(sam: SamServer, catalog: SamCatalog, files: Files) -> None:
    record = files.raw()
    catalog.declare([record], files.dataset)
    assert catalog.places_for([record.did]) == {}
    assert not catalog.copies([record.did], files.dataset)[record.did].complete
    assert catalog.replicas_of(files.dataset) == []
    sam.forget()
    for _ in range(2):
        catalog.add([files.replica(record)], files.dataset)
    assert sam.counts()["POST /files/name/*/locations"] == 1
    catalog.add([files.replica(record, f"root://eospublic.cern.ch:1094//eos/processed/{record.name}")], files.dataset)
    copies = catalog.copies([record.did, f"{NAMESPACE}:unknown"], files.dataset)
    assert {did: found.places for did, found in copies.items()} == {record.did: {"cern-eos": f"/eos/processed/{record.name}"}}
    assert copies[record.did].complete
    assert catalog.replicas_of(files.dataset) == [record.did]


def test_locations_of_others_are_shown_and_left_alone(sam: SamServer, catalog: SamCatalog, files: Files) -> None:
    record = files.raw()
    catalog.declare([record], files.dataset)
    catalog._client.add_location(record.name, "enstore:/pnfs/dune/tape")
    assert catalog.replicas_of(files.dataset) == []
    catalog.add([files.replica(record)], files.dataset)
    places = catalog.copies([record.did], files.dataset)[record.did].places
    assert places == {"cern-eos": f"/eos/np04/{record.name}", "enstore": f"/pnfs/dune/tape/{record.name}"}


def test_replicas_that_cannot_be_are_refused(catalog: SamCatalog, files: Files) -> None:
    record = files.raw()
    catalog.declare([record], files.dataset)
    with pytest.raises(ConflictError, match="the replica /x"):
        catalog.add([Replica(record.did, 6, "0000000a", "/x")], files.dataset)
    with pytest.raises(DataError, match="not declared"):
        catalog.add([files.replica(files.raw(9))], files.dataset)
    with pytest.raises(ConfigError, match="by folder and name"):
        catalog.add([files.replica(record, "/eos/np04/another-name")], files.dataset)


def test_files_without_location_are_undone_and_members_all_the_same(catalog: SamCatalog, files: Files) -> None:
    """SAM hides them from queries that do not ask for them."""
    with_location, without = files.raw(0), files.raw(1)
    catalog.declare([with_location, without], files.dataset)
    catalog.add([files.replica(with_location)], files.dataset)
    assert catalog.undone(files.dataset, MADE_BY) == [with_location.did, without.did]


# -- a network and a server that fail ----------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[FaultProxy], object]] = {
    "dropped before the write": lambda proxy: proxy.drop(method="POST", path=f"{API}/files"),
    "dropped after the write": lambda proxy: proxy.drop(after=True, method="POST", path=is_declaration),
    "reset before the write": lambda proxy: proxy.drop(reset=True, method="POST", path=is_declaration),
    "500": lambda proxy: proxy.reply(500, method="POST", path=is_declaration),
    "502 after the write": lambda proxy: proxy.reply(502, after=True, method="POST", path=is_declaration),
    "503": lambda proxy: proxy.reply(503, path=f"{API}/files/metadata"),
    "429": lambda proxy: proxy.reply(429, method="POST", path=is_declaration),
    "truncated answer": lambda proxy: proxy.truncate(path=f"{API}/files/metadata", keep=0.99),
    "no JSON": lambda proxy: proxy.reply(200, body="<h1>Welcome</h1>", path=f"{API}/files/metadata"),
}


def is_declaration(method: str, target: str) -> bool:
    return target.endswith("/files")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_got_no_clear_answer_is_repeated_without_a_second_file(
    sam: SamServer, proxy: FaultProxy, open_sam: Callable[..., SamCatalog], client: str, files: Files, fault: str
) -> None:
    catalog = open_sam(proxy.url + API, client)
    records = [files.raw(0), files.raw(1)]
    FAULTS[fault](proxy)
    with pytest.raises(TransientError):
        catalog.declare(records, files.dataset)
    catalog.declare(records, files.dataset)
    assert declared_once(sam, files, records)


def test_an_answer_that_does_not_come_in_time_is_waited_for_no_longer(
    sam: SamServer, proxy: FaultProxy, open_sam: Callable[..., SamCatalog], client: str, files: Files
) -> None:
    catalog = open_sam(proxy.url + API, client, timeout="1s")
    proxy.silence(after=True, path=is_declaration)
    with pytest.raises(TransientError):
        catalog.declare([files.raw()], files.dataset)
    proxy.clear()
    catalog.declare([files.raw()], files.dataset)
    assert declared_once(sam, files, [files.raw()])


def test_an_answer_that_trickles_for_ever_is_waited_for_no_longer(
    proxy: FaultProxy, open_sam: Callable[..., SamCatalog], files: Files
) -> None:
    catalog = open_sam(proxy.url + API, timeout="0.5s")
    records = [files.raw(index) for index in range(50)]
    catalog.declare(records, files.dataset)
    proxy.slow(piece_bytes=40, between_s=0.02, path=f"{API}/files/metadata")
    with pytest.raises(TransientError, match=r"no answer within 0\.5 s"):
        catalog.look([record.did for record in records])
    assert len(catalog.look([record.did for record in records])) == 50


def test_a_server_that_is_gone_is_an_outage_until_it_is_back(
    proxy: FaultProxy, open_sam: Callable[..., SamCatalog], client: str, files: Files
) -> None:
    catalog = open_sam(proxy.url + API, client)
    with proxy.refusing():
        for call in (catalog.ping, lambda: catalog.look([files.raw().did]), lambda: catalog.declare([files.raw()], files.dataset)):
            with pytest.raises(TransientError):
                call()
    catalog.declare([files.raw()], files.dataset)


def test_a_name_taken_by_our_own_lost_success_is_no_conflict(
    sam: SamServer, proxy: FaultProxy, open_sam: Callable[..., SamCatalog], client: str, files: Files
) -> None:
    """A front-end that repeats a request makes SAM refuse the second one."""
    catalog = open_sam(proxy.url + API, client)
    error = json.dumps({"error": "FileAlreadyExists", "message": "File with name 'x' already exists"})
    proxy.reply(409, body=error, content_type="application/json", after=True, path=is_declaration)
    catalog.declare([files.raw()], files.dataset)
    assert declared_once(sam, files, [files.raw()])


@pytest.mark.parametrize(("status", "wanted"), [(401, "no right"), (403, "no right"), (302, "token or certificate"), (404, "address")])
def test_without_right_or_at_a_wrong_address_somebody_has_to_set_it_right(
    proxy: FaultProxy, open_sam: Callable[..., SamCatalog], files: Files, status: int, wanted: str
) -> None:
    catalog = open_sam(proxy.url + API)
    proxy.reply(status, path=is_declaration, headers={"Location": "/login"} if status == 302 else None)
    with pytest.raises(ConfigError, match=wanted):
        catalog.declare([files.raw()], files.dataset)


def test_nothing_listens_at_all(open_sam: Callable[..., SamCatalog], client: str) -> None:
    with pytest.raises(TransientError):
        open_sam("http://127.0.0.1:9/sam/dune/api", client).ping()


def test_whoever_may_not_write_is_told_so(own_sam: SamServer, open_sam: Callable[..., SamCatalog], client: str, files: Files) -> None:
    catalog = open_sam(own_sam.url, client)
    own_sam.set(deny_writes=True)
    with pytest.raises(ConfigError, match="not an admin"):
        catalog.declare([files.raw()], files.dataset)
    assert catalog.look([files.raw().did]) == {}


def test_a_file_of_somebody_else_is_declared_though_it_cannot_join_our_dataset(
    own_sam: SamServer, open_sam: Callable[..., SamCatalog], files: Files
) -> None:
    catalog = open_sam(own_sam.url)
    catalog.declare([files.raw()], f"{NAMESPACE}:theirs")
    own_sam.set(deny_writes=True)
    catalog.declare([files.raw()], files.dataset)
    assert catalog.members(files.dataset) == {}


def test_retired_names_may_also_be_free_again(own_sam: SamServer, open_sam: Callable[..., SamCatalog], client: str, files: Files) -> None:
    catalog = open_sam(own_sam.url, client)
    own_sam.set(retired_names_are_free=True)
    catalog.declare([files.raw()], files.dataset)
    first = catalog.look([files.raw().did])[files.raw().did].fid
    catalog.retire([files.raw().did])
    assert catalog.look([files.raw().did]) == {}
    catalog.retire([files.raw().did])
    catalog.declare([files.raw()], files.dataset)
    assert catalog.look([files.raw().did])[files.raw().did].fid != first


def test_a_taken_name_that_is_not_shown_is_a_conflict(proxy: FaultProxy, open_sam: Callable[..., SamCatalog], files: Files) -> None:
    catalog = open_sam(proxy.url + API)
    proxy.reply(409, path=is_declaration)
    with pytest.raises(ConflictError, match="retired file"):
        catalog.declare([files.raw()], files.dataset)


def test_a_parameter_sam_lacks_blames_no_file(own_sam: SamServer, open_sam: Callable[..., SamCatalog], client: str, files: Files) -> None:
    catalog = open_sam(own_sam.url, client)
    own_sam.set(parameters=["dune.campaign"])
    with pytest.raises(ConfigError, match=r"Unknown parameter 'DUNE\.dataset_name'"):
        catalog.declare([files.raw()], files.dataset)
    with pytest.raises(ConfigError, match="does not understand"):
        catalog.undone(files.dataset, MADE_BY)


# -- many files --------------------------------------------------------------------------------------------------------


def test_many_files_take_one_request_each_and_no_more_than_allowed_at_once(
    sam: SamServer, open_sam: Callable[..., SamCatalog], files: Files
) -> None:
    records = [files.raw(index) for index in range(1200)]
    with FaultProxy("127.0.0.1", sam.port, delay_s=0.001) as proxy:
        catalog = open_sam(proxy.url + API, connections=6)
        catalog.declare(records, files.dataset)
        declarations = [target for method, target in proxy.requests if method == "POST" and target.endswith("/files")]
        assert len(declarations) == 1200
        assert proxy.count("POST", f"{API}/files/metadata") == 3
        assert 1 < proxy.most_at_once <= 6
        assert proxy.connections <= 7
        catalog.add([files.replica(record) for record in records], files.dataset)
        assert proxy.count("POST", f"{API}/files/name/") == 1200
        assert proxy.most_at_once <= 6
    catalog = open_sam(sam.url)
    assert len(catalog.undone(files.dataset, MADE_BY)) == len(catalog.replicas_of(files.dataset)) == 1200
    catalog.declare([files.child(record) for record in records[:301]], f"{NAMESPACE}:reco_{files.run}")
    assert len(catalog.children_of([record.did for record in records], MADE_BY)) == 301
    assert len(catalog.undone(files.dataset, MADE_BY)) == 899


def test_a_server_that_dies_is_not_asked_for_every_file(proxy: FaultProxy, open_sam: Callable[..., SamCatalog], files: Files) -> None:
    catalog = open_sam(proxy.url + API, connections=4)
    proxy.reply(503, times=None, path=is_declaration)
    with pytest.raises(TransientError):
        catalog.declare([files.raw(index) for index in range(300)], files.dataset)
    assert sum(is_declaration(*request) for request in proxy.requests) <= 4


def test_a_server_killed_in_the_middle_has_every_file_once_in_the_end(
    own_sam: SamServer, open_sam: Callable[..., SamCatalog], files: Files
) -> None:
    records = [files.raw(index) for index in range(200)]
    with FaultProxy("127.0.0.1", own_sam.port) as proxy:
        catalog = open_sam(proxy.url + API)
        seen = itertools.count()
        proxy.call(own_sam.kill, after=True, path=lambda method, target: is_declaration(method, target) and next(seen) == 100)
        with pytest.raises(TransientError):
            catalog.declare(records, files.dataset)
        own_sam.start()
        before = len(catalog.members(files.dataset))
        assert 100 < before < 200
        proxy.forget()
        catalog.declare(records, files.dataset)
        assert sum(is_declaration(*request) for request in proxy.requests) == 200 - before
    assert declared_once(own_sam, files, records)


# -- settings and checks -----------------------------------------------------------------------------------------------


def test_the_module_is_taken_where_it_is_installed(
    open_sam: Callable[..., SamCatalog], monkeypatch: pytest.MonkeyPatch, sam: SamServer
) -> None:
    assert isinstance(open_sam(sam.url, "auto")._client, ModuleClient)
    sys.modules.pop("samweb_client")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(PARTS)])
    assert isinstance(open_sam(sam.url, "auto")._client, HttpClient)
    with pytest.raises(ConfigError, match="samweb_client is not installed"):
        open_sam(sam.url, "samweb_client")


def test_opening_asks_no_server(open_sam: Callable[..., SamCatalog], client: str) -> None:
    assert open_sam("http://sam.invalid/sam/dune/api", client).name == "sam"


def test_a_missing_command_is_named(sam: SamServer, open_sam: Callable[..., SamCatalog], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="samweb is not installed"):
        open_sam(sam.url, "samweb").ping()


def test_writes_go_to_the_secure_address_with_the_token_reads_to_the_other(
    sam: SamServer, open_sam: Callable[..., SamCatalog], files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(token))
    with FaultProxy("127.0.0.1", sam.port) as reading, FaultProxy("127.0.0.1", sam.port) as writing:
        catalog = open_sam(reading.url + API, secure_url=writing.url + API)
        headers = []
        request = catalog._client._session._session.request  # type: ignore[attr-defined]

        def listening(method: str, url: str, **arguments: Any) -> Any:
            headers.append((method, url.removesuffix(API), arguments["headers"].get("Authorization")))
            return request(method, url, **arguments)

        monkeypatch.setattr(catalog._client._session._session, "request", listening)  # type: ignore[attr-defined]
        catalog.declare([files.raw()], files.dataset)
        assert [(method, target) for method, target in writing.requests] == [("POST", f"{API}/files")]
        assert reading.count() == 1
    assert [token for *_, token in headers] == [None, "Bearer secret-token"]


def test_a_check_tries_reading_metadata_and_the_right_to_write(
    own_sam: SamServer, open_sam: Callable[..., SamCatalog], client: str
) -> None:
    catalog = open_sam(own_sam.url, client)
    wanted = [Wanted(NAMESPACE, "raw"), Wanted(NAMESPACE, "raw"), Wanted("hd-protodune-det-reco", "no-such-tier")]
    own_sam.forget()
    found = _by_what(catalog.check(wanted))
    assert {what: finding.ok for what, finding in found.items()} == {
        "reading": True,
        "credential": True,
        f"metadata of {NAMESPACE}, data tier raw": True,
        "metadata of hd-protodune-det-reco, data tier no-such-tier": False,
        "writing": True,
    }
    assert "no-such-tier" in found["metadata of hd-protodune-det-reco, data tier no-such-tier"].detail
    assert catalog._query("file_name like % with availability anylocation") == []
    own_sam.set(deny_writes=True)
    assert not _by_what(catalog.check([]))["writing"].ok


def test_a_check_of_a_server_that_is_away_never_raises(open_sam: Callable[..., SamCatalog], client: str) -> None:
    found = _by_what(open_sam("http://127.0.0.1:9/sam/dune/api", client).check([Wanted(NAMESPACE, "raw")]))
    assert not any(found[what].ok for what in ("reading", "writing"))


def test_a_check_says_whose_credentials_they_are_and_until_when(
    sam: SamServer, open_sam: Callable[..., SamCatalog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert = tmp_path / "cert.pem"
    subject = "/DC=org/CN=dunepro"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", subject]
    subprocess.run([*command, "-keyout", str(tmp_path / "key.pem"), "-out", str(cert)], check=True, capture_output=True)
    payload = base64.urlsafe_b64encode(json.dumps({"sub": "dunepro@fnal.gov", "exp": time.time() - 60}).encode()).decode().rstrip("=")
    monkeypatch.setenv("BEARER_TOKEN", f"x.{payload}.x")
    found = _by_what(open_sam(sam.url, cert=cert).check([]))
    assert found["certificate"].owner == subject
    assert 1.9 < ((found["certificate"].expires_at or 0) - time.time()) / 86400 < 2.1
    assert (found["certificate"].ok, found["token"].ok, found["token"].owner) == (True, False, "dunepro@fnal.gov")
    assert payload not in str(found)
    cert.write_text("nothing")
    assert not _by_what(open_sam(sam.url, cert=cert).check([]))["certificate"].ok


def _by_what(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}
