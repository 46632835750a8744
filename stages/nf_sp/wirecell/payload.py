"""Runs the Wire-Cell Toolkit on a raw file: frames in, one process for each APA, frames out; nothing it says is taken on trust."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dune_prompt.errors import ConfigError, DataError
from dune_prompt.records import write_json
from stages.derived import derived_name, workflow_of, write_sidecar
from stages.displays import Displays
from stages.errors import SiteError
from stages.frames import FrameWriter
from stages.nf_sp.file_summary import contents_of, metrics_of, reasons_of, summary_of
from stages.nf_sp.parameters import gain_of
from stages.nf_sp.performance import Stopwatch
from stages.nf_sp.program import Ended, ProgramFaultError, keep_log, run_program
from stages.nf_sp.quality_file import QualityWriter
from stages.nf_sp.wirecell import raw_frames, results
from stages.nf_sp.wirecell.command import configuration_hash, wire_cell
from stages.nf_sp.wirecell.log import complaint, core_seconds
from stages.nf_sp.wirecell.settings import WirecellSettings
from stages.rawdata import RawFile
from stages.stage import StageContext, StageResult

JOB = "nfsp.jsonnet"
DETECTOR = "pdhd"
# The smallest .npz with one array; a Wire-Cell that read nothing leaves 22 bytes.
EMPTY_BYTES = 100
ABORTED, NOT_FOUND = 134, 127


def run(context: StageContext) -> StageResult:
    """Process the raw file.

    Raises:
        ConfigError: a setting is wrong, or Wire-Cell does not find its configuration. SiteError: it is not on this worker.
        TimeLimitError: it took too long. DataError: the file cannot be read, or what came out of it is not what went in.
        ProgramFaultError: it failed.
    """
    settings, gain = WirecellSettings.of(context.settings), gain_of(context.settings)
    watch = Stopwatch()
    if JOB not in context.payload.files:
        raise ConfigError(f"stages.nf_sp: {JOB} was not rendered for payload wirecell; render the campaign's scripts again")
    path = context.raw_path()
    names = {what: derived_name(context, what, extension) for what, extension in (("gauss", "npz"), ("quality", "npz"), ("log", "gz"))}
    displays = Displays.of(context.payload)
    with tempfile.TemporaryDirectory(dir=context.output_dir, prefix="work-") as folder, ExitStack() as stack:
        work = Path(folder)
        raw = stack.enter_context(RawFile.open(path))
        if raw.detector != DETECTOR or context.payload.detector != DETECTOR:
            raise ConfigError(f"{path}: payload wirecell is for {DETECTOR}, this is a file of {raw.detector}; use payload numpy")
        arrays = stack.enter_context(QualityWriter(context.output_dir / names["quality"]))
        with watch.step("read"):
            inputs = raw_frames.write(raw, work, gain, displays, displays.records_of(raw.attributes.file_index), arrays)
        if not inputs.files:
            raise DataError(f"{path}: none of {len(raw.records)} trigger records can be used: {reasons_of(inputs.found.problems)}")
        job = work / JOB
        job.write_text(context.payload.files[JOB], "utf-8")
        environment = _environment(settings, work)
        outputs: dict[str, Path] = {}
        seconds: dict[str, float] = {}
        wall_s, printed = 0.0, work / "printed.log"
        for number, (element, source) in enumerate(inputs.files.items(), start=1):
            anode = inputs.found.qualities[element].geometry.anode
            outputs[element], log = work / f"charge-{element}.npz", work / f"wire-cell-{element}.log"
            command = settings.wrapped(wire_cell(settings, gain, anode, job, source, outputs[element], log), [work])
            ended = run_program(command, work, printed, environment, settings.timeout_s)
            _check(ended, outputs[element], element, complaint(log, printed) or ended.tail)
            wall_s += ended.wall_s
            for kind, core in core_seconds(log).items():
                seconds[kind] = seconds.get(kind, 0.0) + core
            source.unlink()
            context.progress(number * len(raw.records) // len(inputs.files), len(raw.records))
        with watch.step("write"):
            writer = stack.enter_context(FrameWriter(context.output_dir / names["gauss"]))
            notes = results.take_over(outputs, inputs, writer, gain)
            for element, quality in inputs.found.qualities.items():
                for name, content in quality.arrays().items():
                    arrays.add(element, name, content)
        first = next(iter(inputs.found.qualities.values())).geometry.anode
        config_sha256, hashed = configuration_hash(settings, gain, first, job, {"PATH": os.environ.get("PATH", os.defpath)} | environment)
        keep_log(printed, context.output_dir / names["log"])
        records, attributes, problems = raw.records, raw.attributes, raw.file_problems
    provenance = {"config_sha256": config_sha256, "config_hash_of": hashed}
    extra = contents_of(inputs.found.used, records) | {"dune.workflow": workflow_of(context) | provenance}
    data_tier = str(context.payload.outputs["data_tier"])
    write_sidecar(context, names["gauss"], what="gauss", data_tier=data_tier, file_format="npz", extra=extra)
    watch.cpu_s["wire_cell"] = sum(seconds.values())
    performance = watch.summary(path.stat().st_size)
    summary = summary_of("wirecell", gain, attributes, records, inputs.found, [*problems, *notes], performance)
    numbers = derived_name(context, "quality", "json")
    write_json(context.output_dir / numbers, summary)
    metrics: dict[str, Any] = metrics_of(inputs.found, summary) | provenance | {"wire_cell_wall_s": round(wall_s, 3)}
    metrics |= {f"core_s_{kind}": round(value, 3) for kind, value in seconds.items()}
    return StageResult((names["gauss"], names["log"], names["quality"], numbers), metrics)


def _environment(settings: WirecellSettings, work: Path) -> dict[str, str]:
    environment = {"OMP_NUM_THREADS": "1", "TMPDIR": str(work)}
    for name in ("LD_LIBRARY_PATH", "WIRECELL_PATH"):
        if name in os.environ:
            environment[name] = os.environ[name]
    if settings.path:
        environment["WIRECELL_PATH"] = ":".join(settings.path)
    return environment


def _check(ended: Ended, output: Path, element: str, said: str) -> None:
    """What the end of `wire-cell` means. Its inputs are our own, so that an abort is its fault or the worker's, not the data's."""
    if ended.exit_code == NOT_FOUND:
        raise SiteError(f"wire-cell could not be started: {said}")
    if ended.exit_code != 0 and ("WIRECELL_PATH" in said or "jsonnet" in said.lower() or "no such file" in said.lower()):
        raise ConfigError(
            f"wire-cell does not find its configuration or data: {said}; set stages.nf_sp.wirecell.path, or setup, or WIRECELL_PATH"
        )
    if ended.exit_code != 0:
        how = "aborted" if ended.exit_code in {ABORTED, -6} else f"ended with code {ended.exit_code}"
        raise ProgramFaultError(f"wire-cell {how} on {element}: {said or 'it said nothing'}")
    if not output.is_file() or output.stat().st_size < EMPTY_BYTES:
        raise DataError(f"wire-cell ended with 0 on {element} but its output is empty: {said or 'it said nothing'}")
