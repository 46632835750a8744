"""`dune-prompt campaign status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.command()
@site_option
@json_option
@click.option("--run", type=int, help="only this run")
@click.option("--parked", is_flag=True, help="list the parked tasks and why they are parked")
def status(site_path: Path, as_json: bool, run: int | None, parked: bool) -> None:
    """Show how far each campaign is: files, processed, backlog, at work, parked, late."""
    from dataclasses import asdict

    from campaign.commands.retry import parked as parked_tasks
    from campaign.status import campaign_statuses
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    site = load_site(site_path)
    store = open_store(site.store_url)
    with store.read() as connection:
        if parked:
            rows: list[dict[str, Any]] = [
                {"input": task.input_did, "step": task.step, "class": task.error_class, "attempts": task.attempts, "message": task.message}
                for task in parked_tasks(connection, run=run)
            ]
        else:
            rows = [asdict(item) for item in campaign_statuses(connection, run, leave_out=site.probe.run if site.probe else None)]
    store.close()
    columns = ["campaign", "version", "files", "processed", "fraction_processed", "backlog", "in_flight", "reported", "parked", "late"]
    print_table(rows, as_json=as_json, columns=None if parked else columns)
    if not rows and not as_json:
        click.echo("no parked tasks" if parked else "no campaign has run here yet")
