"""`dune-prompt campaign upload`: bring campaigns into POMS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dune_prompt.cli.options import json_option, print_table, site_option
from dune_prompt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from campaign.poms.upload import Plan
    from dune_prompt.settings import Site
    from dune_prompt.settings.launchers import PomsLauncherSettings


@click.command()
@site_option
@json_option
@click.argument("name", metavar="[CAMPAIGN]", required=False)
@click.option("--ini", "ini_path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="upload this file; render nothing")
@click.option("--hold", is_flag=True, help="hold all stages: POMS launches nothing before `campaign poms release`")
@click.option("--diff", is_flag=True, help="show what changes as a diff")
@click.option("--dry-run", is_flag=True, help="show what would change in POMS, write nothing")
def upload(site_path: Path, as_json: bool, name: str | None, ini_path: Path | None, hold: bool, diff: bool, dry_run: bool) -> None:
    """Bring a campaign, or all campaigns of the site, into POMS, and have it launch the first stage regularly.

    CAMPAIGN is the name of a campaign or, with its version, that in POMS: pdhd-prompt_v1. What POMS has afterwards is read back and
    compared. Doing it again changes nothing. Ends with 40 when POMS has something else than was uploaded.
    """
    from campaign.poms.client import PomsClient
    from campaign.poms.rendering import poms_settings
    from campaign.poms.upload import apply, diff_text, plan
    from dune_prompt.settings import load_site

    if ini_path is not None and name is not None:
        raise click.UsageError("give either a CAMPAIGN or --ini FILE")
    site = load_site(site_path)
    settings = poms_settings(site)
    # All of them first: when one cannot be rendered, none is uploaded.
    texts = [_text(ini_path)] if ini_path is not None else _rendered(site, settings, site_path, name)
    with closing(PomsClient.of(settings)) as client:
        if dry_run:
            _show([plan(client, text) for text in texts], as_json=as_json, diff=diff)
            return
        results = []
        for text in texts:
            if diff:
                click.echo(diff_text(plan(client, text)), nl=False, err=as_json)
            result = apply(client, settings, text, say=lambda words: click.echo(words, err=as_json), hold=hold)
            click.echo(result.page, err=as_json)
            results.append(result.to_json())
    if as_json:
        click.echo(json.dumps(results, indent=1))


def _rendered(site: Site, settings: PomsLauncherSettings, site_path: Path, name: str | None) -> list[str]:
    """The inis of the campaigns that are called so, or of all."""
    from campaign.definition import load_campaigns
    from campaign.poms.names import campaign_name
    from campaign.poms.rendering import INI, render_set

    files = load_campaigns(site, site_path)
    chosen = [file for file in files if name in (None, file.settings.campaign, campaign_name(file.settings))]
    if not chosen:
        known = ", ".join(campaign_name(file.settings) for file in files)
        raise ConfigError(f"{site_path}: there is no campaign {name!r}; there are: {known}")
    return [render_set(site, settings, file).files[INI] for file in chosen]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text") from None


def _show(plans: Sequence[Plan], *, as_json: bool, diff: bool) -> None:
    from campaign.poms.upload import diff_text

    if as_json:
        click.echo(json.dumps([item.to_json() for item in plans], indent=1))
        return
    for item in plans:
        if diff:
            click.echo(diff_text(item), nl=False)
            continue
        rows = [
            {"campaign": item.campaign, "where": change.where, "key": change.key, "in_poms": change.old, "in_file": change.new}
            for change in (*item.conflicts, *item.changes)
        ]
        print_table(rows, as_json=False)
        for change in item.conflicts:
            click.echo(f"conflict: {change}; POMS never changes it")
        for stage in item.detached:
            click.echo(f"stage {stage} is not in the file: POMS would take it out of the campaign")
        for note in item.notes:
            click.echo(note)
        if item.empty:
            click.echo(f"{item.campaign}: POMS has it already")
