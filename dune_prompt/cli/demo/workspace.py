"""The demo's folder: its buffer, its site and campaign files, and the list of what the simulated data acquisition wrote."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dune_prompt.errors import ConfigError, TransientError
from templates import render

PORT = 8080
FILE_BYTES = 60_000_000  # one APA, two trigger records of 93 frames, and what is made of them


@dataclass(frozen=True, slots=True)
class Written:
    """A file the simulated data acquisition has closed at `closed_at` (seconds since the epoch), and what is wrong with it."""

    name: str
    fault: str | None
    closed_at: float


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where things are in the demo's workspace."""

    root: Path

    @property
    def site(self) -> Path:
        return self.root / "site.yaml"

    @property
    def buffer(self) -> Path:
        return self.root / "buffer"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def processes(self) -> Path:
        return self.root / "demo-processes.json"

    @property
    def _written(self) -> Path:
        return self.root / "demo-files.jsonl"

    def written(self) -> list[Written]:
        """What was written so far, in this run of the demo and those before."""
        if not self._written.exists():
            return []
        lines = self._written.read_text("utf-8").splitlines()
        return [Written(**json.loads(line)) for line in lines if line.endswith("}")]

    def note(self, item: Written) -> None:
        """Add a file to the list; one whole line, so that a kill leaves no half of it that is read."""
        with self._written.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(item)) + "\n")


def prepare(root: Path, files: int) -> tuple[DemoFolder, str]:
    """Make the folder ready, or ready again; it and the address of the dashboard.

    Raises:
        ConfigError: the folder holds something else. TransientError: the disk is too full for `files` more files.
    """
    root = root.absolute()
    folder = DemoFolder(root)
    if root.exists() and any(root.iterdir()) and not folder.buffer.is_dir():
        raise ConfigError(f"{root}: not empty and not a demo's workspace; give another with --workspace")
    folder.buffer.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if free < 1.5 * files * FILE_BYTES:
        raise TransientError(
            f"{root}: {files} files need about {1.5 * files * FILE_BYTES / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "write fewer (--files) or elsewhere (--workspace)"
        )
    (folder.buffer / ".buffer").touch()
    (root / "campaigns").mkdir(exist_ok=True)
    folder.logs.mkdir(exist_ok=True)
    port = _free_port()
    capacity = f"{max(20, 3 * files) * FILE_BYTES}B"
    folder.site.write_text(render("demo_site.yaml.j2", port=port, slots=os.cpu_count() or 1, capacity=capacity), "utf-8")
    campaign = root / "campaigns" / "pdhd-prompt.yaml"
    if not campaign.exists():
        campaign.write_text(render("demo_campaign.yaml.j2"), "utf-8")
    return folder, f"http://127.0.0.1:{port}/"


def _free_port() -> int:
    """The usual port, or any other that is free."""
    for port in _candidates():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise TransientError("no free port on 127.0.0.1")


def _candidates() -> Iterator[int]:
    yield from range(PORT, PORT + 10)
    yield 0
