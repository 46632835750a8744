"""`dune-prompt campaign bundle`: build the tarball that workers elsewhere unpack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dune_prompt.cli.options import json_option, print_table, site_option
from dune_prompt.errors import ConfigError


@click.command()
@site_option
@json_option
@click.option("--campaign", help="only that of this campaign")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="folder for the bundles  [default: bundles in the workspace]"
)
@click.option("--dry-run", is_flag=True, help="show what would be in it, write nothing")
def bundle(site_path: Path, as_json: bool, campaign: str | None, output: Path | None, dry_run: bool) -> None:
    """Build the worker bundle of each campaign: our code, the libraries its payload needs, its scripts.

    The same inputs give the same file. The engine builds what it needs by itself; this is to look at it, or to upload it beforehand.
    """
    from campaign.bundle import build
    from campaign.bundle_contents import libraries_of, manifest_of
    from campaign.definition import load_campaigns
    from dune_prompt.settings import load_site

    site = load_site(site_path)
    files = [file for file in load_campaigns(site, site_path) if campaign in (None, file.settings.campaign)]
    if not files:
        raise ConfigError(f"{site_path}: there is no campaign {campaign!r}")
    rows: list[dict[str, Any]] = []
    for file in files:
        libraries = libraries_of(file.settings)
        built = None if dry_run else build(output or site.workspace / "bundles", file)
        rows.append(
            {
                **manifest_of(file, libraries),
                "libraries": " ".join(f"{library.name}-{library.version}" for library in libraries),
                "bundle": built,
                "mb": None if built is None else round(built.stat().st_size / 1e6, 1),
            }
        )
    print_table(rows, as_json=as_json, columns=("campaign", "version", "python", "glibc", "libraries", "mb", "bundle"))
