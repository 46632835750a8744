"""`dune-prompt campaign why`."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import json_option, site_option


@click.command()
@site_option
@json_option
@click.argument("what", metavar="FILE|RUN")
def why(site_path: Path, as_json: bool, what: str) -> None:
    """Say where a file or a run is, what it waits for, what was tried, and what happens next and when.

    FILE is a DID, a bare name or a path, of a raw file or of an output; RUN is a number. The answer comes from the store: the service
    may run or not.
    """
    import json
    import time
    from contextlib import closing

    from campaign.why.file import why_file
    from campaign.why.run import why_run
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    site, now = load_site(site_path), time.time()
    with closing(open_store(site.store_url)) as store, store.read() as connection:
        answer = why_run(connection, site, int(what), now) if what.isdecimal() else why_file(connection, site, what, now)
    click.echo(json.dumps(answer.to_json(), indent=1, default=str) if as_json else "\n".join(answer.lines()))
