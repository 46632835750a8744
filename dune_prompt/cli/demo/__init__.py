"""`dune-prompt demo`: the whole pipeline on this machine, on simulated ProtoDUNE-HD files."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--files", default=8, show_default=True, type=click.IntRange(0, 100_000), help="how many raw files to write")
@click.option("--rate", default=0.5, show_default=True, type=click.FloatRange(0.001, 1000), help="files a second")
@click.option(
    "--workspace",
    default=Path("workspace"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="folder of the demo; a second run there continues",
)
@click.option("--faults", is_flag=True, help="let one file in ten be bad, each in another way")
@click.option(
    "--exit", "exit_when_done", is_flag=True, help="stop when all is processed; exit code 0 if every good file was processed once"
)
@click.option("--json", "as_json", is_flag=True, help="print the summary as JSON")
def command(files: int, rate: float, workspace: Path, faults: bool, exit_when_done: bool, as_json: bool) -> None:
    """Run the whole pipeline here.

    A simulated data acquisition writes raw files (one APA, two trigger records each) into a buffer. The declare daemon finds,
    verifies and declares them; the engine runs NF&SP, declare, evaluate and DQM upload on each by parallel jobs; the dashboard
    shows it. Without --exit it stays until Ctrl-C.
    """
    from dune_prompt.cli.demo.show import run

    run(files, rate, workspace, faults=faults, exit_when_done=exit_when_done, as_json=as_json)
