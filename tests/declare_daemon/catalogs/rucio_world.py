"""What the tests of Rucio share: a server with storage elements and accounts, catalogues on it, and a network that can be disturbed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from declare_daemon.catalogs import Keeping, Replica
from declare_daemon.catalogs.rucio import RucioCatalog
from declare_daemon.storage.lfn2pfn import relative_path
from dune_prompt.settings.catalogs import RucioSettings
from tests.servers.proxy import FaultProxy
from tests.servers.rucio import RucioServer

needs_rucio = pytest.mark.skipif(RucioServer.missing() is not None, reason=str(RucioServer.missing()))

NEAR, FAR, LOOSE, EOS, IDENTITY = "NEAR", "FAR", "LOOSE", "EOS", "IDENTITY"
SCOPE, OWN = "hd-protodune", "prompt-scope"
RULES = (NEAR, FAR)
# An account that owns the scope OWN and may hold files at NEAR, and no more.
PROMPT = {"account": "prompt", "username": "prompt", "password": "pw"}


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
