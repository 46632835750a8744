"""`dune-prompt campaign recall`."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.command()
@site_option
@json_option
def recall(site_path: Path, as_json: bool) -> None:
    """Show what is read back from tape for each campaign, asked for and there, in GB."""
    from campaign.inputs import recall_statuses
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    store = open_store(load_site(site_path).store_url)
    with store.read() as connection:
        statuses = recall_statuses(connection)
    store.close()
    rows = [
        {
            "campaign": item.campaign,
            "version": item.version,
            "files_asked": item.files_asked,
            "files_read_back": item.files_read_back,
            "GB_asked": round(item.bytes_asked / 1e9, 3),
            "GB_read_back": round(item.bytes_read_back / 1e9, 3),
            "rules_open": item.rules_open,
            "trouble": item.trouble,
        }
        for item in statuses
    ]
    print_table(rows, as_json=as_json)
    if not rows and not as_json:
        click.echo("nothing was asked back from tape")
