"""`declare retry`: stopped files are tried again."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click

from declare_daemon.catalogs import open_catalogs
from declare_daemon.daemon import Daemon
from declare_daemon.journal.writer import lease_name
from declare_daemon.retry import ask_again, quarantined_files, stopped_files
from dune_prompt import log
from dune_prompt.cli.options import json_option, print_table, site_option, this_person
from dune_prompt.settings import Site, load_site
from dune_prompt.store import Store, open_store
from dune_prompt.store.lease import LeaseHeldError, holder_of


@click.command()
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
                ask_again(connection, files, site, time.time(), this_person())
            _move_back(site, store)
    print_table([{"file": file.subject, "was": file.state, "reason": file.reason} for file in files], as_json=as_json)


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


COMMANDS = (retry,)
