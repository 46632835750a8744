"""`dune-prompt campaign definitions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dune_prompt.cli.options import json_option, print_table, site_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from campaign.definition import CampaignFile
    from declare_daemon.catalogs import Catalogs
    from dune_prompt.settings import Site


@click.command()
@site_option
@json_option
@click.argument("campaign")
@click.option("--dry-run", is_flag=True, help="show what would be made, change nothing")
@click.option("--check", is_flag=True, help="only compare what ledger and catalogues say is done; exit code 40 if they differ")
def definitions(site_path: Path, as_json: bool, campaign: str, dry_run: bool, check: bool) -> None:
    """Keep the definitions of CAMPAIGN's open inputs in SAM and MetaCat, and show how many files they find.

    All versions of the campaign that the site file lists have theirs. They drain by themselves: this is needed once for a version, and
    again when its `inputs` change.
    """
    from contextlib import closing

    from campaign.definition import load_campaigns
    from declare_daemon.catalogs import open_catalogs
    from dune_prompt.errors import ConfigError
    from dune_prompt.settings import load_site

    site = load_site(site_path)
    every = load_campaigns(site, site_path)
    files = [file for file in every if file.settings.campaign == campaign]
    if not files:
        known = ", ".join(sorted({file.settings.campaign for file in every}))
        raise ConfigError(f"{site_path}: campaigns: no file of campaign {campaign}; there are: {known}")
    with closing(open_catalogs(site)) as catalogs:
        if check:
            _compare(site, files, catalogs, as_json=as_json)
        else:
            _keep(site, files, catalogs, as_json=as_json, change=not dry_run)


def _keep(site: Site, files: Sequence[CampaignFile], catalogs: Catalogs, *, as_json: bool, change: bool) -> None:
    from dataclasses import asdict

    from campaign.poms.definitions import upkeep

    kept = [(file, row) for file in files for row in upkeep(site, file, catalogs, change=change)]
    rows = [{"version": file.settings.version, **asdict(row)} for file, row in kept]
    print_table(rows, as_json=as_json, columns=("version", "catalog", "name", "state", "files"))
    if not as_json:
        for _, row in kept:
            click.echo(f"\n{row.catalog} {row.name}\n  {row.text}")


def _compare(site: Site, files: Sequence[CampaignFile], catalogs: Catalogs, *, as_json: bool) -> None:
    """Show every difference.

    Raises:
        ConflictError: there is one. TransientError: there is none, but a catalogue did not answer.
    """
    from contextlib import closing

    from campaign.poms.definitions import agreement
    from dune_prompt.errors import ConflictError, TransientError
    from dune_prompt.store import open_store

    with closing(open_store(site.store_url)) as store:
        answers = [(file.settings, agreement(store, file.settings, catalogs)) for file in files]
    rows = [
        {
            "version": settings.version,
            "did": difference.did,
            "done_in": ", ".join(difference.done_in),
            "not_done_in": ", ".join(difference.open_in),
        }
        for settings, answer in answers
        for difference in answer.differences
    ]
    print_table(rows, as_json=as_json)
    inputs = sum(answer.inputs for _, answer in answers)
    if rows:
        raise ConflictError(
            f"{len(rows)} of {inputs} inputs are done for some and not for others; `dune-prompt campaign reconcile` puts the ledger right, "
            "`dune-prompt declare audit` the catalogues"
        )
    if away := {name: why for _, answer in answers for name, why in answer.away.items()}:
        raise TransientError(f"no difference was found, but not all could be asked: {'; '.join(away.values())}")
    if not as_json:
        click.echo(f"all agree on what is done of {inputs} inputs")
