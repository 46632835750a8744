"""`dune-prompt campaign pause` and `resume`."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.command()
@site_option
@json_option
@click.argument("name")
@click.option("--version", help="only this version; default: all of the campaign")
@click.option("--why", required=True, help="why it has to stop")
@click.option("--dry-run", is_flag=True, help="show which versions, change nothing")
def pause(site_path: Path, as_json: bool, name: str, version: str | None, why: str, dry_run: bool) -> None:
    """Let campaign NAME start nothing new; running jobs go on."""
    from dune_prompt.cli.campaign.asking import ask

    print_table(ask(site_path, "pause", campaign=name, version=version, why=why, dry_run=dry_run), as_json=as_json)


@click.command()
@site_option
@json_option
@click.argument("name")
@click.option("--version", help="only this version; default: all of the campaign")
@click.option("--dry-run", is_flag=True, help="show which versions, change nothing")
def resume(site_path: Path, as_json: bool, name: str, version: str | None, dry_run: bool) -> None:
    """Let the paused campaign NAME start jobs again."""
    from dune_prompt.cli.campaign.asking import ask

    rows = ask(site_path, "resume", campaign=name, version=version, dry_run=dry_run)
    print_table(rows, as_json=as_json)
    if not rows and not as_json:
        click.echo("it is not paused")
