"""The command line `dune-prompt`, grouped as the rooms are. A command's code is loaded only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from dune_prompt import __version__
from dune_prompt.errors import DunePromptError, TransientError

# name -> (module with `command`, help line); the help line is here so that `--help` loads nothing.
COMMANDS = {
    "demo": "run the whole pipeline here on simulated raw files",
    "serve": "run the service: engine, HTTP interface, dashboard",
    "check": "try everything: catalogues, mounts, the store, credentials and our rights",
    "declare": "run the declare daemon: find, verify and register files",
    "campaign": "look at and act on campaigns and their tasks",
    "alarms": "look at alarms, acknowledge them, try whether notices arrive",
    "launch": "fetch a slice and submit its jobs: what POMS runs",
    "dqm": "take data-quality results over from elsewhere",
    "token": "make, rotate and revoke tokens of the HTTP interface",
    "quality": "set limits and reference runs, judge again, flag runs",
    "stage": "run one stage by hand, as a job would",
    "raw": "look into raw files, or make simulated ones",
    "units": "write the systemd units of this installation",
}

EXIT_CODES = """
Exit codes: 0 ok, 1 failed, 2 wrong usage, 10 bad data, 20 something outside is away (try again),
30 a setting is wrong, 40 conflict (a person must look).
"""


class Rooms(click.Group):
    """The top group: lists all commands, imports the one that is called."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"dune_prompt.cli.{name}").command
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Rooms, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "DUNE_PROMPT"})
@click.version_option(__version__)
def program() -> None:
    """Prompt processing of ProtoDUNE and DUNE raw data, while they are still on disk."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; errors of dune-prompt become one message and their exit code."""
    try:
        program.main(args=None if argv is None else list(argv), prog_name="dune-prompt", standalone_mode=True)
    except DunePromptError as error:
        click.echo(f"dune-prompt: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        click.echo(f"dune-prompt: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""), err=True)
        sys.exit(TransientError.exit_code)
