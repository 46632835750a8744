"""Options and output forms that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
