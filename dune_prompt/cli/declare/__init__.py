"""`dune-prompt declare`: the declare daemon from the command line."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.declare import audit, release, retry, run, status
from dune_prompt.errors import ConfigError


@click.group(invoke_without_command=True)
@click.option(
    "--from-declad",
    "declad_config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="CONFIG",
    help="print the site file that does what this configuration of declad does, and name the keys it cannot carry over",
)
@click.pass_context
def command(context: click.Context, declad_config: Path | None) -> None:
    """Find closed files in the buffer, verify them, and register them in the catalogues."""
    if declad_config is not None:
        _translate(declad_config)
        context.exit()
    if context.invoked_subcommand is None:
        raise click.UsageError("Missing command.", context)


def _translate(path: Path) -> None:
    from declare_daemon.declad import site_from_declad

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'})") from None
    translation = site_from_declad(text)
    click.echo(translation.site_yaml, nl=not translation.site_yaml.endswith("\n"))
    for note in translation.notes:
        click.echo(f"{note.key}: {note.what}: {note.why}", err=True)


for _module in (run, status, retry, release, audit):
    for _command in _module.COMMANDS:
        command.add_command(_command)
