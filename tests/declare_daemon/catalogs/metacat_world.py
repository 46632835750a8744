"""What the tests of MetaCat share: a server behind a network that can be disturbed, and files to declare."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from declare_daemon.catalogs.metacat import MetacatCatalog
from dune_prompt.records import FileRecord, MadeBy
from dune_prompt.settings.catalogs import MetacatSettings
from tests.servers.metacat import MetacatServer
from tests.servers.postgres import Postgres
from tests.servers.proxy import FaultProxy

MADE_BY = MadeBy("pdhd-prompt", "v1.2", "evaluate")
DECLARE, JOIN, LOOK, QUERY = "/app/data/declare_files", "/app/data/add_files", "/app/data/files", "/app/data/query"
PASSWORD = "correct horse"
numbers = itertools.count()


@dataclass
class World:
    """The server, a proxy before it, and how to open catalogues on them."""

    server: MetacatServer
    proxy: FaultProxy
    folder: Path

    def settings(self, **change: Any) -> MetacatSettings:
        token_file = self.folder / "token"
        token_file.write_text(self.server.token("dunepro") + "\n")
        values = {"kind": "metacat", "url": f"{self.proxy.url}/app", "auth_url": self.server.auth_url}
        return MetacatSettings(**values | {"auth": "token", "user": "dunepro", "token_file": token_file, "timeout": "20s"} | change)

    def open(self, **change: Any) -> MetacatCatalog:
        return MetacatCatalog.open(self.settings(**change))

    def asked(self, endpoint: str) -> list[int]:
        """Of how many files each request to this endpoint was."""
        return [asked.things for asked in self.server.log if asked.endpoint == endpoint]

    def everything(self) -> list[tuple[Any, ...]]:
        """All that could be different after a write, file counts left out."""
        tables = ("files", "files_datasets", "parent_child")
        return [row for table in tables for row in self.server.execute(f"select * from {table} t order by t::text")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("metacat")
    with (
        Postgres(folder / "postgres") as postgres,
        MetacatServer(folder / "server", postgres) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
    ):
        server.add_user("dunepro", password=PASSWORD)
        server.add_user("somebody")
        yield World(server, proxy, folder)


def new_namespace(world: World) -> str:
    namespace = f"ns{next(numbers)}"
    world.server.add_namespace(namespace, owner="dunepro")
    return namespace


@pytest.fixture
def ns(world: World) -> Iterator[str]:
    """A new namespace of ours, on an undisturbed network."""
    namespace = new_namespace(world)
    world.server.add_dataset(f"{namespace}:run_1")
    world.proxy.clear()
    world.proxy.forget()
    world.server.forget()
    yield namespace
    world.proxy.clear()


@pytest.fixture
def catalog(world: World, ns: str) -> Iterator[MetacatCatalog]:
    catalog = world.open()
    yield catalog
    catalog.close()


def raw(ns: str, number: int = 0, **change: Any) -> FileRecord:
    values = {"namespace": ns, "name": f"raw{number}.hdf5", "size_bytes": 5, "adler32": "0000000a", "metadata": {"core.runs": [1]}}
    return FileRecord(**values | change)


def child(of: FileRecord, stage: str = "evaluate", version: str = "v1.2", key: str = "dune.campaign", **change: Any) -> FileRecord:
    metadata = {key: "pdhd-prompt", "core.application.version": version, "core.application.name": stage}
    return raw(of.namespace, name=f"{of.name}_{stage}_{version}", metadata=metadata, parents=(of.did,), **change)
