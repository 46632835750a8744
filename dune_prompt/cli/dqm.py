"""`dune-prompt dqm`: data-quality results that came another way than from a job."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import click

from dune_prompt.cli.options import site_option


@click.group()
def command() -> None:
    """Take data-quality results over from elsewhere."""


@command.command("import-p3s")
@site_option
@click.argument("summaries", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="say what would be taken over, and change nothing")
def import_p3s(site_path: Path, summaries: tuple[Path, ...], dry_run: bool) -> None:
    """Take over SUMMARIES, the `…_summary.json` files of p3s.

    The pictures of a summary are named in the `…_FileList.json` beside it, and lie there too. What is there already is left as it is,
    so this may be repeated. A file that cannot be read is said and left out; the exit code then tells.
    """
    import json

    from dashboard.dqm.p3s import read_p3s
    from dashboard.dqm.record import read_record
    from dashboard.dqm.storage import DqmStorage
    from dashboard.quality.judging import Judge
    from dune_prompt.errors import DataError
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    site = load_site(site_path)
    store = open_store(site.store_url)
    storage = DqmStorage(store, site.workspace, Judge(store, site.workspace))
    new = known = failed = 0
    for summary in summaries:
        lists = summary.with_name(summary.name.replace("_summary", "_FileList"))
        try:
            for imported in read_p3s(summary, lists if lists != summary and lists.is_file() else None):
                content = json.dumps(imported.record).encode()
                record = read_record(content)
                there = {name: path for name, path in imported.pictures.items() if path.is_file()}
                click.echo(f"{summary}: run {record.run}, file {record.file_index}: {len(record.elements)} APAs, {len(there)} pictures")
                if dry_run:
                    continue
                with ExitStack() as stack:
                    pictures = {name: stack.enter_context(path.open("rb")) for name, path in there.items()}
                    created = storage.keep(record, content, pictures, time.time()).created
                new, known = new + created, known + (not created)
        except DataError as error:
            failed += 1
            click.echo(str(error), err=True)
    store.close()
    click.echo(f"{new} taken over, {known} known already, {failed} files could not be read" + (" (dry run)" if dry_run else ""))
    if failed:
        raise DataError(f"{failed} of {len(summaries)} files could not be read")
