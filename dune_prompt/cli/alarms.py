"""`dune-prompt alarms`: what is wrong now, who looks after it, and whether notices arrive."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import date, json_option, moment, print_table, site_option, this_person

if TYPE_CHECKING:
    from dashboard.alarms.alarm import Alarm


@click.group()
def command() -> None:
    """Look at alarms, acknowledge them, and try whether notices arrive.

    The service looks for them and sends the notices; what it looks for is in the site file (`watch`, `alarms`).
    """


@command.command("list")
@site_option
@json_option
@click.option("--all", "also_closed", is_flag=True, help="also those that are over, the newest first")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="no more than so many")
def list_alarms(site_path: Path, as_json: bool, also_closed: bool, limit: int) -> None:
    """Show the alarms that are open: those nobody looks after first.

    Ends with 0 whether or not there are any.
    """
    from dashboard.alarms.alarm import open_alarms, raised_alarms
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    now = time.time()
    with closing(open_store(load_site(site_path).store_url)) as store, store.read() as connection:
        alarms = raised_alarms(connection, limit) if also_closed else open_alarms(connection, now)[:limit]
    rows = [asdict(alarm) | {"state": alarm.state} for alarm in alarms]
    print_table(rows if as_json else [_shown(alarm) for alarm in alarms], as_json=as_json)


@command.command()
@site_option
@json_option
@click.argument("alarm", type=click.IntRange(min=1))
@click.option("--why", required=True, help="why nobody else need look")
@click.option("--until", help="a duration from now (8h), or a date (2026-11-26T08:00, UTC); default: for as long as it lasts")
def acknowledge(site_path: Path, as_json: bool, alarm: int, why: str, until: str | None) -> None:
    """Say that you look after ALARM, a number from the list.

    Nobody is told of it again until then. If it lasts longer, it comes back.
    """
    from dashboard.alarms.book import Book
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    now = time.time()
    until_at = None if until is None else moment("--until", until, now)
    site = load_site(site_path)
    with closing(open_store(site.store_url)) as store:
        # An acknowledgement is told to nobody.
        known = Book(store, site, ()).acknowledge(alarm, this_person(), why, until_at, now)
    print_table([asdict(known) | {"state": known.state} if as_json else _shown(known)], as_json=as_json)


@command.command()
@site_option
@json_option
def test(site_path: Path, as_json: bool) -> None:
    """Send a test notice to every webhook and by mail, and say what happened.

    Ends with 20 if one did not arrive.
    """
    from dashboard.alarms.payload import trial_notice
    from dashboard.alarms.targets import deliver, targets_of
    from dune_prompt.errors import ConfigError, TransientError
    from dune_prompt.settings import load_site

    site = load_site(site_path)
    targets = targets_of(site)
    if not targets:
        raise ConfigError(f"{site_path}: alarms: neither webhook nor mail is set, so nobody is told of alarms")
    now = time.time()
    rows = []
    for target in targets:
        began = time.monotonic()
        why = deliver(target, trial_notice(int(now), now))
        rows.append({"target": target.name, "delivered": why is None, "after_s": time.monotonic() - began, "why": why})
    print_table(rows if as_json else [row | {"delivered": "yes" if row["delivered"] else "no"} for row in rows], as_json=as_json)
    if any(row["why"] is not None for row in rows):
        click.get_current_context().exit(TransientError.exit_code)


def _shown(alarm: Alarm) -> dict[str, Any]:
    """An alarm as people read it."""

    until = "" if alarm.acknowledged_until is None else f" until {date(alarm.acknowledged_until)}"
    return {
        "alarm": alarm.id,
        "severity": alarm.severity.value,
        "state": alarm.state.value,
        "since": None if alarm.raised_at is None else date(alarm.raised_at),
        "over": None if alarm.cleared_at is None else date(alarm.cleared_at),
        "subject": alarm.subject,
        "message": alarm.message,
        "owner": alarm.owner,
        "looked after by": None if alarm.acknowledged_by is None else f"{alarm.acknowledged_by}{until}",
    }
