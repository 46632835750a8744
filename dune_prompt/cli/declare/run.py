"""`declare run` and `declare once`: the daemon as a service, and one pass of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag

import click
import structlog

from declare_daemon.daemon import Daemon
from declare_daemon.journal.states import WAITING
from declare_daemon.monitoring import Monitor
from declare_daemon.preview import preview
from declare_daemon.status import last_event, read_status, touched_since
from dune_prompt import log
from dune_prompt.cli.declare.daemon import open_daemon
from dune_prompt.cli.options import json_option, print_table, site_option
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.settings import Site, load_site
from dune_prompt.store import open_store

events = structlog.get_logger(__name__)


@click.command()
@site_option
@click.option("--interval", type=click.FloatRange(min=0.01), help="seconds between two scans of the buffer; default: service.interval")
@click.option("--verbose", is_flag=True, help="log more")
def run(site_path: Path, interval: float | None, verbose: bool) -> None:
    """Run the daemon until SIGTERM or SIGINT, which let it finish the batch in hand; SIGHUP lets it read the site file again."""
    log.configure(verbose=verbose)
    site = load_site(site_path)
    with _signals() as asked:
        with ExitStack() as stack:
            daemon = _start(stack, site)
            click.echo(f"watching {site.buffer.path}", err=True)
            daemon.run(interval or site.service.interval, asked.end)
        while not asked.stop:
            asked.end.clear()
            with ExitStack() as stack:
                site, daemon = _start_again(stack, site_path, site)
                if not asked.stop:
                    daemon.run(interval or site.service.interval, asked.end)


def _start(stack: ExitStack, site: Site) -> Daemon:
    daemon, _ = stack.enter_context(open_daemon(site))
    if site.daemon.listen is not None:
        stack.enter_context(closing(Monitor(site.daemon.listen, daemon.snapshot)))
    return daemon


def _start_again(stack: ExitStack, site_path: Path, before: Site) -> tuple[Site, Daemon]:
    """With the site file as it is now; if it is wrong, as it was before."""
    try:
        site = load_site(site_path)
        with ExitStack() as attempt:
            daemon = _start(attempt, site)
            stack.push(attempt.pop_all())
    except ConfigError as error:
        events.error("the site file is wrong, going on as before", error=str(error))
        return before, _start(stack, before)
    events.info("the site file was read again", site=str(site_path))
    return site, daemon


@dataclass
class _Asked:
    """What signals ask for: `end` of the running daemon, to `stop` for good or else to start again."""

    end: Flag = field(default_factory=Flag)
    stop: bool = False


@contextmanager
def _signals() -> Iterator[_Asked]:
    asked = _Asked()

    def stop(*_: object) -> None:
        asked.stop = True
        asked.end.set()

    def read_again(*_: object) -> None:
        asked.end.set()

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: read_again}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
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
    with open_daemon(site) as (daemon, store):
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
        reasons = [f"{subject}: {outage.error}" for subject, outage in away.items()]
        reasons += [f"{file.subject}: {file.reason}" for file in after.waiting if file.reason]
        raise TransientError("\n".join([f"{remaining} files wait to be tried again", *reasons]))


COMMANDS = (run, once)
