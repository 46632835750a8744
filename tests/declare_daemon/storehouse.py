"""A replica catalogue in memory that wants copies at its own paths, and whose rules and outages a test decides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from declare_daemon.catalogs.protocol import AS_CONFIGURED, Copies, Finding, Keeping, Replica, Wanted
from dune_prompt.errors import ConflictError, TransientError


class Storehouse:
    """Implements `ReplicaCatalog`. `rules`: state of the rule TAPE by DID, "OK" if not said otherwise."""

    name = "rucio"

    def __init__(self, folder: Path, faults: Any) -> None:
        self.folder, self._faults = folder, faults
        folder.mkdir(exist_ok=True)
        self.replicas: dict[str, Replica] = {}
        self.rules: dict[str, str] = {}
        self.away = False
        self.calls: list[str] = []

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.away:
            raise TransientError("rucio: no answer")
        self._faults.point()

    def ping(self) -> None:
        self._called("ping")

    def ensure_dataset(self, did: str, keeping: Keeping = AS_CONFIGURED) -> None:
        self._called("ensure_dataset")

    def check(self, wanted: Sequence[Wanted]) -> list[Finding]:
        return []

    def close(self) -> None:
        pass

    def places_for(self, dids: Sequence[str], keeping: Keeping = AS_CONFIGURED) -> dict[str, str]:
        self._called("places_for")
        return {did: str(self.folder / did.partition(":")[2]) for did in dids}

    def add(self, replicas: Sequence[Replica], dataset: str, keeping: Keeping = AS_CONFIGURED) -> None:
        self._called("add")
        for replica in replicas:
            known = self.replicas.setdefault(replica.did, replica)
            if (known.size_bytes, known.adler32) != (replica.size_bytes, replica.adler32):
                raise ConflictError(f"{replica.did}: registered with other content")
        self._faults.point()

    def copies(self, dids: Sequence[str], dataset: str, keeping: Keeping = AS_CONFIGURED, *, closely: bool = True) -> dict[str, Copies]:
        self._called("copies")
        return {
            did: Copies(did, item.size_bytes, item.adler32, {"EOS": item.path}, {"TAPE": self.rules.get(did, "OK")})
            for did in dids
            if (item := self.replicas.get(did)) is not None
        }

    def replicas_of(self, dataset: str) -> list[str]:
        self._called("replicas_of")
        return sorted(self.replicas)
