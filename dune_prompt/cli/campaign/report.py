"""`dune-prompt campaign report`."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, print_table, site_option


@click.command()
@site_option
@json_option
@click.argument("run", type=click.IntRange(min=0), required=False)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="folder for certificate.json and certificate.html; default: certificates/RUN in the workspace",
)
@click.option("--verify", "to_verify", type=click.Path(dir_okay=False, path_type=Path), help="check a certificate that was written before")
@click.option("--dry-run", is_flag=True, help="only print, write nothing")
def report(site_path: Path, as_json: bool, run: int | None, output: Path | None, to_verify: Path | None, dry_run: bool) -> None:
    """Print and write the completeness certificate of RUN, signed by its content.

    The first line says whether the run is complete, or what is missing. With --verify a certificate is checked: whether it is what was
    signed, and what is otherwise now.
    """
    import json
    import time
    from contextlib import closing

    from campaign.certificate.certificate import certify, verify, write
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    if (run is None) == (to_verify is None):
        raise click.UsageError("give either a RUN or --verify FILE")
    site, now = load_site(site_path), time.time()
    with closing(open_store(site.store_url)) as store, store.read() as connection:
        if to_verify is not None:
            verdict = verify(connection, site, to_verify, now)
            if as_json:
                click.echo(json.dumps(verdict.to_json(), indent=1))
            else:
                click.echo("\n".join(verdict.lines()))
            return
        certificate = certify(connection, site, run or 0, now)
    if as_json:
        click.echo(json.dumps(certificate.to_json(), indent=1))
    else:
        click.echo(certificate.headline)
        for title, rows in certificate.tables().items():
            if rows:
                click.echo(f"\n{title}")
                print_table(rows, as_json=False)
        click.echo(f"\nsigned: SHA-256 {certificate.sha256}")
    if not dry_run:
        for path in write(certificate, output or site.workspace / "certificates" / str(run)):
            click.echo(f"written: {path}", err=as_json)
