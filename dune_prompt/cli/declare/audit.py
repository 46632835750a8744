"""`declare audit`: disk, journal and catalogues side by side."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click

from dune_prompt import log
from dune_prompt.cli.options import json_option, print_table, site_option, this_person
from dune_prompt.errors import ConflictError, TransientError
from dune_prompt.settings import load_site
from dune_prompt.store import open_store

SHOWN = 200


@click.command()
@site_option
@click.option("--run", "run_number", type=int, help="only the files of this run")
@click.option("--repair", "with_repair", is_flag=True, help="have the daemon register again what is missing; nothing else is touched")
@json_option
def audit(site_path: Path, run_number: int | None, with_repair: bool, as_json: bool) -> None:
    """Compare disk, journal and every catalogue: what is missing where, what differs, what nobody knows.

    Exit code 0 if all agree, 20 if a catalogue could not be asked, 40 if they do not agree.
    """
    from declare_daemon.audit import audit as compare
    from declare_daemon.audit import repair
    from declare_daemon.catalogs import open_catalogs

    log.configure()
    site, now = load_site(site_path), time.time()
    with closing(open_store(site.store_url)) as store:
        with closing(open_catalogs(site)) as catalogs:
            report = compare(site, store, catalogs, run=run_number, now=now, with_files=as_json)
        done = repair(report, store, by=this_person(), now=now) if with_repair else []
    if as_json:
        click.echo(json.dumps(report.to_json() | {"repaired": [asdict(item) for item in done]}, indent=1))
    else:
        print_table([finding.to_json() for finding in report.findings[:SHOWN]], as_json=False)
        if len(report.findings) > SHOWN:
            click.echo(f"… and {len(report.findings) - SHOWN} more; --json has all of them")
        click.echo(f"{report.compared} files of {report.datasets} datasets compared, {len(report.findings)} findings")
        if done:
            click.echo(f"{len(done)} registrations will be done again by the daemon")
    if not report.complete:
        sys.exit(TransientError.exit_code)
    if not report.clean:
        sys.exit(ConflictError.exit_code)


COMMANDS = (audit,)
