"""A whole installation with the no-op payload in a folder: its processes can be started, killed, and started again.

Used by the benchmarks and by the tests that kill processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, count_table, task_table
from campaign.status import campaign_statuses
from declare_daemon.catalogs import open_catalogs
from declare_daemon.journal.tables import file_table
from dune_prompt.records import MadeBy
from dune_prompt.settings import load_site
from dune_prompt.store import open_store

SITE = """
site: kills
buffer: {{path: buffer, capacity: 10GB}}
streams:
  - {{name: physics, pattern: "np04hd_raw_run*.hdf5", process: true, lifetime: 24h}}
service: {{listen: "127.0.0.1:{port}", interval: 0.1s}}
slots: {{min: 1, max: {slots}, backlog_goal: 1}}
"""
CAMPAIGN = """
campaign: kills
detector: pdhd
stream: physics
version: v1
required: true
layout: {layout}
stages:
  nf_sp: {{payload: noop, seconds: {seconds}}}
  dqm_upload: {{targets: [{targets}]}}
outputs: {{namespace: hd-protodune-det-reco, data_tier: decoded-raw{place}}}
retries: 20
"""


class Pipeline:
    """Daemon and service as processes of their own, in `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        layout: str = "fused",
        slots: int = 3,
        targets: str = "{kind: directory, path: ../dqm}",
        place: str = "",
        seconds: float = 0.0,
    ) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "buffer").mkdir(parents=True)
        (folder / "buffer" / ".buffer").touch()
        (folder / "campaigns").mkdir()
        self.site_path = folder / "site.yaml"
        self.site_path.write_text(SITE.format(port=self.port, slots=slots))
        campaign = CAMPAIGN.format(layout=layout, targets=targets, place=place and f", place: {place}", seconds=seconds)
        (folder / "campaigns" / "c.yaml").write_text(campaign)
        self.site = load_site(self.site_path)
        self.store = open_store(self.site.store_url)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.dids: list[str] = []
        self.run = 28100

    def write_files(self, count: int, size_bytes: int = 2000, run: int | None = None) -> None:
        """Small raw files with their sidecars, as the data acquisition lets them appear."""
        run = self.run if run is None else run
        for index in range(len(self.dids), len(self.dids) + count):
            name = f"np04hd_raw_run{run:06d}_{index:04d}_dataflow0_datawriter_0_20240619T110330.hdf5"
            content = index.to_bytes(4, "little") * (size_bytes // 4)
            (self.folder / "buffer" / name).write_bytes(content)
            sidecar = {
                "name": name,
                "namespace": "hd-protodune",
                "size": len(content),
                "checksums": {"adler32": f"{zlib.adler32(content):08x}"},
                "metadata": {
                    "core.data_stream": "cosmics",
                    "core.data_tier": "raw",
                    "core.file_format": "hdf5",
                    "core.file_type": "detector",
                    "core.file_content_status": "good",
                    "retention.status": "active",
                    "retention.class": "physics",
                    "core.start_time": 1718795010.0,
                    "core.end_time": 1718795052.0,
                    "dune.daq_test": "False",
                    "core.event_count": 1,
                    "core.events": [index + 1],
                    "core.first_event_number": index + 1,
                    "core.last_event_number": index + 1,
                    "core.runs": [run],
                    "core.runs_subruns": [run * 100000 + 1],
                    "core.run_type": "hd-protodune",
                },
            }
            draft = self.folder / "buffer" / f"{name}.json.tmp"
            draft.write_text(json.dumps(sidecar))
            draft.rename(draft.with_suffix(""))
            self.dids.append(f"hd-protodune:{name}")

    def start(self, *names: str) -> None:
        arguments = {"service": ["serve"], "daemon": ["declare", "run", "--interval", "0.1"]}
        for name in names or ("service", "daemon"):
            with (self.folder / f"{name}.log").open("ab") as output:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "dune_prompt", *arguments[name], "--site", str(self.site_path)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )

    def kill(self, name: str) -> None:
        """SIGKILL to the service or the daemon, and start it again."""
        self.processes[name].kill()
        self.processes[name].wait()
        self.start(name)

    def kill_a_job(self, choose: Callable[[list[str]], str]) -> bool:
        """SIGKILL to one running job; whether there was one."""
        with self.store.read() as connection:
            query = sa.select(attempt_table.c.handle).where(attempt_table.c.ended_at.is_(None), attempt_table.c.handle.is_not(None))
            handles = list(connection.execute(query).scalars())
        if not handles:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(choose(handles).split(":")[0]), signal.SIGKILL)
            return True
        return False

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.store.close()

    def processed(self) -> int:
        with self.store.read() as connection:
            return sum(status.processed for status in campaign_statuses(connection))

    def wait_until_processed(
        self, timeout_s: float, meanwhile: Callable[[], Any] = lambda: None, *, already: int = 0, pause_s: float = 0.05
    ) -> None:
        """Until all files written here are processed; `already` were before."""
        end = time.monotonic() + timeout_s
        while (done := self.processed() - already) < len(self.dids):
            if time.monotonic() > end:
                raise AssertionError(f"{done} of {len(self.dids)} files are processed after {timeout_s} s")
            meanwhile()
            time.sleep(pause_s)

    def add_history(self, files: int) -> None:
        """A ledger and a journal that know of so many files, all processed and gone from the buffer."""
        from campaign.installation import open_installation

        installation = open_installation(self.site_path, time.time())
        arrived = time.time() - 86400
        tasks, left = [], []
        for index in range(files):
            name = f"np04hd_raw_run{20_000 + index // 2000:06d}_{index % 2000:04d}_dataflow0_datawriter_0_20240101T000000.hdf5"
            file = {"did": f"hd-protodune:{name}", "run": 20_000 + index // 2000, "size_bytes": 2000, "closed_at": arrived}
            left.append(
                file
                | {"origin": "buffer", "name": name, "path": f"/gone/{name}", "state": "left", "stream": "physics", "adler32": "00000001"}
                | {"metadata": {}, "found_at": arrived, "verified_at": arrived, "declared_at": arrived, "left_at": arrived}
            )
            task = {"id": index + 1, "input_id": index + 1, "campaign_id": 1, "input_did": file["did"], "step": "chain", "state": "done"}
            task |= {"run": file["run"], "size_bytes": 2000, "deadline": arrived, "allowed_failures": 4, "ready_at": arrived}
            tasks.append(task | {"closed_at": arrived, "created_at": arrived, "done_at": arrived + 2, "attempts": 1, "late": False})
        runs = Counter(task["run"] for task in tasks)
        with installation.store.write() as connection:
            connection.execute(sa.text("UPDATE campaign SET taken_in_at = 1"))
            connection.execute(sa.insert(file_table), left)
            connection.execute(sa.insert(task_table), tasks)
            key = {"campaign_id": 1, "step": "chain", "state": "done", "late": False}
            connection.execute(sa.insert(count_table), [key | {"run": run, "tasks": number} for run, number in runs.items()])
        installation.lease.release()
        installation.store.close()

    def times_processed(self, stage: str) -> dict[str, int]:
        """How many children of each file, made by `stage`, the catalogue has."""
        catalogs = open_catalogs(self.site)
        children = catalogs.truth.children_of(self.dids, MadeBy("kills", "v1", stage))
        catalogs.close()
        return {did: len(children.get(did, ())) for did in self.dids}
