"""`dune-prompt campaign canary`: a version tried on a part of its inputs is compared, promoted or dropped."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.group()
def canary() -> None:
    """Compare, promote or drop a version that is tried beside another."""


@canary.command()
@site_option
@json_option
@click.argument("name")
@click.argument("version")
@click.option("--with", "other", help="the version it is compared with; default: the one before it")
@click.option("--more-than", type=float, default=5.0, show_default=True, help="differences above so many percent count")
@click.option("--frames", type=click.IntRange(0), default=3, show_default=True, help="files whose charge is compared pixel by pixel")
def compare(site_path: Path, as_json: bool, name: str, version: str, other: str | None, more_than: float, frames: int) -> None:
    """Compare VERSION of campaign NAME with another: data quality, charge and jobs, over the files both have processed."""
    import json
    from dataclasses import asdict

    from campaign.versions.comparison import compare as compare_versions
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    store = open_store(load_site(site_path).store_url)
    try:
        with store.read() as connection:
            found = compare_versions(connection, name, version, other, tolerance=more_than / 100, frames=frames)
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(asdict(found) | {"verdict": found.verdict}, indent=1))
        return
    rows = [
        {
            "quantity": item.what,
            "unit": item.unit,
            "files": item.files,
            found.old: item.old,
            found.new: item.new,
            "difference": item.difference,
            "percent": None if item.relative is None else f"{item.relative:+.1%}",
            "p": item.p,
            "answer": item.answer,
        }
        for item in found.lines
    ]
    print_table(rows, as_json=False)
    click.echo(found.verdict)


@canary.command()
@site_option
@json_option
@click.argument("name")
@click.argument("version")
@click.option("--dry-run", is_flag=True, help="show what it would take over, change nothing")
def promote(site_path: Path, as_json: bool, name: str, version: str, dry_run: bool) -> None:
    """Let VERSION of campaign NAME have all its inputs from now on; older versions finish what they began."""
    from dune_prompt.cli.campaign.asking import ask

    print_table(ask(site_path, "canary-promote", campaign=name, version=version, dry_run=dry_run), as_json=as_json)


@canary.command()
@site_option
@json_option
@click.argument("name")
@click.argument("version")
@click.option("--retire", is_flag=True, help="take what it has made out of the catalogues' queries")
@click.option("--dry-run", is_flag=True, help="show what would be waived, change nothing")
def drop(site_path: Path, as_json: bool, name: str, version: str, retire: bool, dry_run: bool) -> None:
    """Give VERSION of campaign NAME up: it takes nothing more, and no file is kept for it."""
    from dune_prompt.cli.campaign.asking import ask

    print_table(ask(site_path, "canary-drop", campaign=name, version=version, retire=retire, dry_run=dry_run), as_json=as_json)
