"""The whole engine on a real HTCondor pool: real stages from the bundle, copied files, and a queue, jobs and workers that die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.installation import Pipeline
from campaign.engine import Engine, watch
from campaign.installation import Installation, open_installation
from campaign.launchers.background import Background
from campaign.launchers.htcondor import HTCondorLauncher
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import attempt_table
from campaign.ledger.tasks import Task
from campaign.states import TaskState
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table, intake_table
from dune_prompt.records import read_json
from dune_prompt.settings.launchers import HTCondorLauncherSettings
from tests.servers.htcondor import Pool

pytestmark = pytest.mark.needs("condor")

ENDS_IN_S = 120.0
FILES = 10
SITE = """
site: test
buffer: {{path: buffer}}
streams:
  - {{name: physics, pattern: "*.hdf5", process: true, lifetime: 1h}}
launchers: [{{kind: htcondor, config: {config}, command_path: {commands}, poll_every: 1s, slice: 5}}]
service: {{listen: "127.0.0.1:{port}"}}
slots: {{min: 1, max: 10, backlog_goal: 1}}
"""


class _Nobody(BaseHTTPRequestHandler):
    """Where jobs look for the engine: they are sent away at once, so that all the engine learns comes back through HTCondor."""

    def do_POST(self) -> None:
        self.send_error(404)

    def do_PUT(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with Pool(tmp_path_factory.mktemp("pool"), cpus=10) as pool:
        yield pool


class Plant:
    """An installation whose jobs run in the pool; `step` is one turn of everything that is not a job."""

    def __init__(self, folder: Path, pool: Pool, *, seconds: float) -> None:
        self.folder, self.pool = folder, pool
        self._nobody = ThreadingHTTPServer(("127.0.0.1", 0), _Nobody)
        threading.Thread(target=self._nobody.serve_forever, daemon=True).start()
        pipeline = Pipeline(
            folder, targets=f"{{kind: directory, path: {folder / 'outbox' / 'dqm'}}}", place=str(folder / "outbox"), seconds=seconds
        )
        pipeline.store.close()
        # A worker makes no place where there is none: the storage behind it may just be away.
        (folder / "outbox").mkdir()
        self._pipeline = pipeline
        pipeline.site_path.write_text(SITE.format(config=pool.config, commands=pool.bin, port=self._nobody.server_port))
        self.installation: Installation = open_installation(pipeline.site_path, time.time())
        (settings,) = self.installation.site.launchers
        assert isinstance(settings, HTCondorLauncherSettings)
        launcher = HTCondorLauncher(settings, environment=pool.environment(), prefix=pool.prefix)
        self.launcher = Background(launcher, poll_every=settings.poll_every, silent_after=settings.silent_after)
        self.engine = Engine(self.installation, {"htcondor": self.launcher}, jitter=lambda: 0.0)

    def arrive(self, count: int) -> None:
        """Raw files that the daemon has verified."""
        self._pipeline.write_files(count)
        with self.installation.store.write() as connection:
            for path in sorted((self.folder / "buffer").glob("*.hdf5")):
                sidecar = read_json(path.with_name(f"{path.name}.json"))
                row = {
                    "origin": "buffer",
                    "name": path.name,
                    "path": str(path),
                    "state": FileState.VERIFIED.value,
                    "stream": "physics",
                    "did": f"hd-protodune:{path.name}",
                    "size_bytes": sidecar["size"],
                    "adler32": sidecar["checksums"]["adler32"],
                    "metadata": sidecar["metadata"],
                    "run": sidecar["metadata"]["core.runs"][0],
                    "file_index": sidecar["metadata"]["core.event_count"],
                    "closed_at": time.time(),
                    "found_at": time.time(),
                    "verified_at": time.time(),
                }
                file_id = connection.execute(sa.insert(file_table).values(**row).returning(file_table.c.id)).scalar_one()
                connection.execute(sa.insert(intake_table).values(file_id=file_id))

    def step(self) -> None:
        self.engine.step(time.time())
        with self.installation.store.write() as connection:  # the registrar's part
            found = sa.update(file_table).where(file_table.c.origin == "outbox", file_table.c.state == FileState.FOUND.value)
            connection.execute(found.values(state=FileState.DECLARED.value))

    def until(self, reached: Callable[[], Any]) -> Any:
        """Go on until something is true."""
        ends = time.monotonic() + ENDS_IN_S
        while not (answer := reached()):
            assert time.monotonic() < ends, [(task.state.value, task.message) for task in self.tasks()]
            self.step()
            time.sleep(0.1)
        return answer

    def finish(self, files: int) -> None:
        self.until(lambda: [task.state for task in self.tasks()] == [TaskState.DONE] * files)

    def tasks(self) -> list[Task]:
        with self.installation.store.read() as connection:
            return ledger_tasks.select(connection)

    def attempts(self) -> list[Any]:
        with self.installation.store.read() as connection:
            return list(connection.execute(sa.select(attempt_table).order_by(attempt_table.c.id)).all())

    def payloads(self) -> dict[str, int]:
        """The wrappers that run in the pool now: the process of each by its job."""
        found = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError, KeyError):
                pid, folder = int(entry.name), (entry / "cwd").readlink()
                if folder.is_relative_to(self.pool.folder / "execute") and _name(_parent(pid)) == "condor_starter":
                    environment = dict(part.partition(b"=")[::2] for part in (entry / "environ").read_bytes().split(b"\0"))
                    found[f"{environment[b'CLUSTER'].decode()}.{environment[b'PROCESS'].decode()}"] = pid
        return found

    def close(self) -> None:
        self.pool.start_schedd()
        self.engine.close()
        self.installation.store.close()
        self._nobody.shutdown()
        self._nobody.server_close()
        self.pool.clear()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


@pytest.fixture
def plant(tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Plant]]:
    # Reports of lost jobs are not waited for that long here.
    monkeypatch.setattr(watch, "REPORT_GRACE_S", 2.0)
    opened: list[Plant] = []

    def open_plant(seconds: float) -> Plant:
        opened.append(Plant(tmp_path / "plant", pool, seconds=seconds))
        return opened[-1]

    yield open_plant
    for item in opened:
        item.close()


def test_files_go_through_the_pool(plant: Callable[[float], Plant]) -> None:
    works = plant(0.0)
    works.arrive(FILES)
    works.finish(FILES)
    attempts = works.attempts()
    assert len(attempts) == FILES
    assert {attempt.launcher for attempt in attempts} == {"htcondor"}
    assert {task.failures for task in works.tasks()} == {0}


def test_no_try_is_lost_when_the_queue_crashes_in_the_middle(plant: Callable[[float], Plant]) -> None:
    works = plant(6.0)
    works.arrive(FILES)
    works.until(lambda: len(works.payloads()) >= FILES // 2)
    works.pool.kill_schedd()
    for _ in range(20):
        works.step()
        time.sleep(0.1)
    works.pool.start_schedd()
    works.finish(FILES)
    assert len(works.attempts()) == FILES


def test_a_job_removed_by_hand_is_tried_again_and_not_counted(plant: Callable[[float], Plant]) -> None:
    works = plant(5.0)
    works.arrive(2)
    job = next(iter(works.until(works.payloads)))
    works.pool.run("condor_rm", job)
    works.finish(2)
    assert len(works.attempts()) == 3
    assert {task.failures for task in works.tasks()} == {0}


def test_a_job_that_loses_its_worker_is_tried_again_and_not_counted(plant: Callable[[float], Plant]) -> None:
    works = plant(5.0)
    works.arrive(2)
    _, pid = next(iter(works.until(works.payloads).items()))
    os.kill(_parent(pid), signal.SIGKILL)
    works.finish(2)
    assert sorted(str(attempt.error_class) for attempt in works.attempts()) == ["None", "None", "lost"]
    assert {task.failures for task in works.tasks()} == {0}


def test_a_job_that_is_killed_is_counted_and_tried_again_elsewhere(plant: Callable[[float], Plant]) -> None:
    works = plant(5.0)
    works.arrive(2)
    _, pid = next(iter(works.until(works.payloads).items()))
    os.kill(pid, signal.SIGKILL)
    (failed,) = works.until(lambda: [attempt for attempt in works.attempts() if attempt.error_class])
    assert (failed.error_class, failed.message, failed.host) == ("crashed", "killed by signal 9", "jobsub01.local")
    # Its next attempt goes to another host, and there is none here.
    works.until(lambda: [task.state for task in works.tasks()].count(TaskState.DONE) == 1 and len(works.attempts()) == 3)
    assert sorted(task.failures for task in works.tasks()) == [0, 1]
