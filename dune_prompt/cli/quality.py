"""`dune-prompt quality`: the limits and reference runs that data quality is judged by, verdicts made again, and flags of runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dune_prompt.cli.options import date, json_option, moment, print_table, site_option, this_person

if TYPE_CHECKING:
    from dashboard.quality.rejudging import Progress, Rejudged
    from dune_prompt.settings import Site
    from dune_prompt.store import Store

why_option = click.option("--why", required=True, help="the reason, kept with it")
FLAGS = ("good", "medium", "bad", "null")


@click.group()
def command() -> None:
    """Set the limits and reference runs of data quality, judge again, flag runs.

    What is done here holds at once, whether or not the service runs.
    """


@command.group()
def limits() -> None:
    """Show, check and set the limits that records are judged by."""


@limits.command()
@site_option
@json_option
@click.option("--version", type=click.IntRange(min=1), help="which  [default: the one in force]")
@click.option("--versions", is_flag=True, help="list all versions instead")
def show(site_path: Path, as_json: bool, version: int | None, versions: bool) -> None:
    """Print the limits as the file that `set` takes."""
    import json
    from dataclasses import asdict

    from dashboard.quality.limits import as_json as limits_as_json
    from dashboard.quality.limits import read_limits, read_versions, to_yaml

    with _opened(site_path) as (_, store), store.read() as connection:
        if versions:
            rows = [asdict(row) for row in read_versions(connection)]
            print_table(rows if as_json else [row | {"set_at": date(row["set_at"])} for row in rows], as_json=as_json)
            return
        found = read_limits(connection, version)
    if as_json:
        head = {"version": found.version, "set_at": found.set_at, "set_by": found.set_by, "why": found.why}
        click.echo(json.dumps(head | {"content": limits_as_json(found.file)}, indent=1))
    else:
        click.echo(f"# version {found.version}: {found.why} ({found.set_by})\n{to_yaml(found.file)}", nl=False)


@limits.command()
@site_option
@json_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def check(site_path: Path, as_json: bool, file: Path) -> None:
    """Check the limits in FILE, and show what they would change."""
    from dataclasses import asdict

    from dashboard.quality.changes import changes
    from dashboard.quality.limits import load_limits, read_limits

    content = load_limits(file)
    with _opened(site_path) as (_, store), store.read() as connection:
        present = read_limits(connection)
    found = changes(present.file, content)
    print_table([asdict(change) for change in found], as_json=as_json)
    if not found:
        click.echo(f"nothing differs from version {present.version}", err=True)


@limits.command("set")
@site_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@why_option
@click.option("--after", type=click.IntRange(min=1), help="only if this version is still in force")
def set_limits(site_path: Path, file: Path, why: str, after: int | None) -> None:
    """Make the limits in FILE those in force, as a new version. Records judged before keep their verdict: see `rejudge`."""
    from dashboard.quality import limits as of_quality

    content = of_quality.load_limits(file)
    with _opened(site_path) as (_, store), store.write() as connection:
        after_version = of_quality.read_limits(connection).version if after is None else after
        version = of_quality.set_limits(connection, content, after_version=after_version, by=this_person(), why=why, now=time.time())
    click.echo(f"version {version} is in force")


@command.group()
def reference() -> None:
    """List and set the reference runs that records are compared to."""


@reference.command("list")
@site_option
@json_option
def list_references(site_path: Path, as_json: bool) -> None:
    """Show all reference runs, the newest first."""
    from dataclasses import asdict

    from dashboard.quality.references import read_references

    with _opened(site_path) as (_, store), store.read() as connection:
        rows = [asdict(row) for row in read_references(connection)]
    columns = ("run", "detector", "run_type", "campaign", "version", "files", "state", "set", "by", "why")
    shown = [
        row | {"state": "in force" if row["in_force"] else "replaced", "set": date(row["set_at"]), "by": row["set_by"]} for row in rows
    ]
    print_table(rows if as_json else shown, as_json=as_json, columns=columns)


@reference.command("set")
@site_option
@json_option
@click.argument("run", type=click.IntRange(min=0))
@click.option("--campaign", help="as this campaign sees it  [default: the one that saw it last]")
@click.option("--version", help="as this version of the campaign sees it")
@why_option
def set_reference(site_path: Path, as_json: bool, run: int, campaign: str | None, version: str | None, why: str) -> None:
    """Make RUN the reference of its detector and run type."""
    from dataclasses import asdict

    from dashboard.quality import references

    with _opened(site_path) as (site, store):
        row = references.set_reference(
            store, site.workspace, run, campaign=campaign, version=version, by=this_person(), why=why, now=time.time()
        )
    columns = ("run", "detector", "run_type", "campaign", "version", "files")
    print_table([asdict(row)], as_json=as_json, columns=columns)


@command.command()
@site_option
@json_option
@click.option("--run", type=click.IntRange(min=0), help="only the records of this run")
@click.option("--since", help="only runs that records came of since then: a duration ago (2d), or a date (2026-11-26, UTC)")
def rejudge(site_path: Path, as_json: bool, run: int | None, since: str | None) -> None:
    """Judge records again by the limits and references in force; their old verdicts are kept.

    Records that were judged by these are left alone, so that interrupted work goes on where it was.
    """
    from dataclasses import asdict

    from dashboard.quality import rejudging

    since_at = None if since is None else moment("--since", since, time.time(), past=True)
    with _opened(site_path) as (site, store), _progress() as progress:
        done = rejudging.rejudge(store, site.workspace, run=run, since=since_at, by=this_person(), progress=progress)
    print_table([asdict(done)], as_json=as_json)


@command.command()
@site_option
@click.argument("run", type=click.IntRange(min=0))
@click.argument("flag", type=click.Choice(FLAGS))
@click.option("--comment", required=True, help="what there is to say")
def flag(site_path: Path, run: int, flag: str, comment: str) -> None:
    """Say that RUN is good, medium or bad, beside what was judged; `null` takes back what was said."""
    from dashboard.quality.flags import Flag
    from dashboard.quality.run_flags import set_run_flag

    with _opened(site_path) as (_, store), store.write() as connection:
        set_run_flag(connection, run, Flag[flag.upper()], comment, this_person(), time.time())
    click.echo(f"run {run}: {'its flag is taken back' if flag == 'null' else flag}")


@contextmanager
def _opened(site_path: Path) -> Iterator[tuple[Site, Store]]:
    """The site and its store; the service looks there at every request and every record."""
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    site = load_site(site_path)
    with closing(open_store(site.store_url)) as store:
        yield site, store


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal; elsewhere a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        said = [time.monotonic()]

        def say(state: Rejudged) -> None:
            if time.monotonic() - said[0] > 10 or state.done == state.records:
                said[0] = time.monotonic()
                click.echo(f"{state.done} of {state.records} records, {state.changed} changed", err=True)

        yield say
        return
    columns = (TextColumn("records"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task("", total=None)

        def draw(state: Rejudged) -> None:
            bars.update(bar, total=state.records, completed=state.done, description=f"{state.changed} changed")

        yield draw
