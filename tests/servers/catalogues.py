"""SAM, MetaCat and Rucio together, each behind a proxy that can disturb its network, and what they have of a run."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from tests.servers.metacat import MetacatServer
from tests.servers.postgres import Postgres
from tests.servers.proxy import FaultProxy
from tests.servers.rucio import RucioServer
from tests.servers.sam import SamServer

NAMESPACE, DERIVED, RSE = "hd-protodune", "hd-protodune-det-reco", "DUNE_CERN_EOS"


class Catalogues:
    """The three servers. `proxies` by catalogue; with `delay_s` each message takes so long each way."""

    def __init__(self, folder: Path, *, delay_s: float = 0.0) -> None:
        self.folder, self._delay_s = folder, delay_s
        self._stack = ExitStack()
        self.proxies: dict[str, FaultProxy] = {}

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        try:
            postgres = enter(Postgres(self.folder / "postgres"))
            self.metacat = enter(MetacatServer(self.folder / "metacat", postgres))
            (self.folder / "sam").mkdir(exist_ok=True)
            self.sam = enter(SamServer(self.folder / "sam"))
            self.rucio = enter(RucioServer(self.folder / "rucio"))
            for name, url in (("sam", self.sam.url), ("metacat", self.metacat.url), ("rucio", self.rucio.url)):
                self.proxies[name] = enter(FaultProxy("127.0.0.1", urlsplit(url).port or 0, delay_s=self._delay_s))
            self._prepare()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _prepare(self) -> None:
        self.metacat.add_user("dunepro")
        (self.folder / "eos").mkdir(exist_ok=True)
        self.rucio.add_rse(RSE, self.folder / "eos")
        for namespace in (NAMESPACE, DERIVED):
            self.metacat.add_namespace(namespace, owner="dunepro")
            self.rucio.add_scope(namespace)
        (self.folder / "metacat_token").write_text(self.metacat.token("dunepro"))

    def site_catalogs(self, *, direct: bool = False, place: bool = True) -> str:
        """The `catalogs` of a site file, through the proxies or `direct`ly to the servers."""

        def address(name: str, url: str) -> str:
            return url if direct else f"{self.proxies[name].url}{urlsplit(url).path}"

        config = self.rucio.client_config(url=address("rucio", self.rucio.url))
        return (
            "catalogs:\n"
            f"  - {{kind: sam, url: '{address('sam', self.sam.url)}', client: http, location: 'cern-eos:', timeout: 5s}}\n"
            f"  - {{kind: metacat, url: '{address('metacat', self.metacat.url)}', auth_url: '{self.metacat.auth_url}', auth: token,\n"
            f"     user: dunepro, token_file: '{self.folder / 'metacat_token'}', timeout: 5s}}\n"
            f"  - {{kind: rucio, rse: {RSE}, rules: [{RSE}], config: '{config}', place: {str(place).lower()}, timeout: 5s}}\n"
        )

    def clear(self) -> None:
        """Let the network be well again."""
        for proxy in self.proxies.values():
            proxy.clear()
            proxy.forget()

    # -- read back from the servers ----------------------------------------------------------------------------------------

    def state(self, run: int) -> dict[str, Any]:
        """Everything the three have of a run, as they keep it themselves; run and places are written as `RUN` and `HERE`."""
        number = f"{run:06d}"
        like = f"%{number}%"
        dims = {"dims": f"file_name like {like} with availability anylocation"}
        sam_names = requests.get(f"{self.sam.url}/files/list", params=dims, timeout=10)
        names = sorted(sam_names.text.split())
        found: dict[str, Any] = {"sam": [self._sam(name) for name in names]}
        query = (
            "select f.name, f.size, f.checksums->>'adler32', d.namespace || ':' || d.name, "
            "(select string_agg(p.name, ',' order by p.name) "
            "from parent_child pc join files p on p.id = pc.parent_id where pc.child_id = f.id), "
            "f.metadata->>'dune.output_status', f.id from files f left join files_datasets fd on fd.file_id = f.id "
            "left join datasets d on (d.namespace, d.name) = (fd.dataset_namespace, fd.dataset_name) "
            f"where f.name like '{like}' order by 1, 4"
        )
        rows = self.metacat.execute(query)
        ids = {item["file_name"]: item["file_id"] for item in found["sam"]}
        found["metacat"] = [(*row[:-1], str(row[-1]) == str(ids.get(row[0]))) for row in rows]
        for item in found["sam"]:
            del item["file_id"]
        found["rucio"] = {
            "replicas": self.rucio.rows("select name, bytes, adler32, state from replicas where name like ? order by name", like),
            "contents": self.rucio.rows("select name, child_name from contents where child_name like ? order by 1, 2", like),
            "rules": self.rucio.rows("select name, rse_expression, state from rules where name like ? order by 1, 2", f"%{run}%"),
        }
        return _without(found, number, str(run), str(self.folder))

    def _sam(self, name: str) -> dict[str, Any]:
        answer = requests.get(f"{self.sam.url}/files/name/{name}/metadata", params={"locations": "True"}, timeout=10).json()
        places = sorted(item.get("location") or item.get("full_path") for item in answer.get("locations", []))
        parents = sorted(item["file_name"] for item in answer.get("parents", []))
        keys = ("file_name", "file_id", "file_size", "checksum")
        return {key: answer.get(key) for key in keys} | {"locations": places, "parents": parents}


def _without(value: Any, number: str, run: str, folder: str) -> Any:
    if isinstance(value, str):
        # The folder of a copy is a hash of its name, which has the run in it.
        return re.sub(r"/[0-9a-f]{2}/[0-9a-f]{2}\b", "/HASH", value.replace(number, "RUN").replace(run, "RUN").replace(folder, "HERE"))
    if isinstance(value, dict):
        return {key: _without(item, number, run, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without(item, number, run, folder) for item in value]
    return value
