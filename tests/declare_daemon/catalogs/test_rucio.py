"""The Rucio catalogue against a real Rucio server."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from declare_daemon.catalogs import Keeping, Replica, Wanted
from declare_daemon.catalogs.rucio import MISSING, NO_COPY, RucioCatalog
from declare_daemon.catalogs.rucio_check import end_of_certificate, end_of_token
from declare_daemon.storage.lfn2pfn import relative_path
from dune_prompt.errors import ConfigError, ConflictError, DataError, DunePromptError, TransientError
from dune_prompt.settings.catalogs import RucioSettings
from tests.servers.proxy import FaultProxy
from tests.servers.rucio import RucioServer

pytestmark = pytest.mark.skipif(RucioServer.missing() is not None, reason=str(RucioServer.missing()))

NEAR, FAR, LOOSE, EOS, IDENTITY = "NEAR", "FAR", "LOOSE", "EOS", "IDENTITY"
SCOPE, OWN = "hd-protodune", "prompt-scope"
RULES = (NEAR, FAR)


class World:
    """A server with storage elements and accounts, and catalogues on it."""

    def __init__(self, server: RucioServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self._numbers = itertools.count()
        self._open: list[RucioCatalog] = []

    def build(self) -> None:
        server = self.server
        server.add_scope(SCOPE)
        for rse in (NEAR, FAR):
            server.add_rse(rse, self.folder / rse)
        server.add_rse(LOOSE, self.folder / LOOSE, deterministic=False)
        server.add_rse(IDENTITY, self.folder / IDENTITY, attributes={"lfn2pfn_algorithm": "identity"})
        server.add_rse(EOS, "//eos/np04", scheme="root", host="eos.example", port=1094, deterministic=False)
        server.connect(NEAR, FAR)
        server.add_account("prompt", "pw")
        server.add_scope(OWN, "prompt")
        server.set_limit("prompt", NEAR)

    def catalog(self, *, url: str | None = None, login: dict[str, str] | None = None, **change: Any) -> RucioCatalog:
        config = self.server.client_config(url=url, **(login or {}))
        catalog = RucioCatalog.open(RucioSettings(**{"kind": "rucio", "rse": NEAR, "config": config, "timeout": "60s"} | change))
        self._open.append(catalog)
        return catalog

    def close(self) -> None:
        while self._open:
            self._open.pop().close()

    def did(self, what: str = "file", scope: str = SCOPE) -> str:
        """A name nobody had before."""
        return f"{scope}:{what}_{next(self._numbers)}"

    def replica(self, did: str | None = None, rse: str = NEAR, **change: Any) -> Replica:
        did = did or self.did()
        scope, _, name = did.partition(":")
        values = {"size_bytes": 5, "adler32": "0000000a", "path": str(self.folder / rse / relative_path("hash", scope, name))}
        return Replica(did, **values | change)

    def replicas(self, count: int) -> list[Replica]:
        return [self.replica() for _ in range(count)]

    # -- what the server really has ------------------------------------------------------------------------------------

    def there(self, table: str, did: str) -> int:
        scope, _, name = did.partition(":")
        return self.server.rows(f"select count(*) from {table} where scope = ? and name = ?", scope, name)[0][0]

    def attached(self, dataset: str) -> list[str]:
        scope, _, name = dataset.partition(":")
        rows = self.server.rows("select child_name from contents where scope = ? and name = ? order by child_name", scope, name)
        return [row[0] for row in rows]

    def rules(self, dataset: str) -> list[tuple[Any, ...]]:
        scope, _, name = dataset.partition(":")
        query = "select rse_expression, account, grouping, copies, activity, expires_at is not null from rules where scope = ? and name = ?"
        return sorted(self.server.rows(query, scope, name))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("rucio")
    with RucioServer(folder / "server") as server:
        world = World(server, folder)
        world.build()
        yield world


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    yield shared
    shared.close()


@pytest.fixture
def proxy(world: World) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", world.server.port) as proxy:
        yield proxy


@pytest.fixture
def catalog(world: World) -> RucioCatalog:
    return world.catalog()


def dataset_in(world: World, catalog: RucioCatalog, keeping: Keeping | None = None) -> str:
    dataset = world.did("run")
    catalog.ensure_dataset(dataset, keeping or Keeping())
    return dataset


# -- datasets and rules ----------------------------------------------------------------------------------------------------


def test_a_dataset_is_made_with_its_rules_and_making_it_again_changes_nothing(world: World) -> None:
    catalog = world.catalog(rules=RULES, activity="T0 Export")
    dataset = dataset_in(world, catalog)
    for _ in range(2):
        catalog.ensure_dataset(dataset)
    assert world.rules(dataset) == [(rse, "root", "D", 1, "T0 Export", 0) for rse in sorted(RULES)]
    assert catalog.replicas_of(dataset) == []


def test_a_rule_that_a_dataset_lacks_is_added(world: World) -> None:
    dataset = dataset_in(world, world.catalog(rules=(NEAR,)))
    world.catalog(rules=RULES).ensure_dataset(dataset)
    assert [row[0] for row in world.rules(dataset)] == sorted(RULES)


def test_the_dataset_says_by_which_rules_and_how_long_it_is_kept(world: World) -> None:
    dataset = dataset_in(world, world.catalog(rules=RULES), Keeping(rules=(NEAR,), lifetime_s=86400.0))
    assert world.rules(dataset) == [(NEAR, "root", "D", 1, "default", 1)]


def test_a_file_with_the_datasets_name_is_a_conflict(world: World, catalog: RucioCatalog) -> None:
    file = world.replica()
    catalog.add([file], dataset_in(world, catalog))
    with pytest.raises(ConflictError, match="is no dataset but a file"):
        catalog.ensure_dataset(file.did)


@pytest.mark.parametrize(
    ("did", "change", "error"),
    [
        ("nowhere:run", {}, ConfigError),
        (f"{SCOPE}:a b", {}, DataError),
        (f"{SCOPE}:unmade", {"rules": ("NOWHERE",)}, ConfigError),
        (f"{SCOPE}:unmade", {"rules": ("NEAR||",)}, ConfigError),
    ],
)
def test_a_dataset_that_cannot_be_is_refused(world: World, did: str, change: dict[str, Any], error: type[DunePromptError]) -> None:
    with pytest.raises(error, match="making dataset"):
        world.catalog(**change).ensure_dataset(did)
    assert world.there("dids", did) == 0


# -- files -----------------------------------------------------------------------------------------------------------------


def test_files_are_entered_once_however_often_they_are_added(world: World, catalog: RucioCatalog) -> None:
    dataset, files = dataset_in(world, catalog), world.replicas(3)
    for batch in (files[:2], files, files):
        catalog.add(batch, dataset)
    assert catalog.replicas_of(dataset) == sorted(file.did for file in files)
    for file in files:
        assert (world.there("dids", file.did), world.there("replicas", file.did)) == (1, 1)
    assert len(world.attached(dataset)) == 3


def test_a_file_may_join_another_dataset(world: World, catalog: RucioCatalog) -> None:
    file = world.replica()
    datasets = [dataset_in(world, catalog) for _ in range(2)]
    for dataset in datasets:
        catalog.add([file], dataset)
        assert catalog.replicas_of(dataset) == [file.did]


@pytest.mark.parametrize("change", [{"size_bytes": 6}, {"adler32": "0000000b"}])
def test_other_content_under_a_name_is_a_conflict_that_names_the_file_and_nothing_is_written(
    world: World, catalog: RucioCatalog, change: dict[str, Any]
) -> None:
    dataset, (file, fresh) = dataset_in(world, catalog), world.replicas(2)
    catalog.add([file], dataset)
    with pytest.raises(ConflictError, match=rf"{file.did}: declared with size 5, adler32 0000000a; here size") as caught:
        catalog.add([fresh, world.replica(file.did, **change)], dataset)
    assert len(str(caught.value)) < 300
    assert world.attached(dataset) == [file.did.split(":")[1]]
    assert world.there("dids", fresh.did) == 0


def test_a_conflict_shows_before_the_first_of_several_requests(world: World, catalog: RucioCatalog) -> None:
    dataset, files = dataset_in(world, catalog), world.replicas(501)
    catalog.add(files[-1:], dataset)
    files[-1] = world.replica(files[-1].did, size_bytes=6)
    with pytest.raises(ConflictError, match=files[-1].did):
        catalog.add(files, dataset)
    assert len(world.attached(dataset)) == 1


def test_a_dataset_with_the_files_name_is_a_conflict(world: World, catalog: RucioCatalog) -> None:
    dataset = dataset_in(world, catalog)
    with pytest.raises(ConflictError, match="Rucio has a dataset of that name"):
        catalog.add([world.replica(dataset)], dataset)


def test_one_file_twice_in_a_batch_is_one_file_or_a_conflict(world: World, catalog: RucioCatalog) -> None:
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file, file], dataset)
    assert catalog.replicas_of(dataset) == [file.did]
    with pytest.raises(ConflictError, match="twice"):
        catalog.add([file, world.replica(file.did, size_bytes=6)], dataset)


@pytest.mark.parametrize("change", [{"adler32": "a"}, {"adler32": "0000000A"}, {"did": f"{SCOPE}:with blank"}])
def test_what_rucio_would_not_take_for_the_same_file_is_bad_data(world: World, catalog: RucioCatalog, change: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        catalog.add([world.replica(), world.replica(**change)], dataset_in(world, catalog))


def test_a_missing_dataset_is_asked_for_again_a_closed_one_needs_a_person(world: World, catalog: RucioCatalog) -> None:
    with pytest.raises(TransientError, match="adding 1 files"):
        catalog.add([world.replica()], world.did("run"))
    dataset = dataset_in(world, catalog)
    world.server.close_dataset(dataset)
    with pytest.raises(ConfigError, match="is closed"):
        catalog.add([world.replica()], dataset)


def test_an_unknown_storage_element_is_named(world: World) -> None:
    catalog = world.catalog(rse="NOWHERE")
    with pytest.raises(ConfigError, match="NOWHERE"):
        catalog.add([world.replica()], f"{SCOPE}:run")


def test_twelve_hundred_files_are_three_requests_each_way(world: World, proxy: FaultProxy) -> None:
    catalog = world.catalog(url=proxy.url)
    dataset, files = dataset_in(world, catalog), world.replicas(1200)
    catalog.add(files[:1], dataset)
    proxy.forget()
    catalog.add(files, dataset)
    assert proxy.count("POST", "/dids/attachments") == 3
    assert proxy.count("POST", "/dids/bulkmeta") == 3
    assert proxy.count() == 6
    proxy.forget()
    assert len(catalog.copies([file.did for file in files], dataset)) == 1200
    assert proxy.count("POST", "/replicas/list") == 4  # three for the files, one for the rows of the dataset
    assert proxy.count() == 4


def test_the_session_is_kept_from_one_call_to_the_next(world: World, proxy: FaultProxy) -> None:
    catalog = world.catalog(url=proxy.url)
    dataset = dataset_in(world, catalog)
    catalog.add(world.replicas(2), dataset)
    proxy.forget()
    catalog.add(world.replicas(2), dataset)
    catalog.ping()
    assert (proxy.count(), proxy.connections) == (2, 0)


# -- where files lie -------------------------------------------------------------------------------------------------------


def test_without_place_the_catalogue_asks_for_no_copies(catalog: RucioCatalog, world: World) -> None:
    assert catalog.places_for([world.did()]) == {}


@pytest.mark.parametrize(
    ("rse", "where"), [(NEAR, relative_path("hash", SCOPE, "raw")), (IDENTITY, f"{SCOPE}/raw"), (LOOSE, f"{SCOPE}/raw")]
)
def test_copies_are_placed_where_the_storage_element_wants_them(world: World, rse: str, where: str) -> None:
    did = f"{SCOPE}:raw"
    assert world.catalog(rse=rse, place=True).places_for([did]) == {did: f"{world.folder}/{rse}/{where}"}
    assert world.catalog(place=True).places_for([did], Keeping(rse=rse)) == {did: f"{world.folder}/{rse}/{where}"}
    mounted = world.catalog(rse=rse, place=True, place_url="/mnt/eos")
    assert mounted.places_for([did]) == {did: f"/mnt/eos/{where}"}


@pytest.mark.parametrize("rse", [NEAR, IDENTITY, LOOSE, EOS])
@pytest.mark.parametrize("place_url", [None, "/mnt/eos", "root://door.example:2094//np04"])
def test_a_file_is_known_at_the_place_it_was_put(world: World, rse: str, place_url: str | None) -> None:
    catalog = world.catalog(rse=rse, place=True, place_url=place_url)
    dataset, did = dataset_in(world, catalog), world.did()
    place = catalog.places_for([did])[did]
    catalog.add([world.replica(did, path=place)], dataset)
    assert catalog.copies([did], dataset)[did].places == {rse: place}


def test_a_deterministic_element_refuses_a_file_elsewhere(world: World, catalog: RucioCatalog) -> None:
    with pytest.raises(ConfigError, match="set `place: true`"):
        catalog.add([world.replica(path="/data/buffer/raw.hdf5")], dataset_in(world, catalog))


def test_a_loose_element_takes_a_file_anywhere_below_its_prefix_and_nowhere_else(world: World) -> None:
    catalog = world.catalog(rse=LOOSE)
    dataset, file = dataset_in(world, catalog), world.replica(path=f"{world.folder}/{LOOSE}/run 1/raw.hdf5".replace(" ", "_"))
    catalog.add([file], dataset)
    assert catalog.copies([file.did], dataset)[file.did].places == {LOOSE: file.path}
    with pytest.raises(ConfigError, match="outside of LOOSE"):
        catalog.add([world.replica(path="/data/buffer/raw.hdf5")], dataset)


# -- copies ----------------------------------------------------------------------------------------------------------------


def test_unknown_files_are_absent_and_known_ones_have_their_content(world: World, catalog: RucioCatalog) -> None:
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    found = catalog.copies([file.did, world.did(), file.did], dataset)
    assert found.keys() == {file.did}
    assert (found[file.did].size_bytes, found[file.did].adler32) == (5, "0000000a")
    assert found[file.did].complete
    assert catalog.copies([], dataset) == {}


def test_a_rule_to_another_element_is_kept_when_its_transfer_is_done(world: World) -> None:
    catalog = world.catalog(rules=RULES)
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    # The server has not looked at the new file yet and says OK, but there is no copy.
    assert catalog.copies([file.did], dataset)[file.did].rules == {NEAR: "OK", FAR: NO_COPY}
    world.server.tick("evaluator")
    assert catalog.copies([file.did], dataset)[file.did].rules == {NEAR: "OK", FAR: "REPLICATING"}
    world.server.tick("submitter", "poller", "finisher")
    copies = catalog.copies([file.did], dataset)[file.did]
    assert copies.rules == {NEAR: "OK", FAR: "OK"}
    assert copies.complete
    assert copies.places.keys() == {NEAR, FAR}


@pytest.mark.parametrize(("state", "word"), [("S", "STUCK"), ("U", "SUSPENDED"), ("R", "REPLICATING")])
def test_a_rule_that_is_not_satisfied_says_why(world: World, state: str, word: str) -> None:
    catalog = world.catalog(rules=(NEAR,))
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    world.server.set_rule_state(dataset, state)
    copies = catalog.copies([file.did], dataset)[file.did]
    assert copies.rules == {NEAR: word}
    assert not copies.complete


def test_a_rule_that_is_missing_or_of_another_account_is_missing(world: World, catalog: RucioCatalog) -> None:
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    asking = world.catalog(rules=(NEAR,))
    assert asking.copies([file.did], dataset)[file.did].rules == {NEAR: MISSING}
    assert asking.copies([file.did], world.did("run"))[file.did].rules == {NEAR: MISSING}
    prompt = world.catalog(rules=(NEAR,), login={"account": "prompt", "username": "prompt", "password": "pw"})
    asking.ensure_dataset(dataset)
    assert asking.copies([file.did], dataset)[file.did].rules == {NEAR: "OK"}
    assert prompt.copies([file.did], dataset)[file.did].rules == {NEAR: MISSING}


def test_a_copy_that_is_not_available_is_none(world: World) -> None:
    catalog = world.catalog(rules=(NEAR,))
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    assert catalog.copies([file.did], dataset)[file.did].complete
    world.server.set_replica_state(NEAR, file.did, "U")
    copies = catalog.copies([file.did], dataset)[file.did]
    assert (copies.places, copies.rules) == ({}, {NEAR: NO_COPY})


@pytest.mark.parametrize("change", [{"bytes": 7}, {"adler32": "0000000b"}])
def test_a_replica_of_another_size_or_checksum_is_no_copy_though_rucio_calls_it_available(world: World, change: dict[str, Any]) -> None:
    catalog = world.catalog()
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    scope, _, name = file.did.partition(":")
    world.server.add_replicas(FAR, [{"scope": scope, "name": name, "bytes": 5, "adler32": "0000000a"} | change])
    assert catalog.copies([file.did], dataset)[file.did].places.keys() == {NEAR}


def test_a_cache_is_no_copy(world: World) -> None:
    catalog = world.catalog()
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    world.server.change_rse(NEAR, volatile=True)
    try:
        assert catalog.copies([file.did], dataset)[file.did].places == {}
    finally:
        world.server.change_rse(NEAR, volatile=False)


def test_an_unknown_dataset_has_no_files(world: World, catalog: RucioCatalog) -> None:
    assert catalog.replicas_of(world.did("run")) == []


# -- crashes and a bad network ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("path", ["/dids/attachments", f"/dids/{SCOPE}/run"])
def test_a_dropped_connection_is_transient_and_the_repetition_makes_everything_once(
    world: World, proxy: FaultProxy, path: str, after: bool
) -> None:
    catalog = world.catalog(url=proxy.url, rules=(NEAR,))
    catalog.ping()
    dataset, files = world.did("run"), world.replicas(4)
    proxy.drop(after=after, method="POST", path=path)
    proxy.forget()
    with pytest.raises(TransientError):
        catalog.ensure_dataset(dataset)
        catalog.add(files, dataset)
    assert proxy.count("POST", path) == 1  # never sent again by the client itself
    catalog.ensure_dataset(dataset)
    catalog.add(files, dataset)
    assert [row[0] for row in world.rules(dataset)] == [NEAR]
    assert len(world.attached(dataset)) == 4
    assert all((world.there("dids", file.did), world.there("replicas", file.did)) == (1, 1) for file in files)


def test_a_client_killed_after_its_request_was_carried_out_leaves_nothing_twice(world: World, proxy: FaultProxy) -> None:
    dataset, files = world.did("run"), world.replicas(4)
    config = world.server.client_config(url=proxy.url)
    program = (
        "import sys, json; from pathlib import Path; from declare_daemon.catalogs import Replica; "
        "from declare_daemon.catalogs.rucio import RucioCatalog; from dune_prompt.settings.catalogs import RucioSettings; "
        "config, dataset, files = json.loads(sys.argv[1]); "
        "catalog = RucioCatalog.open(RucioSettings(kind='rucio', rse='NEAR', rules=('NEAR',), config=Path(config))); "
        "catalog.ensure_dataset(dataset); catalog.add([Replica(*file) for file in files], dataset); catalog.close()"
    )
    content = json.dumps([str(config), dataset, [(file.did, file.size_bytes, file.adler32, file.path) for file in files]])
    command = [sys.executable, "-c", program, content]
    for path in (f"/dids/{SCOPE}/run", "/dids/attachments"):
        held = proxy.silence(after=True, method="POST", path=path)
        with subprocess.Popen(command) as process:
            assert held.hit.wait(60)
            process.kill()
        proxy.clear()
    assert subprocess.run(command, check=False).returncode == 0
    assert [row[0] for row in world.rules(dataset)] == [NEAR]
    assert len(world.attached(dataset)) == 4
    assert all((world.there("dids", file.did), world.there("replicas", file.did)) == (1, 1) for file in files)


def test_a_server_killed_in_the_middle_is_waited_for(world: World, proxy: FaultProxy) -> None:
    catalog = world.catalog(url=proxy.url, rules=(NEAR,))
    dataset, files = dataset_in(world, catalog), world.replicas(3)
    catalog.add(files[:1], dataset)
    proxy.call(world.server.kill, method="POST", path="/dids/attachments")
    with pytest.raises(TransientError):
        catalog.add(files, dataset)
    with pytest.raises(TransientError):
        catalog.ping()
    world.server.start()
    catalog.add(files, dataset)
    assert catalog.replicas_of(dataset) == sorted(file.did for file in files)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("RucioException", "('(psycopg.errors.UniqueViolation) duplicate key value violates unique constraint',)"),
        ("RucioException", "('(sqlite3.IntegrityError) UNIQUE constraint failed: dids.scope, dids.name',)"),
        ("FileAlreadyExists", "A file with the same DID already exists"),
        ("Duplicate", "File replica already exists!"),
    ],
)
def test_a_race_with_another_writer_is_looked_into_and_tried_once_more(world: World, proxy: FaultProxy, kind: str, text: str) -> None:
    catalog = world.catalog(url=proxy.url)
    dataset, file = dataset_in(world, catalog), world.replica()
    body = json.dumps({"ExceptionClass": kind, "ExceptionMessage": text})
    proxy.reply(500, body=body, headers={"ExceptionClass": kind}, method="POST", path="/dids/attachments")
    catalog.add([file], dataset)
    assert catalog.replicas_of(dataset) == [file.did]
    proxy.reply(500, body=body, headers={"ExceptionClass": kind}, method="POST", path="/dids/attachments", times=2)
    with pytest.raises(TransientError, match="adding 1 files"):
        catalog.add([file], dataset)


def test_two_writers_of_the_same_files_make_them_once(world: World) -> None:
    catalogs = [world.catalog(rules=(NEAR,)) for _ in range(3)]
    dataset, files = world.did("run"), world.replicas(20)
    errors: list[Exception] = []

    def write(catalog: RucioCatalog) -> None:
        try:
            catalog.ensure_dataset(dataset)
            catalog.add(files, dataset)
        except DunePromptError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(catalog,)) for catalog in catalogs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(world.attached(dataset)) == 20
    assert [row[0] for row in world.rules(dataset)] == [NEAR]


@pytest.mark.parametrize("first", [True, False], ids=["at login", "later"])
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_gateway_that_gives_up_is_transient(world: World, proxy: FaultProxy, status: int, first: bool) -> None:
    catalog = world.catalog(url=proxy.url)
    if not first:
        catalog.ping()
    proxy.reply(status, body="<html>sorry</html>", content_type="text/html")
    with pytest.raises(TransientError, match=str(status)):
        catalog.ping()
    catalog.ping()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [("<html>", "text/html"), ("{", "application/json"), ("[1, 2", "application/x-json-stream"), ("1", "application/json")],
)
def test_an_answer_that_is_none_of_rucios_is_transient(world: World, proxy: FaultProxy, body: str, content_type: str) -> None:
    catalog = world.catalog(url=proxy.url, rules=(NEAR,))
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    for method, path in (("GET", "/rses/"), ("GET", "/dids/"), ("POST", "/replicas/list")):
        proxy.reply(200, body=body, content_type=content_type, method=method, path=path)
        with pytest.raises(TransientError):
            catalog.copies([file.did], dataset)
    proxy.reply(200, body=body, content_type=content_type)
    with pytest.raises(TransientError):
        world.catalog(url=proxy.url).ping()
    assert catalog.copies([file.did], dataset)[file.did].complete


def test_an_answer_cut_off_in_the_middle_is_transient(world: World, proxy: FaultProxy) -> None:
    catalog = world.catalog(url=proxy.url)
    dataset, files = dataset_in(world, catalog), world.replicas(50)
    catalog.add(files, dataset)
    proxy.truncate(path="/replicas/list")
    with pytest.raises(TransientError):
        catalog.copies([file.did for file in files], dataset)
    assert len(catalog.copies([file.did for file in files], dataset)) == 50


def test_a_dead_port_is_transient(world: World) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        catalog = world.catalog(url=f"http://127.0.0.1:{bound.getsockname()[1]}")
        for call in (catalog.ping, lambda: catalog.ensure_dataset(f"{SCOPE}:run"), lambda: catalog.copies([f"{SCOPE}:a"], f"{SCOPE}:run")):
            with pytest.raises(TransientError, match="rucio"):
                call()


def test_a_server_that_never_answers_is_given_up(world: World, proxy: FaultProxy) -> None:
    catalog = world.catalog(url=proxy.url, timeout="0.3s")
    held = proxy.silence(times=None)
    with pytest.raises(TransientError, match="Timeout"):
        catalog.ping()
    assert held.hits == 1
    proxy.clear()
    world.catalog(url=proxy.url).ping()


# -- who we are ------------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_named_without_showing_it(world: World) -> None:
    world.catalog().ping()
    catalog = world.catalog(login={"password": "wr0ng"})
    with pytest.raises(ConfigError, match=r"ddmlab|root") as caught:
        catalog.ping()
    assert "wr0ng" not in str(caught.value)
    assert [finding.ok for finding in catalog.check([])] == [False]


def test_a_good_token_left_in_a_file_does_not_hide_a_wrong_password(world: World) -> None:
    right = world.server.client_config()
    world.catalog(config=right).ping()
    wrong = right.with_name("wrong_password.cfg")
    wrong.write_text(right.read_text().replace("password = secret", "password = wr0ng"))
    with pytest.raises(ConfigError, match="Cannot authenticate"):
        world.catalog(config=wrong).ping()


def test_an_unknown_account_is_a_wrong_setting(world: World) -> None:
    with pytest.raises(ConfigError):
        world.catalog(account="nobody").ping()


def test_a_token_that_is_no_longer_good_is_replaced_and_the_request_carried_out(world: World, catalog: RucioCatalog) -> None:
    dataset, file = dataset_in(world, catalog), world.replica()
    world.server.forget_tokens()
    catalog.add([file], dataset)
    assert catalog.replicas_of(dataset) == [file.did]


def test_an_account_without_rights_is_told_so(world: World) -> None:
    prompt = world.catalog(login={"account": "prompt", "username": "prompt", "password": "pw"}, rules=(NEAR,))
    with pytest.raises(ConfigError, match="Account prompt can not add data identifier to scope hd-protodune"):
        prompt.ensure_dataset(world.did("run"))
    foreign = dataset_in(world, world.catalog())
    with pytest.raises(ConfigError, match="Account prompt can not"):
        prompt.add([world.replica()], foreign)
    own = world.did("run", OWN)
    with pytest.raises(ConfigError, match="quota"):
        prompt.ensure_dataset(own, Keeping(rules=(FAR,)))
    prompt.ensure_dataset(own)
    prompt.add([world.replica(world.did(scope=OWN))], own)
    assert len(world.attached(own)) == 1


def test_catalogues_of_several_settings_live_in_one_process_and_leave_it_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dune-prompt", "declare"])
    before = dict(os.environ)
    one, other = world.catalog(), world.catalog(login={"account": "prompt", "username": "prompt", "password": "pw"})
    for _ in range(2):
        assert [catalog.check([])[0].owner for catalog in (one, other)] == ["root", "prompt"]
    assert sys.argv[0] == "/usr/bin/dune-prompt"
    assert dict(os.environ) == before


def test_a_settings_file_that_is_not_there_or_says_nothing_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*nowhere\.cfg"):
        world.catalog(config=tmp_path / "nowhere.cfg").ping()
    (tmp_path / "empty.cfg").write_text("[client]\n")
    with pytest.raises(ConfigError, match="rucio_host"):
        world.catalog(config=tmp_path / "empty.cfg").ping()


def test_without_its_client_the_catalogue_says_what_to_install(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "declare_daemon.catalogs.rucio_client", None)
    catalog = world.catalog()
    with pytest.raises(ConfigError, match=r"pip install 'dune-prompt\[dune\]'"):
        catalog.ping()
    assert not catalog.check([])[0].ok
    catalog.close()


def test_opening_the_catalogue_loads_no_client() -> None:
    program = (
        "import sys; from declare_daemon.catalogs.rucio import RucioCatalog; from dune_prompt.settings.catalogs import RucioSettings; "
        "RucioCatalog.open(RucioSettings(kind='rucio', rse='NEAR')); sys.exit('rucio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# -- check -----------------------------------------------------------------------------------------------------------------


def traces(world: World) -> list[list[tuple[Any, ...]]]:
    return [world.server.rows(f"select count(*) from {table}") for table in ("dids", "replicas", "rules", "contents", "messages")]


def test_check_finds_all_well_and_leaves_no_trace(world: World) -> None:
    before = traces(world)
    catalog = world.catalog(rules=(NEAR, "NEAR|FAR"), activity="T0 Export", place=True)
    findings = catalog.check([Wanted(SCOPE, "raw"), Wanted(OWN, "raw", Keeping(rse=LOOSE, rules=()))])
    assert {finding.what: finding.detail for finding in findings if not finding.ok} == {}
    assert {finding.what for finding in findings} == {
        *("login", "storage element NEAR", "storage element LOOSE", f"writing to {SCOPE}", f"writing to {OWN}"),
        *(f"rule NEAR in {SCOPE}", f"rule NEAR|FAR in {SCOPE}"),
    }
    assert findings[0].owner == "root"
    assert traces(world) == before


@pytest.mark.parametrize(
    ("change", "wanted", "what", "why"),
    [
        ({}, Wanted("nowhere", "raw"), "writing to nowhere", "Scope"),
        ({"rse": "NOWHERE"}, Wanted(SCOPE, "raw"), "storage element NOWHERE", "NOWHERE"),
        ({"rules": ("NOWHERE",)}, Wanted(SCOPE, "raw"), f"rule NOWHERE in {SCOPE}", "empty set"),
        ({"rules": (NEAR,), "activity": "Nope"}, Wanted(SCOPE, "raw"), f"rule NEAR in {SCOPE}", "Nope"),
        ({"login": "prompt"}, Wanted(SCOPE, "raw"), f"writing to {SCOPE}", "can not add"),
        ({"login": "prompt", "rules": (FAR,)}, Wanted(OWN, "raw"), f"rule FAR in {OWN}", "quota"),
    ],
)
def test_check_says_what_would_not_work(world: World, change: dict[str, Any], wanted: Wanted, what: str, why: str) -> None:
    if change.get("login"):
        change = change | {"login": {"account": "prompt", "username": "prompt", "password": "pw"}}
    before = traces(world)
    findings = {finding.what: finding for finding in world.catalog(**change).check([wanted])}
    assert findings["login"].ok
    assert not findings[what].ok
    assert why in findings[what].detail
    assert traces(world) == before


def test_check_sees_a_blocked_storage_element(world: World) -> None:
    world.server.change_rse(FAR, availability_write=False)
    try:
        findings = {finding.what: finding for finding in world.catalog(rse=FAR, rules=(FAR,)).check([Wanted(SCOPE, "raw")])}
        assert not findings["storage element FAR"].ok
        assert not findings[f"rule FAR in {SCOPE}"].ok
    finally:
        world.server.change_rse(FAR, availability_write=True)


def test_check_of_a_server_that_is_away_is_one_finding(world: World, proxy: FaultProxy) -> None:
    catalog = world.catalog(url=proxy.url, rules=(NEAR,))
    with proxy.refusing():
        findings = catalog.check([Wanted(SCOPE, "raw")])
    assert [(finding.what, finding.ok) for finding in findings] == [("login", False)]


def test_the_end_of_a_token_is_read_from_it() -> None:
    claims = base64.urlsafe_b64encode(b'{"sub": "x", "exp": 1800000000}').decode().rstrip("=")
    assert end_of_token(f"header.{claims}.signature") == 1_800_000_000.0
    for other in ("prompt-prompt-unknown-ef29d444c89947ce", "a.b.c", f"a.{claims[:8]}.c", ""):
        assert end_of_token(other) is None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="this machine has no openssl")
def test_the_end_of_a_certificate_is_read_from_it(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=prompt", "-days", "2"]
    subprocess.run(["openssl", "req", *options, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    end = end_of_certificate(str(certificate))
    assert end is not None
    assert 0 < end - certificate.stat().st_mtime <= 2 * 86400 + 60
    assert end_of_certificate(str(key)) is None
    assert end_of_certificate(str(tmp_path / "none.pem")) is None
