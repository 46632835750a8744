"""The service in a process of its own, over a store that is filled already."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import requests

from campaign.service.scopes import Scope
from campaign.service.tokens import Principal
from dashboard.app import create_app
from dune_prompt.settings import Site
from dune_prompt.store import Store, open_store

TOKEN = "token-of-the-benchmark"
START_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


def site_of(folder: Path, store_url: str) -> Site:
    """The site of the benchmark."""
    return Site.model_validate(
        {
            "site": "benchmark",
            "workspace": folder,
            "store": store_url,
            "buffer": {"path": folder, "capacity": "200TB"},
            "streams": [{"name": "physics", "pattern": "*.hdf5", "process": True}],
        }
    )


def application(site: Site, store: Store) -> Any:
    """The dashboard without an engine."""
    slots = SimpleNamespace(wanted=250, reason="benchmark")
    principal = Principal("operator", "benchmark", frozenset(Scope))
    return create_app(site, store, None, authenticate=lambda token: principal if token == TOKEN else None, slots=lambda: slots)


@dataclass
class Served:
    """A running service. Use as a context manager."""

    folder: Path
    store_url: str
    token: str = TOKEN

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "benchmarks.dashboard.serving", str(self.folder), self.store_url, str(port)]
        self._process = subprocess.Popen(command)
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with suppress(requests.RequestException):
                requests.get(f"{self.url}/health", timeout=1).raise_for_status()
                return self
            time.sleep(0.1)
        raise RuntimeError("the service did not start")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)

    def cpu_s(self) -> float:
        """CPU time of the process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    """Serve the store at argv[2] on port argv[3]."""
    import uvicorn

    folder, store_url, port = sys.argv[1:]
    store = open_store(store_url)
    uvicorn.run(application(site_of(Path(folder), store_url), store), port=int(port), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
