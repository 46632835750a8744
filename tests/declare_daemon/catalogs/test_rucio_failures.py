"""Rucio when the network, the server or the client fails: whatever happens when, everything is there once in the end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading

import pytest

from declare_daemon.catalogs.rucio import RucioCatalog
from dune_prompt.errors import DunePromptError, TransientError
from tests.declare_daemon.catalogs.rucio_world import (
    NEAR,
    SCOPE,
    World,
    catalog,
    dataset_in,
    needs_rucio,
    proxy,
    shared,
    world,
)
from tests.servers.proxy import FaultProxy

__all__ = ["catalog", "proxy", "shared", "world"]  # fixtures

pytestmark = needs_rucio


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
    [
        ("<html>", "text/html"),
        ("{", "application/json"),
        ('{"error": "gateway"}', "application/json"),
        ("[1, 2", "application/x-json-stream"),
        ("1", "application/json"),
    ],
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
