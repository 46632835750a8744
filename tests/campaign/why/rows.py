"""Ledger and journal filled by hand: a store with rows as the engine and the daemon leave them, without either."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import sqlalchemy as sa
from ulid import ULID

from campaign.definition import Campaign
from campaign.ledger.tables import attempt_table, campaign_table, commit_table, count_table, task_table
from campaign.states import AttemptState, TaskState
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table, queue_table, step_table
from dune_prompt.settings import Site
from dune_prompt.store import Store, lease_table, open_store

NOW = 1_750_000_000.0
CREATED = "20240718T054941"


def raw_name(index: int, run: int = 28086, *, writer: str = "dataflow0_datawriter_0", created: str = CREATED) -> str:
    return f"np04hd_raw_run{run:06d}_{index:04d}_{writer}_{created}.hdf5"


@dataclass
class Books:
    """A store and the hands that write its rows. Times count from NOW."""

    folder: Path
    site: Site
    store: Store
    campaigns: dict[str, int] = field(default_factory=dict)
    _attempts: int = 0

    @classmethod
    def open(cls, folder: Path, *, url: str | None = None, **site: Any) -> Books:
        settings = {
            "site": "test",
            "workspace": folder,
            "buffer": {"path": str(folder / "buffer")},
            "streams": [{"name": "physics", "pattern": "np04hd_raw_*.hdf5", "process": True, "lifetime": "1h"}],
            "slots": {"min": 1, "max": 4},
        }
        books = cls(folder, Site.model_validate(settings | site), open_store(url or f"sqlite:///{folder / 'books.sqlite'}"))
        books.lease("engine")
        books.lease(f"buffer:{folder / 'buffer'}")
        return books

    def lease(self, name: str, held: bool = True) -> None:
        with self.store.write() as connection:
            connection.execute(sa.delete(lease_table).where(lease_table.c.name == name))
            if held:
                connection.execute(sa.insert(lease_table).values(name=name, holder="elsewhere/1/1", token=1, expires_at=NOW + 30))

    def insert(self, table: sa.Table, **values: Any) -> int:
        with self.store.write() as connection:
            key = connection.execute(sa.insert(table).values(**values)).inserted_primary_key
            return key[0] if isinstance(key[0], int) else 0

    def update(self, table: sa.Table, row_id: Any, **values: Any) -> None:
        with self.store.write() as connection:
            connection.execute(sa.update(table).where(table.c.id == row_id).values(**values))

    def campaign(self, name: str = "pdhd-prompt", version: str = "v1", *, layout: str = "fused", required: bool = True, **more: Any) -> int:
        content = {
            "campaign": name,
            "detector": "pdhd",
            "stream": "physics",
            "version": version,
            "required": required,
            "layout": layout,
            "outputs": {"namespace": "hd-protodune-det-reco", "data_tier": "decoded-raw"},
            "stages": {"nf_sp": {"payload": "noop"}},
            **more,
        }
        row = {
            "name": name,
            "version": version,
            "stream": "physics",
            "detector": "pdhd",
            "layout": layout,
            "required": required,
            "file_hash": "c" * 64,
            "content": Campaign.model_validate(content).model_dump(mode="json"),
            "first_seen": NOW - 1e6,
            "taken_in_at": NOW - 1e6,
        }
        self.campaigns[f"{name} {version}"] = campaign_id = self.insert(campaign_table, **row)
        return campaign_id

    def raw(self, name: str | None = None, state: FileState = FileState.DECLARED, *, run: int | None = 28086, **values: Any) -> int:
        name = name or raw_name(0)
        row = {
            "origin": "buffer",
            "name": name,
            "path": str(self.folder / "buffer" / name),
            "state": state.value,
            "stream": "physics",
            "did": f"hd-protodune:{name}",
            "size_bytes": 4_000_000_000,
            "adler32": f"{crc32(name.encode()):08x}",
            "metadata": {"core.runs": [run]},
            "run": run,
            "closed_at": NOW - 7200,
            "found_at": NOW - 7199,
            "verified_at": NOW - 7190,
            "declared_at": NOW - 7180,
        } | values
        file_id = self.insert(file_table, **row)
        if state in (FileState.DECLARED, FileState.LEFT, FileState.LEAVING) and run is not None:
            self.confirm(file_id)
        elif state is FileState.VERIFIED:
            self.waits(file_id)
        return file_id

    def confirm(self, file_id: int, catalog: str = "embedded", step: str = "metadata") -> None:
        self.insert(step_table, file_id=file_id, catalog=catalog, step=step, done_at=NOW - 7180)

    def waits(self, file_id: int, catalog: str = "embedded", step: str = "metadata") -> None:
        self.insert(queue_table, file_id=file_id, catalog=catalog, step=step)

    def task(
        self, campaign_id: int, state: TaskState = TaskState.READY, *, name: str | None = None, step: str = "chain", **values: Any
    ) -> int:
        name = name or raw_name(0)
        row: dict[str, Any] = {
            "campaign_id": campaign_id,
            "input_did": f"hd-protodune:{name}",
            "input_id": 0,
            "step": step,
            "state": state.value,
            "late": False,
            "run": 28086,
            "size_bytes": 4_000_000_000,
            "deadline": NOW - 3600,
            "allowed_failures": 3,
            "ready_at": NOW - 60,
            "closed_at": NOW - 7200,
            "created_at": NOW - 7190,
            "done_at": NOW - 7100 if state is TaskState.DONE else None,
        } | values
        task_id = self.insert(task_table, **row)
        if not row["input_id"]:
            self.update(task_table, task_id, input_id=task_id)
        key = {"campaign_id": campaign_id, "run": row["run"], "step": step, "state": state.value, "late": row["late"]}
        with self.store.write() as connection:
            mine = sa.update(count_table).where(*(count_table.c[column] == value for column, value in key.items()))
            if connection.execute(mine.values(tasks=count_table.c.tasks + 1)).rowcount == 0:
                connection.execute(sa.insert(count_table).values(**key, tasks=1))
        return task_id

    def attempt(self, task_id: int, state: AttemptState = AttemptState.SUCCEEDED, **values: Any) -> str:
        self._attempts += 1
        ended = state in (AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.LOST)
        row = {
            "id": f"{str(ULID.from_timestamp(NOW - 7150))[:10]}{self._attempts:016d}",
            "task_id": task_id,
            "number": 1,
            "state": state.value,
            "stages": "nf_sp,declare,evaluate,dqm_upload",
            "launcher": "local",
            "handle": "4711",
            "lease_until": NOW + 600,
            "created_at": NOW - 7150,
            "submitted_at": NOW - 7149,
            "started_at": NOW - 7148 if state is not AttemptState.SUBMITTING else None,
            "ended_at": NOW - 7110 if ended else None,
            "host": "worker7",
        } | values
        with self.store.write() as connection:
            connection.execute(sa.insert(attempt_table).values(**row))
        return str(row["id"])

    def output(self, task_id: int, attempt: str, *, raw: str | None = None, state: FileState = FileState.DECLARED, **values: Any) -> str:
        """The frame file of an input, committed for its task and handed over; its name."""
        raw = raw or raw_name(0)
        name = f"{raw.removesuffix('.hdf5')}_pdhd-prompt_v1_gauss.npz"
        with self.store.write() as connection:
            outputs = [[name, 100, "0000000a", True]]
            connection.execute(sa.insert(commit_table).values(input_id=task_id, stage="nf_sp", attempt_id=attempt, outputs=outputs))
        workflow = {"attempt": attempt, "campaign_file_sha256": "c" * 64, "code_version": "0.1.0"}
        metadata = {
            "core.runs": [28086],
            "core.application.family": "dune-prompt",
            "core.application.name": "nf_sp",
            "core.application.version": "v1",
            "dune.campaign": "pdhd-prompt",
            "dune.config_file": "pdhd-prompt.yaml",
            "dune.workflow": workflow,
        }
        row = {
            "origin": "outbox",
            "name": name,
            "path": str(self.folder / "outbox" / name),
            "state": state.value,
            "did": f"hd-protodune-det-reco:{name}",
            "size_bytes": 100,
            "adler32": "0000000a",
            "metadata": metadata,
            "parents": [f"hd-protodune:{raw}"],
            "dataset": "hd-protodune-det-reco:set",
            "run": 28086,
            "attempt": attempt,
            "closed_at": NOW - 7110,
            "found_at": NOW - 7110,
            "verified_at": NOW - 7109 if state is not FileState.FOUND else None,
            "declared_at": NOW - 7108 if state is FileState.DECLARED else None,
        } | values
        file_id = self.insert(file_table, **row)
        if state is FileState.DECLARED:
            self.confirm(file_id)
        return name
