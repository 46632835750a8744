"""What several commands share: options, times and names as people write them, and output forms."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def site_option(function: Function) -> Function:
    """`--site FILE`, also as DUNE_PROMPT_SITE."""
    return click.option(
        "--site",
        "site_path",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("site.yaml"),
        envvar="DUNE_PROMPT_SITE",
        show_envvar=True,
        show_default=True,
        help="the site file",
    )(function)


def json_option(function: Function) -> Function:
    """`--json`: print one JSON document instead of a table."""
    return click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table")(function)


def seconds(_context: click.Context, _option: click.Parameter, text: str) -> float:
    """The callback of an option that takes a duration."""
    from dune_prompt.settings.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def moment(option: str, text: str, now: float, *, past: bool = False) -> float:
    """The time an option gives: `8h` from now, or (`past`) before it, or an ISO 8601 date.

    Raises:
        click.BadParameter: it is neither, or a future one is over already.
    """
    from dune_prompt.settings.units import parse_moment

    try:
        return parse_moment(text, now, past=past)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def this_person() -> str:
    """Who gives a command, as it is kept with what the command did."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def date(at: float) -> str:
    """A time as people read it, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def print_table(rows: Sequence[Mapping[str, Any]], *, as_json: bool, columns: Sequence[str] | None = None) -> None:
    """Print `rows` as columns, or as a JSON list with `as_json`. `columns` chooses and orders what the table shows."""
    if as_json:
        click.echo(json.dumps(list(rows), default=str, indent=1))
        return
    if not rows:
        return
    names = list(columns or rows[0])
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
