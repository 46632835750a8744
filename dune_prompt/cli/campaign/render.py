"""`dune-prompt campaign render`: the text files a campaign needs to run elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dune_prompt.cli.options import site_option
from dune_prompt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from campaign.definition import CampaignFile
    from campaign.poms.lint import Complaint


@click.command()
@site_option
@click.argument("name", metavar="[CAMPAIGN]", required=False)
@click.option("--target", type=click.Choice(["poms"]), default="poms", show_default=True, help="what it is to run under")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="folder to write to  [default: poms/CAMPAIGN_VERSION in the workspace]",
)
@click.option(
    "--check", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="only check this ini of a campaign; render nothing"
)
@click.option("--dry-run", is_flag=True, help="say what would be written, write nothing")
def render(site_path: Path, name: str | None, target: str, output: Path | None, check: Path | None, dry_run: bool) -> None:
    """Write what POMS needs of a campaign, or of all campaigns of the site, and check it.

    CAMPAIGN is the name of a campaign or, with its version, that in POMS: pdhd-prompt_v1. Files that are as they should be are not written
    again. Ends with 10 when something is at fault, each fault with its section and key; a warning is none.
    """
    from campaign.definition import load_campaigns
    from campaign.poms.ini import parse
    from campaign.poms.lint import complaints
    from campaign.poms.rendering import INI, changed, poms_settings, render_set, write_set
    from dune_prompt.settings import load_site

    site = load_site(site_path)
    settings = poms_settings(site)
    if check is not None:
        _tell({check: complaints(parse(_text(check)), settings)})
        return
    files = _chosen(load_campaigns(site, site_path), name, site_path)
    if output is not None and len(files) > 1:
        raise click.UsageError(f"--output is for one campaign; name one of {', '.join(map(_name, files))}")
    found: dict[Path, list[Complaint]] = {}
    # All of them first: of what cannot be rendered nothing is written.
    for rendered in [render_set(site, settings, file) for file in files]:
        folder = output or site.workspace / target / rendered.name
        for path in changed(folder, rendered) if dry_run else write_set(folder, rendered):
            click.echo(str(folder / path))
        found[folder / INI] = complaints(rendered.ini, settings)
    _tell(found)


def _chosen(files: Sequence[CampaignFile], name: str | None, site_path: Path) -> list[CampaignFile]:
    chosen = [file for file in files if name in (None, file.settings.campaign, _name(file))]
    if not chosen:
        raise ConfigError(f"{site_path}: there is no campaign {name!r}; there are: {', '.join(map(_name, files))}")
    return chosen


def _name(file: CampaignFile) -> str:
    from campaign.poms.names import campaign_name

    return campaign_name(file.settings)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text") from None


def _tell(found: Mapping[Path, Sequence[Complaint]]) -> None:
    """Print what was found about each ini.

    Raises:
        DataError: there are faults.
    """
    for path, complaints in found.items():
        for complaint in complaints:
            click.echo(f"{path}: {'warning' if complaint.warning else 'fault'}: {complaint}", err=True)
    if faults := sum(not complaint.warning for complaints in found.values() for complaint in complaints):
        raise DataError(f"{faults} fault{'' if faults == 1 else 's'} in {', '.join(map(str, found))}")
