"""An installation with versions v1 and v2 of one campaign and the embedded catalogue, and the test's hands in place of the engine.

Whatever commands and reconciliation ask of an engine is here; jobs are played by `process`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ulid import ULID

from campaign.installation import ActiveCampaign, Installation, open_installation
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Attempt, Change
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import Move, Task
from campaign.places import output_dir
from campaign.states import AttemptState, TaskState
from campaign.versions.inputs import take_in_run
from declare_daemon.journal import FileState, meet_obligations
from declare_daemon.journal.tables import file_table, obligation_table
from dune_prompt.records import FileRecord, Output

NOW = 1_700_000_000.0

SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "*.hdf5", process: true, lifetime: 1h}
slots: {min: 1, max: 4}
"""

CAMPAIGN = """
campaign: prompt
detector: pdhd
stream: physics
version: VERSION
required: true
layout: LAYOUT
stages: {nf_sp: {payload: noop, lifetime: 60s, memory: 1GB}}
outputs: {namespace: reco, data_tier: decoded-raw}
retries: 2
"""


@dataclass
class TwoVersions:
    """`v1` covers everything, what `v2` covers is said by its file. Stands for the engine: it has `installation` and `writing`."""

    folder: Path
    installation: Installation
    launchers: dict[str, Any] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(
        cls, folder: Path, *, v2: str | None = None, v1: str = "", layout: str = "fused", site: str = "", now: float = NOW
    ) -> Iterator[TwoVersions]:
        """`v1`, `v2` and `site` are lines added to the campaign files and the site file; without `v2` there is only v1."""
        (folder / "buffer").mkdir(exist_ok=True)
        (folder / "buffer" / ".buffer").touch()
        (folder / "campaigns").mkdir(exist_ok=True)
        (folder / "site.yaml").write_text(SITE + site)
        for version, lines in (("v1", v1), ("v2", v2)):
            if lines is not None:
                text = CAMPAIGN.replace("VERSION", version).replace("LAYOUT", layout) + lines + "\n"
                (folder / "campaigns" / f"{version}.yaml").write_text(text)
        installation = open_installation(folder / "site.yaml", now)
        installation.place_of(next(iter(installation.campaigns.values())).settings).mkdir(parents=True, exist_ok=True)
        try:
            yield cls(folder, installation)
        finally:
            installation.lease.release()
            installation.catalogs.close()
            installation.store.close()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        with self.installation.store.write() as connection:
            yield connection

    @property
    def catalog(self) -> Any:
        return self.installation.catalogs.truth

    def version(self, name: str) -> ActiveCampaign:
        return next(item for item in self.installation.campaigns.values() if item.settings.version == name)

    # what happens to files

    def arrive(self, count: int, *, run: int = 1, first: int = 0, at: float = NOW, metadata: dict[str, Any] | None = None) -> list[str]:
        """Raw files that are declared and known to the journal; their DIDs. The engine has not made their tasks."""
        records = [
            FileRecord(
                "raw", f"raw_run{run:06d}_{i:04d}.hdf5", 1000, "00000001", {"core.runs": [run]} | (metadata or {}), (), f"raw:run_{run}"
            )
            for i in range(first, first + count)
        ]
        self.catalog.ensure_dataset(f"raw:run_{run}")
        self.catalog.declare(records, f"raw:run_{run}")
        rows = [
            {
                "origin": "buffer",
                "name": record.name,
                "path": str(self.folder / "buffer" / record.name),
                "state": FileState.DECLARED.value,
                "stream": "physics",
                "did": record.did,
                "size_bytes": 1000,
                "adler32": "00000001",
                "metadata": record.metadata,
                "dataset": record.dataset,
                "run": run,
                "file_index": index,
                "closed_at": at,
                "found_at": at,
                "verified_at": at,
                "declared_at": at,
            }
            for index, record in enumerate(records, first)
        ]
        with self.writing() as connection:
            connection.execute(sa.insert(file_table), rows)
        return [record.did for record in records]

    def take_in(self, now: float = NOW) -> None:
        """What the engine's step does with new files."""
        for run in self.values(sa.select(file_table.c.run).where(file_table.c.origin == "buffer").distinct()):
            for campaign in self.installation.campaigns.values():
                take_in_run(self.installation, self.writing, campaign, run, now)

    def begin(self, version: str, did: str, now: float = NOW) -> Attempt:
        """A job begins on the next step of a file; its attempt."""
        task = next(task for task in self.tasks(version, did) if task.state is TaskState.READY)
        campaign = self.version(version)
        attempt = Attempt(
            id=str(ULID.from_timestamp(now)),
            task_id=task.id,
            slice_id=None,
            number=task.attempts + 1,
            state=AttemptState.RUNNING,
            stages=campaign.steps[task.step].stages,
            launcher="local",
            handle="1",
            token_hash=None,
            lease_until=now + 60,
            created_at=now,
            submitted_at=now,
            started_at=now,
            heartbeat_at=None,
            ended_at=None,
            host="worker",
            error_class=None,
            message=None,
            memory_bytes=10**9,
            lifetime_s=60.0,
            cpu_s=None,
            rss_bytes=None,
        )
        with self.writing() as connection:
            ledger_attempts.create(connection, [attempt])
            ledger_tasks.apply(connection, [Move(task, TaskState.SUBMITTING, None, {"attempts": task.attempts + 1})], now)
            ledger_tasks.apply(connection, [Move(self._again(connection, task), TaskState.RUNNING, None, {"started_at": now})], now)
        return attempt

    def end(self, attempt: Attempt, *, error_class: str | None = None, wall: float = 10.0, cpu: float = 8.0, now: float = NOW) -> Task:
        """The job is over: committed and reported, or failed and to be tried again."""
        state = AttemptState.SUCCEEDED if error_class is None else AttemptState.FAILED
        with self.writing() as connection:
            task = ledger_tasks.by_ids(connection, [attempt.task_id])[attempt.task_id]
            values = {"state": state, "ended_at": attempt.created_at + wall, "cpu_s": cpu, "rss_bytes": 10**9, "error_class": error_class}
            ledger_attempts.update(connection, [Change(attempt, values)], now)
            if error_class is not None:
                ledger_tasks.apply(connection, [Move(task, TaskState.WAITING_RETRY, "failed", {"ready_at": now + 5})], now)
                return task
            folder = output_dir(self.installation.place_of(self.version_of(task).settings), attempt.id)
            folder.mkdir(parents=True, exist_ok=True)
            outputs = {stage: self._outputs(task, stage) for stage in attempt.stages}
            for stage in outputs.values():
                for output in stage:
                    (folder / output.name).write_bytes(b"x" * 10)
            ledger_attempts.commit(connection, [(task, attempt.id, outputs)])
            ledger_tasks.apply(connection, [Move(task, TaskState.REPORTED, None, {"reported_at": now})], now)
            return self._again(connection, task)

    def declare(self, task: Task, record: dict[str, Any] | None = None, now: float = NOW) -> None:
        """The registrar has declared what the task's input committed; the task is done. `record`: the data-quality record's content."""
        campaign = self.version_of(task)
        settings = campaign.settings
        with self.writing() as connection:
            committed = ledger_attempts.committed(connection, [task.input_id])[task.input_id]
            rows, records = [], []
            for stage, commit in committed.items():
                for output in commit.outputs:
                    path = output_dir(self.installation.place_of(settings), commit.attempt_id) / output.name
                    if record is not None and output.name.endswith(".json"):
                        path.write_text(json.dumps(record))
                    metadata = {
                        "core.runs": [task.run],
                        "dune.campaign": settings.campaign,
                        "core.application.version": settings.version,
                        "core.application.name": stage,
                    }
                    child = FileRecord("reco", output.name, 10, "00000001", metadata, (task.input_did,), f"reco:run_{task.run}")
                    records.append(child)
                    rows.append(
                        {
                            "origin": "outbox",
                            "name": child.name,
                            "path": str(path),
                            "state": FileState.DECLARED.value,
                            "did": child.did,
                            "size_bytes": 10,
                            "adler32": "00000001",
                            "metadata": metadata,
                            "parents": [task.input_did],
                            "dataset": child.dataset,
                            "run": task.run,
                            "attempt": commit.attempt_id,
                            "closed_at": now,
                            "found_at": now,
                            "verified_at": now,
                            "declared_at": now,
                        }
                    )
            self.catalog.ensure_dataset(f"reco:run_{task.run}")
            self.catalog.declare(records, f"reco:run_{task.run}")
            connection.execute(sa.insert(file_table), rows)
            ledger_tasks.apply(connection, [Move(self._again(connection, task), TaskState.DONE, None, {"done_at": now})], now)
            meet_obligations(connection, [(task.input_did, settings.campaign, settings.version)], now)

    def process(self, version: str, dids: Sequence[str], *, now: float = NOW, **how: Any) -> None:
        """These files are processed by the version, from the first to the last (fused layout)."""
        record = how.pop("record", None)
        for did in dids:
            self.declare(self.end(self.begin(version, did, now), now=now, **how), record, now)

    # what there is

    def version_of(self, task: Task) -> ActiveCampaign:
        return self.installation.campaigns[task.campaign_id]

    def tasks(self, version: str | None = None, did: str | None = None) -> list[Task]:
        conditions = []
        if version is not None:
            conditions.append(task_table.c.campaign_id == self.version(version).id)
        if did is not None:
            conditions.append(task_table.c.input_did == did)
        with self.installation.store.read() as connection:
            return ledger_tasks.select(connection, *conditions)

    def states(self, version: str) -> list[str]:
        return [task.state.value for task in self.tasks(version)]

    def inputs(self, version: str) -> set[str]:
        return {task.input_did for task in self.tasks(version)}

    def kept(self, version: str) -> set[str]:
        """The files that may not leave before the version has processed them."""
        c = obligation_table.c
        return set(self.values(sa.select(c.did).where(c.version == version, c.met_at.is_(None), c.waived_by.is_(None))))

    def values(self, statement: Any) -> list[Any]:
        with self.installation.store.read() as connection:
            return list(connection.execute(statement).scalars())

    def rows(self, statement: Any) -> list[Any]:
        with self.installation.store.read() as connection:
            return list(connection.execute(statement).all())

    @staticmethod
    def _again(connection: sa.Connection, task: Task) -> Task:
        return ledger_tasks.by_ids(connection, [task.id])[task.id]

    def _outputs(self, task: Task, stage: str) -> list[Output]:
        what = {"nf_sp": "gauss.npz", "evaluate": "metrics.json"}.get(stage)
        if what is None:
            return []
        settings = self.version_of(task).settings
        name = f"{Path(task.input_did.partition(':')[2]).stem}_{settings.campaign}_{settings.version}_{what}"
        return [Output(name, 10, "00000001", declared=True)]
