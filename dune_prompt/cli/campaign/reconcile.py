"""`dune-prompt campaign reconcile`."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.command()
@site_option
@json_option
@click.option("--run", type=int, help="only this run")
@click.option("--repair", is_flag=True, help="process again what is done in the ledger, but not in the catalogue")
@click.option("--dry-run", is_flag=True, help="show what is wrong, change nothing")
def reconcile(site_path: Path, as_json: bool, run: int | None, repair: bool, dry_run: bool) -> None:
    """Bring the ledger back into agreement with catalogues, journal and itself. Safe at any time."""
    from dune_prompt.cli.campaign.asking import ask

    rows = ask(site_path, "reconcile", run=run, repair=repair, dry_run=dry_run)
    print_table(rows, as_json=as_json)
    if not rows and not as_json:
        click.echo("everything agrees")
