"""`dune-prompt campaign step`."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.command()
@site_option
@json_option
def step(site_path: Path, as_json: bool) -> None:
    """Do one step of the engine, for cron.

    When a service holds the ledger, it is asked to do the step.
    """
    from dune_prompt.cli.campaign.asking import ask

    print_table(ask(site_path, "step"), as_json=as_json)
