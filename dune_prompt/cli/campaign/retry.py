"""`dune-prompt campaign retry`."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.command()
@site_option
@json_option
@click.option("--parked", is_flag=True, required=True, help="the tasks that failed their last allowed attempt")
@click.option("--run", type=int, help="only those of this run")
@click.option("--campaign", help="only those of this campaign")
@click.option("--class", "error_class", help="only those that failed in this way, such as memory")
@click.option("--dry-run", is_flag=True, help="show which, change nothing")
def retry(
    site_path: Path, as_json: bool, parked: bool, run: int | None, campaign: str | None, error_class: str | None, dry_run: bool
) -> None:
    """Try parked tasks again, with all their retries."""
    from dune_prompt.cli.campaign.asking import ask

    rows = ask(site_path, "retry", run=run, campaign=campaign, error_class=error_class, dry_run=dry_run)
    print_table(rows, as_json=as_json)
    if not as_json:
        click.echo(f"{len(rows)} parked tasks {'would be' if dry_run else 'will be'} tried again")
