"""`declare status`: what the daemon has done, what it waits for, and what a person must look at."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from declare_daemon.journal.files import JournalFile
from declare_daemon.journal.states import FileState
from declare_daemon.status import Status, read_status
from dune_prompt.cli.options import date, json_option, print_table, site_option
from dune_prompt.settings import load_site
from dune_prompt.store import open_store


@click.command()
@site_option
@json_option
def status(site_path: Path, as_json: bool) -> None:
    """Files by state, what waits for which catalogue, what is kept and why, what was stopped, pauses, open alarms."""
    site = load_site(site_path)
    now = time.time()
    with closing(open_store(site.store_url)) as store, store.read() as connection:
        found = read_status(connection, site, now)
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=1))
        return
    click.echo(f"daemon: {found.daemon or 'not running'}\n")
    rows = [
        {"origin": origin, "state": state, "files": states[state]}
        for origin, states in found.counts.items()
        for state in FileState
        if state in states
    ]
    print_table(rows or [{"origin": "-", "state": "-", "files": 0}], as_json=False)
    _section(
        "waits longest:",
        [{"file": file.subject, "state": file.state, "for_s": round(now - file.found_at), "reason": file.reason} for file in found.waiting],
    )
    _section(
        "to be done in the catalogues:",
        [{"catalogue": catalog, "step": step, "files": number} for (catalog, step), number in sorted(found.queued.items())],
    )
    _section("kept though their time is over:", [{"file": file.subject, "reason": file.reason} for file in found.kept])
    _section(
        "stopped, a person must look:",
        [{"file": file.subject, "state": file.state, "where": file.path, "reason": file.reason} for file in found.stopped],
    )
    _section(
        "paused:",
        [
            {"catalogue": item.catalog, "until": "resumed" if item.until is None else date(item.until), "by": item.by, "why": item.why}
            for item in found.pauses
        ],
    )
    _section("alarms:", [{"what": item.subject, "since": date(item.since), "message": item.message} for item in found.alarms])
    if found.sacrificed:
        click.echo(f"\n{found.sacrificed} files left UNPROCESSED, by buffer.sacrifice of the site file")


def _section(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        click.echo(f"\n{title}")
        print_table(rows, as_json=False)


def _as_json(found: Status) -> dict[str, Any]:
    def row(file: JournalFile) -> dict[str, Any]:
        return {
            "file": file.subject,
            "origin": file.origin,
            "state": file.state,
            "path": file.path,
            "reason": file.reason,
            "tries": file.tries,
            "found_at": file.found_at,
        }

    return {
        "daemon": found.daemon,
        "counts": found.counts,
        "waiting": [row(file) for file in found.waiting],
        "queued": [{"catalog": catalog, "step": step, "files": number} for (catalog, step), number in sorted(found.queued.items())],
        "kept": [row(file) for file in found.kept],
        "stopped": [row(file) for file in found.stopped],
        "pauses": [asdict(item) for item in found.pauses],
        "alarms": [asdict(item) for item in found.alarms],
        "sacrificed": found.sacrificed,
    }


COMMANDS = (status,)
