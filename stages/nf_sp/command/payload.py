"""Runs the program of the payload `command` on a raw file, and takes over what it made."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dune_prompt.errors import DataError
from stages.derived import derived_name, write_sidecar
from stages.nf_sp.command.contract import ProgramReport, check_exit, outputs_in
from stages.nf_sp.command.settings import CommandSettings
from stages.nf_sp.parameters import gain_of
from stages.nf_sp.performance import Stopwatch
from stages.nf_sp.program import keep_log, run_program
from stages.nf_sp.program_quality import write_quality
from stages.stage import StageContext, StageResult

# Metrics of ours, which a program's cannot hide.
OWN = ("payload", "program", "program_wall_s")


def run(context: StageContext) -> StageResult:
    """Process the raw file with the program; its files get their final names and sidecars.

    Raises:
        ConfigError: a setting is wrong. SiteError: the program is not on this worker. TimeLimitError: it did not end in time.
        Else what its exit code means, or `BrokenContractError`.
    """
    settings, gain = CommandSettings.of(context.settings), gain_of(context.settings)
    watch = Stopwatch()
    raw = context.raw_path()
    log_name = derived_name(context, "log", "gz")
    with tempfile.TemporaryDirectory(dir=context.output_dir, prefix="work-") as name:
        work = Path(name)
        made = work / "output"
        made.mkdir()
        report, log = work / "report.json", work / "program.log"
        values = {
            "input": str(raw),
            "output": str(made),
            "report": str(report),
            "detector": context.payload.detector,
            "gain": f"{gain:g}",
            "cpus": str(context.settings.get("cpus", 1)),
        }
        command = settings.command(values)
        ended = run_program(command, work, log, settings.environment, settings.timeout_s)
        check_exit(Path(command[0]).name, ended.exit_code, ended.tail)
        said = ProgramReport.read(report)
        names = {}
        for what, path in outputs_in(made, settings.outputs).items():
            extension = "".join(path.suffixes[-2:] if path.suffix in {".gz", ".xz", ".bz2", ".zst"} else path.suffixes[-1:]).lstrip(".")
            if extension == "npz":
                _check_arrays(path)
            names[what] = derived_name(context, what, extension or "dat")
            path.replace(context.output_dir / names[what])
        keep_log(log, context.output_dir / log_name)
    for what, file in names.items():
        file_format = file.rpartition(".")[2]
        write_sidecar(context, file, what=what, data_tier=str(context.payload.outputs["data_tier"]), file_format=file_format)
    notes = [*said.notes, f"payload command: {Path(command[0]).name}, its results are not judged"]
    quality = write_quality(context, "command", gain, notes, watch)
    metrics = {key: value for key, value in said.metrics.items() if key not in OWN}
    own = {"payload": "command", "program": Path(command[0]).name, "program_wall_s": round(ended.wall_s, 3)}
    return StageResult((*names.values(), log_name, quality), own | metrics)


def _check_arrays(path: Path) -> None:
    """A file of arrays must at least be a whole one."""
    # Only now: a program that makes no arrays needs no NumPy on the worker.
    from stages.frames import FrameFile

    try:
        with FrameFile(path) as file:
            for key in file.keys:
                file.header(key)
    except DataError as error:
        raise DataError(str(error).replace(str(path), path.name)) from None
