"""An installation in a temporary folder, and a batch system whose jobs end as the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.engine import Engine
from campaign.installation import Installation, open_installation
from campaign.launchers.protocol import Job, JobStatus, Seen, Submission
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tasks import Task
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table, intake_table
from dune_prompt.errors import TransientError
from dune_prompt.records import Assignment, read_json, write_json

NOW = 1_700_000_000.0

SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "*.hdf5", process: true, lifetime: 1h}
slots: {min: 1, max: 4}
"""

CAMPAIGN = """
campaign: test-prompt
detector: pdhd
stream: physics
version: v1
required: true
layout: LAYOUT
stages: {nf_sp: {payload: noop, lifetime: 60s, memory: 1GB}}
outputs: {namespace: hd-protodune-det-reco, data_tier: decoded-raw}
retries: 2
poison: {last: 1000}
"""

Outcome = Callable[[Assignment], tuple[list[dict[str, Any]], dict[str, str]]]


@dataclass
class ScriptedLauncher:
    """A batch system in memory. `outcome` makes the stage reports of a job when the test ends it."""

    name: str = "local"
    answers_later: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    gone: dict[str, JobStatus] = field(default_factory=dict)
    away: bool = False
    refuse: bool = False

    def submit(self, submission: Submission) -> Mapping[str, str]:
        if self.refuse:
            raise TransientError("the batch system takes no jobs")
        jobs = submission.jobs
        for job in jobs:
            self.jobs[job.attempt] = job
        return {job.attempt: f"handle-{job.attempt}" for job in jobs}

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        if self.away:
            raise TransientError("the batch system does not answer")
        answer = {}
        for job in jobs:
            if job.attempt in self.gone or job.attempt not in self.jobs:
                answer[job.attempt] = self.gone.get(job.attempt, JobStatus(Seen.GONE))
            else:
                answer[job.attempt] = JobStatus(Seen.RUNNING if job.attempt in self.running else Seen.WAITING)
        return answer

    def kill(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.gone[job.attempt] = JobStatus(Seen.GONE)

    def fetch_log(self, job: Job) -> None:
        """There is none."""

    def available(self) -> None:
        if self.away:
            raise TransientError("the batch system does not answer")

    def something_ended(self) -> bool:
        return bool(self.gone)

    # what tests do to jobs

    def waiting(self) -> list[str]:
        return [attempt for attempt in self.jobs if attempt not in self.gone]

    def assignment(self, attempt: str) -> Assignment:
        path = self.jobs[attempt].assignment
        return Assignment.from_json(read_json(path), str(path))

    def vanish(self, attempt: str, error_class: str | None = None, message: str | None = None) -> None:
        self.gone[attempt] = JobStatus(Seen.GONE, error_class, message)

    def finish(self, attempt: str, *, fail_at: str | None = None, error_class: str = "payload", message: str = "boom") -> None:
        """End the job: its stages make one declared file each (nf_sp, evaluate) and go well up to `fail_at`."""
        assignment = self.assignment(attempt)
        stages = []
        for name in assignment.stages:
            failed = name == fail_at
            outputs = [] if failed or name not in ("nf_sp", "evaluate") else [_make_output(assignment, name)]
            stages.append(
                {
                    "name": name,
                    "state": "failed" if failed else "ok",
                    "error_class": error_class if failed else None,
                    "message": message if failed else None,
                    "started": NOW + 1,
                    "ended": NOW + 2,
                    "cpu_s": 1.0,
                    "rss_bytes": 1000,
                    "outputs": outputs,
                    "metrics": {},
                }
            )
            if failed:
                break
        report = {
            "schema": 1,
            "attempt": attempt,
            "task": assignment.task,
            "campaign": assignment.campaign,
            "version": assignment.version,
            "host": "worker",
            "stages": stages,
        }
        write_json(Path(assignment.report), report)
        self.vanish(attempt)


def _make_output(assignment: Assignment, stage: str) -> dict[str, Any]:
    folder = Path(assignment.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    what = {"nf_sp": "gauss.npz", "evaluate": "metrics.json"}[stage]
    name = f"{Path(assignment.raw.name).stem}_{assignment.campaign}_{assignment.version}_{what}"
    (folder / name).write_bytes(b"x" * 10)
    sidecar = {
        "name": name,
        "namespace": "hd-protodune-det-reco",
        "size": 10,
        "checksums": {"adler32": "00000001"},
        "metadata": {"core.runs": [1]},
        "parents": [{"did": assignment.raw.did}],
        "dataset": "hd-protodune-det-reco:set",
    }
    write_json(folder / f"{name}.json", sidecar)
    return {"name": name, "size": 10, "adler32": "00000001", "declared": True}


@dataclass
class House:
    """An installation with an engine, and the test's hands in it."""

    folder: Path
    installation: Installation
    engine: Engine
    launcher: ScriptedLauncher

    @property
    def store(self) -> Any:
        return self.installation.store

    def arrive(self, count: int, *, run: int = 1, first: int = 0, at: float = NOW) -> list[str]:
        """Raw files that the daemon has verified; their DIDs."""
        dids = []
        with self.store.write() as connection:
            for index in range(first, first + count):
                name = f"raw_run{run:06d}_{index:04d}.hdf5"
                row = {
                    "origin": "buffer",
                    "name": name,
                    "path": str(self.folder / "buffer" / name),
                    "state": FileState.VERIFIED.value,
                    "stream": "physics",
                    "did": f"hd-protodune:{name}",
                    "size_bytes": 1000,
                    "adler32": "00000001",
                    "metadata": {"core.runs": [run]},
                    "run": run,
                    "file_index": index,
                    "closed_at": at,
                    "found_at": at,
                    "verified_at": at,
                }
                file_id = connection.execute(sa.insert(file_table).values(**row).returning(file_table.c.id)).scalar_one()
                connection.execute(sa.insert(intake_table).values(file_id=file_id))
                dids.append(row["did"])
        return dids

    def declare_outputs(self, state: FileState = FileState.DECLARED, only: str = "") -> int:
        """What the registrar does with everything handed over."""
        with self.store.write() as connection:
            c = file_table.c
            waiting = sa.update(file_table).where(c.origin == "outbox", c.state == FileState.FOUND.value, c.name.contains(only))
            return connection.execute(waiting.values(state=state.value, reason="because")).rowcount

    def tasks(self) -> list[Task]:
        with self.store.read() as connection:
            return ledger_tasks.select(connection)

    def states(self) -> list[str]:
        return [task.state.value for task in self.tasks()]

    def rows(self, statement: Any) -> list[Any]:
        with self.store.read() as connection:
            return list(connection.execute(statement).all())

    def restart(self) -> House:
        """The same ledger in the hands of a new process."""
        self.store.close()
        return open_house(self.folder, self.launcher)


def open_house(folder: Path, launcher: ScriptedLauncher | None = None, now: float = NOW) -> House:
    installation = open_installation(folder / "site.yaml", now)
    launcher = launcher or ScriptedLauncher()
    return House(folder, installation, Engine(installation, {"local": launcher}, jitter=lambda: 0.0), launcher)


def write_files(folder: Path, layout: str = "fused", site: str = SITE, campaign: str = CAMPAIGN) -> None:
    (folder / "buffer").mkdir()
    (folder / "buffer" / ".buffer").touch()
    (folder / "site.yaml").write_text(site)
    (folder / "campaigns").mkdir()
    (folder / "campaigns" / "test.yaml").write_text(campaign.replace("LAYOUT", layout))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    write_files(tmp_path)
    opened = open_house(tmp_path)
    yield opened
    opened.store.close()


@pytest.fixture
def staged_house(tmp_path: Path) -> Iterator[House]:
    write_files(tmp_path, "staged")
    opened = open_house(tmp_path)
    yield opened
    opened.store.close()


@pytest.fixture(scope="session")
def house_tools() -> Any:
    """What tests need that make their own houses."""
    return SimpleNamespace(
        write_files=write_files, open_house=open_house, campaign=CAMPAIGN, site=SITE, House=House, ScriptedLauncher=ScriptedLauncher
    )
