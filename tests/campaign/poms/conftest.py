"""The double of the POMS server; and a whole installation under it: daemon and service as processes, jobs through jobsub on a real pool."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.installation import Pipeline
from campaign.poms.client import PomsClient
from campaign.service.tokens import operator_token
from tests.servers.htcondor import Pool
from tests.servers.jobsub import Jobsub
from tests.servers.poms import Poms

SITE = """
site: test
buffer: {{path: buffer, capacity: 10GB}}
streams:
  - {{name: physics, pattern: "np04hd_raw_run*.hdf5", process: true, lifetime: 24h}}
launchers:
  - kind: poms
    url: {poms}
    login: {{host: dunegpvm16.fnal.gov, account: dunepro, setup: {setup}, token_file: {folder}/secrets/operator-token}}
    token_file: {token}
    global_pool: null
    retake_after: {retake_after}
service: {{listen: "127.0.0.1:{port}", interval: 0.2s}}
slots: {{min: 1, max: 8, backlog_goal: 1}}
"""
BIN = Path(sys.executable).parent


class Grid:
    """`launch` is what POMS would run on its launch host."""

    def __init__(self, folder: Path, pool: Pool, *, layout: str, poms_url: str = "http://127.0.0.1:9", retake_after: str = "15min") -> None:
        self.folder, self.pool = folder, pool
        self.jobsub = Jobsub(folder / "jobsub", pool)
        self.pipeline = Pipeline(folder / "site", layout=layout, place=str(folder / "outbox"))
        (folder / "outbox").mkdir()
        self.url = f"http://127.0.0.1:{self.pipeline.port}"
        self.environment = self.jobsub.environment() | {"HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment["PATH"] = f"{BIN}:{self.environment['PATH']}"
        setup = f"export PATH={shlex.quote(self.environment['PATH'])}"
        self.pipeline.site_path.write_text(
            SITE.format(
                poms=poms_url,
                setup=setup,
                folder=self.pipeline.folder,
                token=self.jobsub.token_file,
                retake_after=retake_after,
                port=self.pipeline.port,
            )
        )
        self.token_file = self.pipeline.folder / "secrets" / "operator-token"
        operator_token(self.pipeline.folder)

    def with_real_payload(self) -> None:
        """Signal processing of simulated raw files, in place of the payload that does nothing; its results go to the dashboard."""
        campaign = self.pipeline.folder / "campaigns" / "c.yaml"
        text = campaign.read_text().replace("{payload: noop, seconds: 0.0}", "{payload: numpy}")
        campaign.write_text(re.sub(r"targets: \[.*\]", "targets: [{kind: own}]", text))

    def write_real_files(self, count: int) -> None:
        command = [str(BIN / "dune-prompt"), "raw", "generate", "--files", str(count), "--ticks", "512", "--out"]
        subprocess.run([*command, str(self.pipeline.folder / "buffer")], check=True, capture_output=True)

    def start(self) -> None:
        self.pipeline.start("service", "daemon")
        self.until(lambda: self.get("/api/v1/status") is not None)

    def get(self, path: str) -> Any:
        try:
            answer = requests.get(self.url + path, headers={"Authorization": f"Bearer {self.token_file.read_text().strip()}"}, timeout=5)
        except requests.RequestException:
            return None
        return answer.json() if answer.ok else None

    def command(self, step: str, *more: str) -> list[str]:
        told = [f"--service={self.url}", f"--token-file={self.token_file}", "--campaign=kills", "--campaign-version=v1", f"--stage={step}"]
        return [str(BIN / "dune-prompt"), "launch", *told, "--site=CERN", *more]

    def launch(self, step: str, *more: str, task: int | None = None, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        numbers = {} if task is None else {"POMS_TASK_ID": str(task), "POMS_CAMPAIGN_ID": "3", "POMS4_CAMPAIGN_ID": "1"}
        environment = self.environment | numbers
        return subprocess.run(self.command(step, *more), env=environment, capture_output=True, text=True, timeout=timeout_s)

    def until(self, reached: Callable[[], Any], ends_in_s: float = 120.0, pause_s: float = 0.2) -> Any:
        ends = time.monotonic() + ends_in_s
        while not (answer := reached()):
            assert time.monotonic() < ends, self.get("/api/v1/status")
            time.sleep(pause_s)
        return answer

    def processed(self) -> int:
        status = self.get("/api/v1/status")
        return 0 if status is None else sum(item["processed"] for item in status["campaigns"])

    def backlog(self) -> int:
        status = self.get("/api/v1/status")
        return 0 if status is None else sum(item["backlog"] for item in status["campaigns"])

    def close(self) -> None:
        self.pipeline.stop()
        self.pipeline.store.close()
        self.pool.clear()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with Pool(tmp_path_factory.mktemp("pool"), cpus=10) as pool:
        yield pool


@pytest.fixture
def grids(tmp_path: Path, pool: Pool) -> Iterator[Callable[..., Grid]]:
    """Makes installations under POMS."""
    made: list[Grid] = []

    def make(**settings: Any) -> Grid:
        grid = Grid(tmp_path, pool, **settings)
        made.append(grid)
        return grid

    yield make
    for grid in made:
        grid.close()


@pytest.fixture
def poms(tmp_path: Path) -> Iterator[Poms]:
    with Poms(tmp_path / "poms") as server:
        yield server


@pytest.fixture
def client(poms: Poms) -> Iterator[PomsClient]:
    client = PomsClient(poms.url, "dune", "production", proxy=None, bearer_file=None, ca=None)
    yield client
    client.close()
