"""Runs the demo and shows how it goes, on a terminal as a table that changes, elsewhere as lines."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from declare_daemon.catalogs import open_catalogs
from dune_prompt.cli.demo.outcome import FileOutcome, outcomes, summary
from dune_prompt.cli.demo.processes import Processes, stop_leftovers
from dune_prompt.cli.demo.workspace import DemoFolder, prepare
from dune_prompt.cli.options import print_table
from dune_prompt.settings import load_site
from dune_prompt.store import open_store

LOOK_S = 0.5


def run(files: int, rate_hz: float, root: Path, *, faults: bool, exit_when_done: bool, as_json: bool) -> None:
    """Start everything, show it, stop everything; ends with exit code 0 or 1 when asked to end."""
    if left := stop_leftovers(DemoFolder(root.absolute())):
        click.echo(f"stopped {left} processes of a demo that was killed here", err=True)
    folder, address = prepare(root, files)
    begin = time.monotonic()
    click.echo(f"dashboard: {address}   workspace: {folder.root}", err=True)
    site = load_site(folder.site)
    store, catalogs = open_store(site.store_url), open_catalogs(site)
    before = {item.name for item in folder.written()}
    processes = Processes(folder)
    _end_on_sigterm()
    found: list[FileOutcome] = []
    try:
        processes.start("service", "dune_prompt", "serve", "--site", str(folder.site))
        processes.start("daemon", "dune_prompt", "declare", "run", "--site", str(folder.site))
        processes.start("daq", "dune_prompt.cli.demo.daq", str(folder.root), str(files), str(rate_hz), "faults" if faults else "no-faults")
        with _Display(quiet=as_json and not sys.stderr.isatty()) as display:
            while True:
                writing = processes.writing()
                found = outcomes(folder.written(), store, catalogs)
                display.show(found, writing=writing)
                for sentence in processes.check():
                    display.say(sentence)
                if exit_when_done and not writing and all(file.settled for file in found):
                    break
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        click.echo("stopping; start again to continue", err=True)
    finally:
        processes.stop()
        found = outcomes(folder.written(), store, catalogs)
        catalogs.close()
        store.close()
    totals = summary(found, time.monotonic() - begin)
    if as_json:
        click.echo(json.dumps({**totals, "details": [asdict(file) for file in found]}, indent=1))
    else:
        _print(found, totals, new={file.name for file in found} - before)
    if exit_when_done:
        sys.exit(0 if totals["ok"] else 1)


def _end_on_sigterm() -> None:
    """SIGTERM ends the demo as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


class _Display:
    """A live table on a terminal, a line for every change elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4) if self._console.is_terminal else None
        self._quiet = quiet
        self._last = ""

    def __enter__(self) -> _Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, sentence: str) -> None:
        self._console.print(sentence)

    def show(self, files: Sequence[FileOutcome], *, writing: bool) -> None:
        states = Counter(file.state for file in files)
        if self._live:
            table = Table("files", *states, "data acquisition", box=None, header_style="dim")
            table.add_row(str(len(files)), *map(str, states.values()), "writes" if writing else "ended")
            self._live.update(table)
            return
        line = f"{len(files)} files: " + ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
        if files and line != self._last and not self._quiet:
            click.echo(line, err=True)
        self._last = line


def _print(files: Sequence[FileOutcome], totals: dict[str, object], *, new: set[str]) -> None:
    """The files of this run of the demo, and the sums over all."""
    rows = [
        {
            "file": file.name.partition("_dataflow")[0],
            "fault": file.fault,
            "state": file.state,
            "tries": file.attempts or None,
            "found_s": file.closed_to_found_s,
            "declared_s": file.closed_to_declared_s,
            "processed_s": file.declared_to_processed_s,
            "why": None if file.state == "done" else (file.why or "")[:120] or None,
        }
        for file in files
        if file.name in new
    ]
    print_table(rows, as_json=False)
    once, count, good = totals["processed_once"], totals["files"], totals["good"]
    click.echo(f"\n{once} of {count} files processed exactly once ({good} were good), {totals['elapsed_s']:.0f} s")
    for name in ("closed_to_declared", "declared_to_processed"):
        values = totals[name]
        if isinstance(values, dict):
            click.echo(f"{name.replace('_', ' ')}: p50 {values['p50_s']:.2f} s, p95 {values['p95_s']:.2f} s")
