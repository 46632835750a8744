"""What several `declare` commands share: the daemon opened and closed, who gives a command, and dates."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import click
import sqlalchemy as sa

from declare_daemon.catalogs import open_catalogs
from declare_daemon.daemon import Daemon
from declare_daemon.journal.files import JournalFile, fetch, files_by_did, files_by_name, select_files
from declare_daemon.journal.tables import file_table
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site
from dune_prompt.settings.units import parse_duration
from dune_prompt.store import Store, open_store


@contextmanager
def open_daemon(site: Site) -> Iterator[tuple[Daemon, Store]]:
    """The daemon of a site, with its store."""
    with (
        closing(open_store(site.store_url)) as store,
        closing(open_catalogs(site)) as catalogs,
        closing(Daemon(site, store, catalogs)) as daemon,
    ):
        yield daemon, store


def this_person() -> str:
    """Who gives a command, as it is kept with what the command did."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def date(seconds: float) -> str:
    """A time as people read it, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str, now: float) -> float:
    """A time a person wrote: `2h` from now, or an ISO 8601 date (UTC when it does not say).

    Raises:
        click.BadParameter: it is neither, or is over already.
    """
    try:
        at = now + parse_duration(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise click.BadParameter(f"{text!r} is neither a duration such as 2h nor a date such as 2026-11-26T08:00") from None
        at = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if at <= now:
        raise click.BadParameter(f"{text!r} is over")
    return at


def files_called(connection: sa.Connection, names: Sequence[str], run: int | None = None) -> list[JournalFile]:
    """The journal's files of these names or DIDs, and those of a run in the buffer.

    Raises:
        ConfigError: there is none of a name, or the run has none.
    """
    found = files_by_name(connection, "outbox", names) | files_by_name(connection, "buffer", names) | files_by_did(connection, names)
    if unknown := [name for name in names if name not in found]:
        raise ConfigError(f"{unknown[0]}: the journal knows no such file")
    files = [found[name] for name in names]
    if run is not None:
        c = file_table.c
        of_run = fetch(connection, select_files().where(c.run == run, c.origin == "buffer").order_by(c.id))
        if not of_run:
            raise ConfigError(f"run {run}: the journal knows no file of it")
        files += of_run
    return list({file.id: file for file in files}.values())
