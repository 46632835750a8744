"""`dune-prompt campaign exclude`, `include` and `waive`."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.command()
@site_option
@json_option
@click.argument("run", type=int)
@click.option("--why", required=True, help="what is wrong with the run")
@click.option("--campaign", help="only this campaign leaves it out; default: all do")
@click.option("--dry-run", is_flag=True, help="show what would be waived, change nothing")
def exclude(site_path: Path, as_json: bool, run: int, why: str, campaign: str | None, dry_run: bool) -> None:
    """Leave RUN out, because it is bad or a test: what waits is waived, its files may leave, jobs that run go on."""
    from dune_prompt.cli.campaign.asking import ask

    print_table(ask(site_path, "exclude", run=run, why=why, campaign=campaign, dry_run=dry_run), as_json=as_json)


@click.command()
@site_option
@json_option
@click.argument("run", type=int)
@click.option("--campaign", help="the campaign that leaves it out; default: all do")
@click.option("--dry-run", is_flag=True, help="show what would wait again, change nothing")
def include(site_path: Path, as_json: bool, run: int, campaign: str | None, dry_run: bool) -> None:
    """Take the exclusion of RUN back: it is processed after all."""
    from dune_prompt.cli.campaign.asking import ask

    print_table(ask(site_path, "include", run=run, campaign=campaign, dry_run=dry_run), as_json=as_json)


@click.command()
@site_option
@json_option
@click.argument("files", nargs=-1, required=True)
@click.option("--why", required=True, help="why they need not be processed")
@click.option("--campaign", help="only by this campaign; default: by none")
@click.option("--version", help="only by this version")
@click.option("--undo", is_flag=True, help="they are to be processed after all")
@click.option("--dry-run", is_flag=True, help="show which tasks, change nothing")
def waive(
    site_path: Path, as_json: bool, files: tuple[str, ...], why: str, campaign: str | None, version: str | None, undo: bool, dry_run: bool
) -> None:
    """Say that raw FILES (names or DIDs) need not be processed, so that they may leave the buffer."""
    from dune_prompt.cli.campaign.asking import ask

    rows = ask(site_path, "waive", files=files, why=why, campaign=campaign, version=version, undo=undo, dry_run=dry_run)
    print_table(rows, as_json=as_json)
