"""What several `declare` commands share: the daemon opened and closed, and files by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import sqlalchemy as sa

from declare_daemon.catalogs import open_catalogs
from declare_daemon.daemon import Daemon
from declare_daemon.journal.files import JournalFile, fetch, files_by_did, files_by_name, select_files
from declare_daemon.journal.tables import file_table
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site
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
