"""`dune-prompt campaign redo`."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.command()
@site_option
@json_option
@click.argument("run", type=int)
@click.option("--version", required=True, help="the version that is to process the run")
@click.option("--campaign", help="its campaign, when several have such a version")
@click.option("--retire-old", is_flag=True, help="when all of the run is done, take older versions' files out of the catalogues' queries")
@click.option("--dry-run", is_flag=True, help="show what it would be, change nothing")
def redo(site_path: Path, as_json: bool, run: int, version: str, campaign: str | None, retire_old: bool, dry_run: bool) -> None:
    """Process RUN with a version whose `inputs` do not cover it: the explicit second pass.

    With --retire-old, the older results go when the run is done: at the next `campaign reconcile`, or when this is asked again.
    """
    from dune_prompt.cli.campaign.asking import ask

    rows = ask(site_path, "redo", run=run, version=version, campaign=campaign, retire_old=retire_old, dry_run=dry_run)
    print_table(rows, as_json=as_json)
