"""`declare pause|resume|waive|proof`: what may leave the buffer, and who answers for it."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click
import sqlalchemy as sa

from declare_daemon.journal import waive_obligations
from declare_daemon.journal.files import JournalFile
from declare_daemon.registration import pauses
from declare_daemon.release.candidates import obligations_of
from declare_daemon.release.checklist import proofs_of
from declare_daemon.release.kept import what_keeps
from dune_prompt.cli.declare.daemon import files_called
from dune_prompt.cli.options import date, json_option, moment, print_table, site_option, this_person
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site, load_site
from dune_prompt.store import open_store


@click.command()
@site_option
@click.argument("catalog")
@click.option("--until", help="a duration from now (2h), or a date (2026-11-26T08:00, UTC); default: until it is resumed")
@click.option("--why", help="kept with the pause")
def pause(site_path: Path, catalog: str, until: str | None, why: str | None) -> None:
    """Do not call CATALOG (sam, metacat, rucio) for a while: its steps queue, and no file leaves without it.

    While SAM is paused MetaCat waits too, if SAM gives the files' ids.
    """
    site, now = load_site(site_path), time.time()
    _check_catalog(site, catalog)
    end = None if until is None else moment("--until", until, now)
    with closing(open_store(site.store_url)) as store, store.write() as connection:
        pauses.pause(connection, catalog, end, this_person(), why, now)
    click.echo(f"{catalog} is paused until {'it is resumed' if end is None else date(end)}")


@click.command()
@site_option
@click.argument("catalog")
def resume(site_path: Path, catalog: str) -> None:
    """Call CATALOG again."""
    site = load_site(site_path)
    _check_catalog(site, catalog)
    with closing(open_store(site.store_url)) as store, store.write() as connection:
        ended = pauses.resume(connection, catalog, this_person(), time.time())
    click.echo(f"{catalog} is called again" if ended else f"{catalog} was not paused")


@click.command()
@site_option
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--run", "run_number", type=int, help="all files of a run in the buffer")
@click.option("--catalog", help="let the files leave without this catalogue")
@click.option("--campaign", help="let the files leave without this campaign's results")
@click.option("--version", help="of the campaign")
@click.option("--why", required=True, help="kept with the waiver, and shown in the proof")
@click.option("--dry-run", is_flag=True, help="only print which files are meant")
@json_option
def waive(
    site_path: Path,
    names: tuple[str, ...],
    run_number: int | None,
    catalog: str | None,
    campaign: str | None,
    version: str | None,
    why: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Answer, by your name, for files that leave the buffer without a catalogue (--catalog) or unprocessed (--campaign, --version).

    What the catalogue misses stays queued and is done when it can be.
    """
    if not names and run_number is None:
        raise click.UsageError("give NAMEs, or --run")
    if (catalog is None) == (campaign is None) or (campaign is None) != (version is None):
        raise click.UsageError("give either --catalog, or --campaign and --version")
    site, now, by = load_site(site_path), time.time(), this_person()
    if catalog is not None:
        _check_catalog(site, catalog)
    with closing(open_store(site.store_url)) as store:
        with store.read() as connection:
            files = files_called(connection, names, run_number)
        if not dry_run:
            with store.write() as connection:
                if catalog is not None:
                    pauses.waive(connection, catalog, files, by, why, now)
                else:
                    _waive_results(connection, files, campaign or "", version or "", by, why, now)
    what = catalog or f"{campaign} {version}"
    print_table([{"file": file.subject, "state": file.state, "waived": what, "by": by} for file in files], as_json=as_json)


def _waive_results(connection: sa.Connection, files: list[JournalFile], campaign: str, version: str, by: str, why: str, now: float) -> None:
    obligations = obligations_of(connection, [file.did for file in files if file.did is not None])
    held = [did for did, items in obligations.items() if any((item.campaign, item.version) == (campaign, version) for item in items)]
    if not held:
        raise ConfigError(f"none of these files is held by campaign {campaign}, version {version}")
    waive_obligations(connection, [(did, campaign, version) for did in held], by, why, now)


def _check_catalog(site: Site, catalog: str) -> None:
    known = [settings.kind for settings in site.catalogs]
    if catalog not in known:
        raise ConfigError(f"{catalog}: the site file lists no such catalogue; there are: {', '.join(known)}")


@click.command()
@site_option
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
@json_option
def proof(site_path: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Why FILE was safe to release, as it was checked then; of one that is still here, what keeps it."""
    site = load_site(site_path)
    with closing(open_store(site.store_url)) as store, store.read() as connection:
        files = files_called(connection, names)
        proofs = proofs_of(connection, [file.id for file in files])
        reasons = obligations_of(connection, [file.did for file in files if file.did is not None])
    kept = {file.id: what_keeps(file, site.stream(file.stream or ""), reasons.get(file.did or "", ()), time.time()) for file in files}
    mine = {file.id: [item for item in proofs if item.file_id == file.id] for file in files}
    if as_json:
        rows = [
            {
                "file": file.subject,
                "state": file.state,
                "kept": kept[file.id] if not mine[file.id] else None,
                "proofs": [asdict(item) for item in mine[file.id]],
            }
            for file in files
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    for number, file in enumerate(files):
        if number:
            click.echo()
        click.echo(f"{file.subject}: {file.state}")
        if not mine[file.id]:
            click.echo(f"  no proof yet: {kept[file.id]}")
        for item in mine[file.id]:
            what = f"moved to {item.target}" if item.action == "move" else "deleted"
            ended = f"{what} by {date(item.ended_at)}" if item.ended_at is not None else f"to be {what}"
            click.echo(f"  proof {item.id}, made {date(item.made_at)}; {ended}")
            for check in item.checks:
                click.echo(f"    {'ok' if check.ok else 'NO'}  {check.check}: {check.evidence}")


COMMANDS = (pause, resume, waive, proof)
