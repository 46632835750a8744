"""`dune-prompt token`: named tokens of the HTTP interface, for all who need not have the operator's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from campaign.service.scopes import GRANTABLE, Scope
from dune_prompt.cli.options import date, json_option, moment, print_table, seconds, site_option, this_person

if TYPE_CHECKING:
    import sqlalchemy as sa

    from campaign.service.named_tokens import Issued, NamedToken


@click.group()
def command() -> None:
    """Make, rotate and revoke tokens of the HTTP interface.

    A token has a name, which events show as who did something, and scopes, which say what it may do. A new token is printed once, on
    standard output, and kept nowhere. What is done here holds at once, whether or not the service runs.
    """


@command.command(epilog="\b\nScopes:\n" + "\n".join(f"  {scope:<9}{scope.sentence}" for scope in GRANTABLE))
@site_option
@json_option
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in GRANTABLE]),
    help="what it may do; may be repeated",
)
@click.option("--expires", help="a duration from now (90d), or a date (2027-03-01, UTC); default: never")
def create(site_path: Path, as_json: bool, name: str, scopes: tuple[str, ...], expires: str | None) -> None:
    """Make a token called NAME, and print it."""
    from campaign.service import named_tokens

    now = time.time()
    expires_at = None if expires is None else moment("--expires", expires, now)
    with _writing(site_path) as connection:
        issued = named_tokens.create(connection, name, [Scope(scope) for scope in scopes], this_person(), now, expires_at=expires_at)
    if as_json:
        click.echo(json.dumps(_row(issued.token, now) | {"token": issued.text}, indent=1))
    else:
        _print(issued)


@command.command()
@site_option
@click.argument("name")
@click.option("--grace", "grace_s", default="1h", show_default=True, callback=seconds, help="how long the old token stays good")
def rotate(site_path: Path, name: str, grace_s: float) -> None:
    """Make a new token in place of NAME, with its scopes and for as long as it had, and print it."""
    from campaign.service import named_tokens

    now = time.time()
    with _writing(site_path) as connection:
        issued = named_tokens.rotate(connection, name, this_person(), now, grace_s=grace_s)
    _print(issued)
    click.echo(f"the old one is good until {date(now + grace_s)} at most", err=True)


@command.command()
@site_option
@click.argument("name")
def revoke(site_path: Path, name: str) -> None:
    """Make the token NAME no good at once, and with it the ones it has replaced."""
    from campaign.service import named_tokens

    with _writing(site_path) as connection:
        named_tokens.revoke(connection, name, this_person(), time.time())
    click.echo(f"{name} is revoked")


@command.command("list")
@site_option
@json_option
def list_tokens(site_path: Path, as_json: bool) -> None:
    """Show all tokens that are not revoked, and when each was last used, to the minute."""
    from campaign.service import named_tokens
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    now = time.time()
    with closing(open_store(load_site(site_path).store_url)) as store, store.read() as connection:
        tokens = named_tokens.known(connection, now)
    rows = [_row(token, now) for token in tokens]
    print_table(rows if as_json else [_shown(row) for row in rows], as_json=as_json)


@contextmanager
def _writing(site_path: Path) -> Iterator[sa.Connection]:
    """A transaction of the site's store; the service looks there at every request."""
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    with closing(open_store(load_site(site_path).store_url)) as store, store.write() as connection:
        yield connection


def _print(issued: Issued) -> None:
    """The token alone on standard output, so that it can go into a file; what there is to say beside it."""

    end = "without end" if issued.token.expires_at is None else f"until {date(issued.token.expires_at)}"
    click.echo(f"{issued.token.name} may {', '.join(issued.token.scopes)}, {end}; it is shown this once:", err=True)
    click.echo(issued.text)


def _row(token: NamedToken, now: float) -> dict[str, Any]:
    state = "expired" if not token.is_good(now) else "good" if token.revoked_at is None else "replaced"
    return asdict(token) | {"state": state, "ends_at": token.ends_at}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as people read it."""

    def at(name: str) -> str | None:
        return None if row[name] is None else date(row[name])

    return {
        "name": row["name"],
        "scopes": ",".join(row["scopes"]),
        "state": row["state"],
        "good until": at("ends_at"),
        "last used": at("last_used_at"),
        "made": at("created_at"),
        "by": row["created_by"],
        "id": row["id"],
    }
