"""`dune-prompt declare`: the declare daemon from the command line."""

from __future__ import annotations

import getpass
import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from typing import Any

import click

from declare_daemon.catalogs import open_catalogs
from declare_daemon.daemon import Daemon
from declare_daemon.journal.files import JournalFile
from declare_daemon.journal.states import WAITING, FileState
from declare_daemon.journal.writer import lease_name
from declare_daemon.preview import preview
from declare_daemon.retry import ask_again, quarantined_files, stopped_files
from declare_daemon.status import Status, last_event, read_status, touched_since
from dune_prompt import log
from dune_prompt.cli.options import json_option, print_table, site_option
from dune_prompt.errors import TransientError
from dune_prompt.settings import Site, load_site
from dune_prompt.store import Store, open_store
from dune_prompt.store.lease import LeaseHeldError, holder_of


@click.group()
def command() -> None:
    """Find closed files in the buffer, verify them, and register them in the catalogues."""


@command.command()
@site_option
@click.option("--interval", type=click.FloatRange(min=0.01), help="seconds between two scans of the buffer; default: service.interval")
@click.option("--verbose", is_flag=True, help="log more")
def run(site_path: Path, interval: float | None, verbose: bool) -> None:
    """Run the daemon until SIGTERM or SIGINT, which let it finish the files in hand."""
    log.configure(verbose=verbose)
    site = load_site(site_path)
    stop = Flag()
    with _stopped_by_signals(stop), _daemon(site) as (daemon, _):
        click.echo(f"watching {site.buffer.path}", err=True)
        daemon.run(interval or site.service.interval, stop)


@command.command()
@site_option
@click.option("--dry-run", is_flag=True, help="only print what would be done")
@json_option
def once(site_path: Path, dry_run: bool, as_json: bool) -> None:
    """Bring everything that is closed as far as possible, and print what was done.

    Exit code 20 if something has to be tried again later.
    """
    log.configure()
    site = load_site(site_path)
    if dry_run:
        with closing(open_store(site.store_url)) as store:
            rows = [{"name": item.name, "state": item.state or "new", "would": item.would} for item in preview(site, store)]
        print_table(rows, as_json=as_json)
        return
    with _daemon(site) as (daemon, store):
        with store.read() as connection:
            before = last_event(connection)
        daemon.once(site.service.interval)
        with store.read() as connection:
            done = touched_since(connection, before)
            after = read_status(connection, site, time.time())
        away = daemon.outages.now()
    print_table([{"file": file.subject, "state": file.state, "reason": file.reason} for file in done], as_json=as_json)
    remaining = sum(number for states in after.counts.values() for state, number in states.items() if state in WAITING)
    if away or remaining:
        reasons = [f"{subject}: {error}" for subject, error in away.items()]
        reasons += [f"{file.subject}: {file.reason}" for file in after.waiting if file.reason]
        raise TransientError("\n".join([f"{remaining} files wait to be tried again", *reasons]))


@command.command()
@site_option
@json_option
def status(site_path: Path, as_json: bool) -> None:
    """Files by state, what waits longest, what was stopped and why, open alarms."""
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
    if found.waiting:
        click.echo("\nwaits longest:")
        print_table(
            [
                {"file": file.subject, "state": file.state, "for_s": round(now - file.found_at), "reason": file.reason}
                for file in found.waiting
            ],
            as_json=False,
        )
    if found.stopped:
        click.echo("\nstopped, a person must look:")
        print_table(
            [{"file": file.subject, "state": file.state, "where": file.path, "reason": file.reason} for file in found.stopped],
            as_json=False,
        )
    if found.alarms:
        click.echo("\nalarms:")
        print_table([{"what": item.subject, "since": _date(item.since), "message": item.message} for item in found.alarms], as_json=False)


@command.command()
@site_option
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--quarantined", "all_quarantined", is_flag=True, help="all quarantined files")
@click.option("--dry-run", is_flag=True, help="only print which files would be tried again")
@json_option
def retry(site_path: Path, names: tuple[str, ...], all_quarantined: bool, dry_run: bool, as_json: bool) -> None:
    """Have quarantined files and conflicts tried again, by NAME or DID.

    Quarantined files are moved back, by the daemon if it runs, else here; the daemon or `declare once` then tries them.
    """
    log.configure()
    if bool(names) == all_quarantined:
        raise click.UsageError("give NAMEs, or --quarantined")
    site = load_site(site_path)
    with closing(open_store(site.store_url)) as store:
        with store.read() as connection:
            files = quarantined_files(connection) if all_quarantined else stopped_files(connection, names)
        if files and not dry_run:
            with store.write() as connection:
                ask_again(connection, files, site, time.time(), f"{getpass.getuser()}@{socket.gethostname()}")
            _move_back(site, store)
    print_table([{"file": file.subject, "was": file.state, "reason": file.reason} for file in files], as_json=as_json)


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
        "stopped": [row(file) for file in found.stopped],
        "alarms": [{"subject": item.subject, "since": item.since, "message": item.message} for item in found.alarms],
    }


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _move_back(site: Site, store: Store) -> None:
    """Let the daemon move the files, or be it for a moment."""
    with store.read() as connection:
        holder = holder_of(connection, lease_name(site.buffer.path), now=time.time())
    if holder is not None:
        return
    try:
        with closing(open_catalogs(site)) as catalogs, closing(Daemon(site, store, catalogs)) as daemon:
            daemon.finish_moves()
    except LeaseHeldError:
        return


@contextmanager
def _daemon(site: Site) -> Iterator[tuple[Daemon, Store]]:
    with (
        closing(open_store(site.store_url)) as store,
        closing(open_catalogs(site)) as catalogs,
        closing(Daemon(site, store, catalogs)) as daemon,
    ):
        yield daemon, store


@contextmanager
def _stopped_by_signals(stop: Flag) -> Iterator[None]:
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
