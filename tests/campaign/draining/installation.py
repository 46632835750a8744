"""A small installation without an engine: a store, campaigns, catalogues, and the test's hands in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from campaign.installation import ActiveCampaign, Installation, open_installation
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tasks import Task
from declare_daemon.catalogs import Entry, Found, Left, Recall, RuleState
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table, intake_table
from dune_prompt.errors import DunePromptError
from dune_prompt.records import FileRecord, MadeBy

NOW = 1_700_000_000.0
NAMESPACE = "hd-protodune"

SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "raw_*.hdf5", process: true, lifetime: 1h}
"""

CAMPAIGN = """
campaign: test-prompt
detector: pdhd
stream: physics
version: v1
required: true
layout: LAYOUT
inputs: INPUTS
outputs: {namespace: hd-protodune-det-reco, data_tier: decoded-raw}
"""

MADE_BY = MadeBy("test-prompt", "v1", "evaluate")


@dataclass
class Small:
    """An installation in a folder."""

    folder: Path
    installation: Installation
    writes: int = 0

    @classmethod
    def at(cls, folder: Path, *, inputs: str = "{}", layout: str = "fused", site: str = SITE, now: float = NOW) -> Small:
        if not (folder / "site.yaml").exists():
            (folder / "buffer").mkdir()
            (folder / "buffer" / ".buffer").touch()
            (folder / "site.yaml").write_text(site)
            (folder / "campaigns").mkdir()
        (folder / "campaigns" / "test.yaml").write_text(CAMPAIGN.replace("LAYOUT", layout).replace("INPUTS", inputs))
        return cls(folder, open_installation(folder / "site.yaml", now))

    def close(self) -> None:
        self.installation.lease.release()
        self.installation.catalogs.close()
        self.installation.store.close()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        self.writes += 1
        with self.installation.store.write() as connection:
            self.installation.lease.check(connection)
            yield connection

    @property
    def campaign(self) -> ActiveCampaign:
        return next(iter(self.installation.campaigns.values()))

    @property
    def embedded(self) -> EmbeddedCatalog:
        catalog = self.installation.catalogs.truth
        assert isinstance(catalog, EmbeddedCatalog)
        return catalog

    # -- files -------------------------------------------------------------------------------------------------------------

    def journal(self, count: int, *, run: int = 1, first: int = 0, state: FileState = FileState.VERIFIED, **values: Any) -> list[str]:
        """Files that the daemon has in this state; their DIDs."""
        dids = []
        with self.installation.store.write() as connection:
            for index in range(first, first + count):
                record = raw(index, run=run)
                row = {"origin": "buffer", "name": record.name, "path": str(self.folder / "buffer" / record.name), "state": state.value}
                row |= {"stream": "physics", "did": record.did, "size_bytes": record.size_bytes, "adler32": record.adler32}
                row |= {"metadata": record.metadata, "run": run, "file_index": index, "closed_at": NOW, "found_at": NOW} | values
                file_id = connection.execute(sa.insert(file_table).values(**row).returning(file_table.c.id)).scalar_one()
                if state in (FileState.VERIFIED, FileState.DECLARED):
                    connection.execute(sa.insert(intake_table).values(file_id=file_id))
                dids.append(record.did)
        return dids

    def declare(self, records: Sequence[FileRecord], dataset: str) -> None:
        """What somebody else declares in the embedded catalogue."""
        other = EmbeddedCatalog.at(self.installation.site.workspace / "catalog.sqlite")
        other.ensure_dataset(dataset)
        other.declare(records, dataset)
        other.close()

    # -- the ledger --------------------------------------------------------------------------------------------------------

    def tasks(self) -> list[Task]:
        with self.installation.store.read() as connection:
            return ledger_tasks.select(connection)

    def states(self) -> list[str]:
        return [task.state.value for task in self.tasks()]

    def rows(self, statement: Any) -> list[Any]:
        with self.installation.store.read() as connection:
            return list(connection.execute(statement).all())


def eventually(what: Callable[[], Any]) -> Any:
    """What `what` returns as soon as it is true."""
    end = time.monotonic() + 30
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


def raw(index: int = 0, *, run: int = 1, **change: Any) -> FileRecord:
    values: dict[str, Any] = {"namespace": NAMESPACE, "name": f"raw_run{run:06d}_{index:04d}_dw.hdf5", "size_bytes": 1000}
    values |= {"adler32": "00000001", "metadata": {"core.runs": [run], "core.data_tier": "raw"}}
    return FileRecord(**values | change)


def child(of: FileRecord, made_by: MadeBy = MADE_BY) -> FileRecord:
    metadata = {
        "dune.campaign": made_by.campaign,
        "core.application.version": made_by.version,
        "core.application.name": made_by.stage,
    }
    return FileRecord("hd-protodune-det-reco", f"{of.name}_{made_by.version}", 10, "00000002", metadata, (of.did,))


@dataclass
class ScriptedCatalog:
    """A remote catalogue in memory, that answers, fails, or hangs as the test says."""

    name: str = "metacat"
    done: set[str] = field(default_factory=set)
    files: dict[str, list[FileRecord]] = field(default_factory=dict)
    error: DunePromptError | None = None
    copies: dict[str, tuple[Found, ...]] = field(default_factory=dict)
    rules: dict[str, RuleState] = field(default_factory=dict)
    recalls: list[Recall] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    hang: Any = None

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.hang is not None:
            self.hang.wait(30)
        if self.error is not None:
            raise self.error

    def children_of(self, dids: Sequence[str], made_by: MadeBy) -> dict[str, tuple[str, ...]]:
        self._ask("children_of")
        return {did: (f"{did}_child",) for did in dids if did in self.done}

    def datasets(self, pattern: str) -> list[str]:
        self._ask("datasets")
        return sorted(did for did in self.files if did.startswith(pattern.partition("*")[0]))

    def left(self, dataset: str, made_by: MadeBy, mark: str | None = None, known: Any = frozenset) -> Left | None:
        self._ask("left")
        records = self.files.get(dataset, [])
        if mark == str(len(records)):
            return None
        entries = {item.did: entry(item) for item in records if item.did not in self.done}
        return Left(frozenset(entries), entries, str(len(records)))

    def look(self, dids: Sequence[str], *, with_metadata: bool = False) -> dict[str, Entry]:
        self._ask("look")
        every = {record.did: record for records in self.files.values() for record in records}
        return {did: entry(every[did]) for did in dids if did in every}

    def find(self, dids: Sequence[str]) -> dict[str, tuple[Found, ...]]:
        self._ask("find")
        return {did: self.copies[did] for did in dids if did in self.copies}

    def recall(self, recall: Recall) -> RuleState:
        self._ask("recall")
        self.recalls.append(recall)
        return self.rules.setdefault(recall.dataset, RuleState(f"rule{len(self.rules)}", "REPLICATING"))

    def recalled(self, recall: Recall) -> RuleState | None:
        self._ask("recalled")
        return self.rules.get(recall.dataset)

    def close(self) -> None:
        pass


def entry(record: FileRecord, declared_at: float = NOW) -> Entry:
    return Entry(record.did, record.size_bytes, record.adler32, metadata=record.metadata, declared_at=declared_at)
