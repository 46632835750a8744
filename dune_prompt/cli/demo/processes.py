"""The demo's processes: simulated data acquisition, declare daemon and service, started, watched and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dune_prompt.cli.demo.workspace import DemoFolder
from dune_prompt.errors import ConflictError, DunePromptError
from dune_prompt.process import kill_group, start_time
from dune_prompt.records import write_json

PATIENCE_S = 15.0
RESTARTS = 5


class Processes:
    """Children of the demo. Daemon and service are started again when they die, as systemd would."""

    def __init__(self, folder: DemoFolder) -> None:
        self._folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}
        self._restarts: dict[str, int] = {}

    def start(self, name: str, *arguments: str) -> None:
        """Run `python -m ARGUMENTS…` in a process group of its own, its output in `log/NAME.log`."""
        self._commands[name] = [sys.executable, "-m", *arguments]
        with self._log(name).open("ab") as output:
            self._children[name] = subprocess.Popen(
                self._commands[name], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        known = {child.pid: start_time(child.pid) for child in self._children.values()}
        write_json(self._folder.processes, {"demo": [os.getpid(), start_time(os.getpid())], "children": known})

    def check(self) -> list[str]:
        """Start again what died; a sentence for each.

        Raises:
            DunePromptError: a process does not stay alive; the message ends with its last words.
        """
        news = []
        for name, child in list(self._children.items()):
            if (code := child.poll()) is None or (name == "daq" and code == 0):
                continue
            self._restarts[name] = self._restarts.get(name, 0) + 1
            if name == "daq" or self._restarts[name] > RESTARTS:
                raise DunePromptError(f"the {name} ended with code {code}; {self._log(name)} ends with:\n{self._last_words(name)}")
            news.append(f"the {name} ended with code {code} and is started again")
            self.start(name, *self._commands[name][2:])
        return news

    def writing(self) -> bool:
        """Whether the data acquisition still writes."""
        return self._children["daq"].poll() is None

    def stop(self) -> None:
        """End all: first politely, then not."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        end = time.monotonic() + PATIENCE_S
        for child in self._children.values():
            try:
                child.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                kill_group(child.pid)
                child.wait()
        self._folder.processes.unlink(missing_ok=True)

    def _log(self, name: str) -> Path:
        return self._folder.logs / f"{name}.log"

    def _last_words(self, name: str) -> str:
        return self._log(name).read_text(errors="replace")[-1500:]


def stop_leftovers(folder: DemoFolder) -> int:
    """End the processes of a demo that was killed in this workspace; how many there were.

    Raises:
        ConflictError: that demo is alive.
    """
    try:
        content = json.loads(folder.processes.read_text())
    except (OSError, ValueError):
        return 0
    pid, started = content["demo"]
    if started is not None and start_time(pid) == started:
        raise ConflictError(f"{folder.root}: another demo runs here (process {pid}); stop it, or give another folder with --workspace")
    known: dict[str, int | None] = content["children"]
    left = [int(pid) for pid, started in known.items() if started is not None and start_time(int(pid)) == started]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + PATIENCE_S
    while any(start_time(pid) == known[str(pid)] for pid in left) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in left:
        if start_time(pid) == known[str(pid)]:
            kill_group(pid)
    folder.processes.unlink(missing_ok=True)
    return len(left)
