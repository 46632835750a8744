"""Walks the stages of one attempt in this process and leaves a report. This is what every stage script calls.

    run STAGE[,STAGE…] --assignment FILE                                   a job of the engine
    run STAGE[,STAGE…] --input RAW --output DIR --report FILE [--earlier FILE…]   by hand

Exit codes: 0 ok, 10 data, 20 transient, 30 configuration, 40 conflict, 1 a fault in the code.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dune_prompt.errors import ConfigError, DunePromptError
from dune_prompt.records import Assignment, InputFile, Report, StageReport, read_json, write_json
from stages.derived import describe
from stages.memory import peak_rss_bytes
from stages.stage import STAGES, Payload, StageContext, find, load

STARTED = "started"


def main(argv: Sequence[str], payload: Payload) -> int:
    """Run the stages that `argv` names with the campaign's `payload`; the exit code tells how it ended."""
    try:
        assignment = _assignment(argv, payload)
    except DunePromptError as error:
        print(f"dune-prompt stage: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    if assignment.token is not None and not claim_start(Path(assignment.report).parent, f"{os.getpid()}"):
        print(f"attempt {assignment.attempt} was started already or given up by the engine", file=sys.stderr)  # noqa: T201
        return 0
    report, exit_code = walk(assignment, payload)
    write_json(Path(assignment.report), report.to_json())
    return exit_code


def claim_start(job_dir: Path, who: str) -> bool:
    """Whether the caller is the first to claim the start of the attempt: its job, or the engine that gives it up. Only one wins."""
    try:
        descriptor = os.open(job_dir / STARTED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(who)
    return True


def walk(assignment: Assignment, payload: Payload) -> tuple[Report, int]:
    """Run the stages of `assignment` in order, up to the first that fails."""
    output_dir = Path(assignment.output_dir)
    done: list[StageReport] = []
    exit_code = 0
    for name in assignment.stages:
        started, cpu = time.time(), time.process_time()
        stage = StageReport(name, "ok", started, started, 0.0, 0)
        try:
            output_dir.mkdir(parents=True, exist_ok=True)
            context = StageContext(
                name=name,
                payload=payload,
                attempt=assignment.attempt,
                raw=assignment.raw,
                files=_files(assignment, done, output_dir),
                output_dir=output_dir,
                service_url=assignment.service_url,
                token=assignment.token,
            )
            result = load(name).run(context)
            outputs = tuple(describe(output_dir, file) for file in result.files)
            outputs += tuple(describe(path.parent, path.name) for path in result.sealed)
            stage = replace(stage, outputs=outputs, metrics=result.metrics)
        except DunePromptError as error:
            exit_code = error.exit_code
            stage = replace(stage, state="failed", error_class=error.error_class, message=str(error))
        except MemoryError:
            exit_code = 1
            stage = replace(stage, state="failed", error_class="memory", message="out of memory")
        except OSError as error:
            # The disk or mount beneath the job, not its data: another try, maybe elsewhere, can work.
            exit_code = 20
            stage = replace(stage, state="failed", error_class="transient", message=f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - a payload may fail in any way, and the report must say so
            exit_code = 1
            traceback.print_exc()
            stage = replace(stage, state="failed", error_class="payload", message=f"{type(error).__name__}: {error}")
        done.append(replace(stage, ended=time.time(), cpu_s=time.process_time() - cpu, rss_bytes=peak_rss_bytes()))
        if exit_code:
            print(f"{name}: {stage.error_class}: {stage.message}", file=sys.stderr)  # noqa: T201
            break
    report = Report(assignment.attempt, assignment.task, assignment.campaign, assignment.version, socket.gethostname(), tuple(done))
    return report, exit_code


def _files(assignment: Assignment, done: Sequence[StageReport], output_dir: Path) -> dict[str, tuple[Path, ...]]:
    """The files of the stages before: of other attempts, found where they are now, and of this one."""
    files: dict[str, tuple[Path, ...]] = {}
    for item in assignment.earlier:
        files[item.stage] = (*files.get(item.stage, ()), find(item))
    for stage in done:
        # `declare` lists what it seals; those files are the other stages'.
        if stage.name != "declare":
            files[stage.name] = tuple(output_dir / output.name for output in stage.outputs)
    return files


def _assignment(argv: Sequence[str], payload: Payload) -> Assignment:
    parser = argparse.ArgumentParser(prog="run", description="run stages on one raw file")
    parser.add_argument("stages", help=f"one or more of {', '.join(STAGES)}, separated by commas")
    parser.add_argument("--assignment", type=Path, help="the assignment an engine wrote")
    parser.add_argument("--input", type=Path, help="the raw file")
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], metavar="STAGE:FILE", help="outputs of earlier stages")
    parser.add_argument("--output", type=Path, help="folder for the outputs")
    parser.add_argument("--report", type=Path, help="where the report goes")
    options = parser.parse_args(argv)
    stages = tuple(options.stages.split(","))
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise ConfigError(f"no stage {unknown[0]!r}; there are: {', '.join(STAGES)}")
    if options.assignment is not None:
        try:
            assignment = Assignment.from_json(read_json(options.assignment), str(options.assignment))
        except OSError as error:
            raise ConfigError(f"{options.assignment}: cannot be read ({error.strerror})") from None
        return replace(assignment, stages=tuple(stage for stage in stages if stage in assignment.stages))
    if options.input is None or options.output is None or options.report is None:
        raise ConfigError("--input, --output and --report are needed (or --assignment)")
    return by_hand(payload, stages, options.input, options.output, options.report, options.earlier)


def by_hand(
    payload: Payload, stages: tuple[str, ...], raw: Path, output_dir: Path, report: Path, earlier: Sequence[Path] = ()
) -> Assignment:
    """The assignment of a run without an engine. `earlier` are `STAGE:FILE`; the raw file's metadata come from its sidecar or itself."""
    from stages.rawdata.metadata import record_of

    raw = raw.absolute()
    record = record_of(raw)
    items = []
    for text in earlier:
        stage, _, path = str(text).partition(":")
        items.append(InputFile(Path(path).name, (str(Path(path).absolute()),), stage=stage))
    return Assignment(
        attempt="by-hand",
        task="by-hand",
        campaign=payload.campaign,
        version=payload.version,
        stages=stages,
        raw=InputFile(raw.name, (str(raw),), did=record.did, metadata=record.metadata),
        output_dir=str(output_dir.absolute()),
        report=str(report.absolute()),
        earlier=tuple(items),
    )
