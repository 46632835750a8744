"""Walks the stages of one attempt in this process and leaves a report. This is what every stage script calls.

    run STAGE[,STAGE…] --assignment FILE [--report FILE]                   a job of the engine; `all`: every stage of the assignment
    run STAGE[,STAGE…] --input RAW --output DIR --report FILE [--earlier FILE…]   by hand

Exit codes: 0 ok, 10 data, 20 transient, 30 configuration, 40 conflict, 1 a fault in the code.

A job that processes nothing costs little more than the start of Python, so what few jobs need is imported where they need it.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dune_prompt.errors import ConfigError, DunePromptError
from dune_prompt.records import Assignment, InputFile, Output, Report, StageReport, read_json, write_json
from stages.derived import describe
from stages.memory import peak_rss_bytes
from stages.stage import STAGES, Payload, Stage, StageContext, find, load

if TYPE_CHECKING:
    from stages.transfer import Inputs

STARTED = "started"
ALL = "all"
OK, FAULT, TRANSIENT = 0, 1, 20
LINE_EVERY_S = 60.0
# What a worker's own disk says when it is full or broken.
DISK_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


class Stopped(BaseException):
    """The job is to end now, in the middle of a stage. No `Exception`, so that no payload catches it as one."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


class Workplace:
    """Where a job reads and writes: files are used where they are; only an input at `root://` alone is copied into a temporary folder."""

    def __init__(self, assignment: Assignment) -> None:
        self.output_dir = Path(assignment.output_dir)
        self._inputs: Inputs | None = None

    def locate(self, item: InputFile) -> Path:
        """Bring an input within reach.

        Raises:
            InputAwayError: it can be read at none of its places. SiteError: this worker cannot copy it in.
        """
        if not any("://" in place for place in item.places):
            return find(item)
        if self._inputs is None:
            from stages.transfer import Inputs, temporary_folder

            self._inputs = Inputs(temporary_folder(), copy_mounted=False)
        return self._inputs.locate(item)

    def enter(self, stage: str) -> None:
        """A stage begins."""

    def leave(self) -> None:
        """It ends, well or not."""

    def deliver(self, outputs: Sequence[Output]) -> dict[str, Any]:
        """Bring the outputs of a stage to where they belong; numbers about it for the report.

        Raises:
            TransientError: that place is away or full. SiteError: this worker has no access to it.
        """
        return {}

    def class_of(self, error: OSError) -> str:
        """The class of a failure that comes from the disk or mount beneath the job."""
        return "transient"

    def close(self) -> None:
        """Remove what was only needed meanwhile."""
        if self._inputs is not None:
            self._inputs.remove()


def main(argv: Sequence[str], payload: Payload) -> int:
    """Run the stages that `argv` names with the campaign's `payload`; the exit code tells how it ended."""
    try:
        assignment, report_path = _told(argv, payload)
    except DunePromptError as error:
        print(f"dune-prompt stage: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    if not assignment.in_place:
        from stages.elsewhere import run

        return run(assignment, payload, report_path or Path.cwd() / "report.json")
    if assignment.token is not None and not claim_start(Path(assignment.report).parent, f"{os.getpid()}"):
        print(f"attempt {assignment.attempt} was started already or given up by the engine", file=sys.stderr)  # noqa: T201
        return OK
    report, exit_code = walk(assignment, payload)
    content = report.to_json()
    write_json(Path(assignment.report), content)
    if report_path is not None:
        write_json(report_path, content)
    return exit_code


def leave(exit_code: int) -> NoReturn:
    """End the process at once. All is written; taking the interpreter apart would cost more than a small job, and libraries crash in it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more, or its disk is full
            stream.flush()
    os._exit(exit_code)


def claim_start(job_dir: Path, who: str) -> bool:
    """Whether the caller is the first to claim the start of the attempt: its job, or the engine that gives it up. Only one wins."""
    try:
        descriptor = os.open(job_dir / STARTED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(who)
    return True


def walk(
    assignment: Assignment,
    payload: Payload,
    workplace: Workplace | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Report, int]:
    """Run the stages of `assignment` in order, up to the first that fails. `workplace`: default, files are used where they are.

    `progress` is told how many trigger records of how many a stage has done; default: a line a minute.
    """
    progress = progress or progress_lines(LINE_EVERY_S)
    at = workplace or Workplace(assignment)
    done: list[StageReport] = []
    exit_code = OK
    try:
        for name in assignment.stages:
            stage, exit_code = _run_stage(name, assignment, payload, at, done, progress)
            done.append(stage)
            if exit_code:
                print(f"{name}: {stage.error_class}: {stage.message}", file=sys.stderr)  # noqa: T201
                break
    finally:
        at.close()
    return report_of(assignment, done), exit_code


def progress_lines(every_s: float) -> Callable[[int, int], None]:
    """Tells progress in lines on standard error, one in `every_s` seconds at most."""
    said = time.monotonic()

    def say(done: int, of: int) -> None:
        nonlocal said
        if time.monotonic() - said >= every_s:
            said = time.monotonic()
            print(f"{done} of {of} trigger records", file=sys.stderr, flush=True)  # noqa: T201

    return say


def report_of(assignment: Assignment, stages: Sequence[StageReport]) -> Report:
    """The report of an attempt whose stages went so."""
    return Report(assignment.attempt, assignment.task, assignment.campaign, assignment.version, os.uname().nodename, tuple(stages))


def _run_stage(
    name: str,
    assignment: Assignment,
    payload: Payload,
    at: Workplace,
    done: Sequence[StageReport],
    progress: Callable[[int, int], None],
) -> tuple[StageReport, int]:
    """Run one stage and deliver its outputs; whatever happens is in its report."""
    started, cpu = time.time(), time.process_time()
    exit_code, error_class, message = OK, None, None
    outputs: tuple[Output, ...] = ()
    metrics: dict[str, Any] = {}
    try:
        try:
            at.enter(name)
            at.output_dir.mkdir(parents=True, exist_ok=True)
            context = StageContext(
                name=name,
                payload=payload,
                attempt=assignment.attempt,
                raw=assignment.raw,
                files=_files(assignment, done, at),
                output_dir=at.output_dir,
                service_url=assignment.service_url,
                token=assignment.token,
                locate=at.locate,
                progress=progress,
            )
            result = _load(name).run(context)
            made = tuple(describe(at.output_dir, file) for file in result.files)
            made += tuple(describe(path.parent, path.name) for path in result.sealed)
            metrics = result.metrics | at.deliver(made[: len(result.files)])
            outputs = made
        finally:
            at.leave()
    except DunePromptError as error:
        exit_code, error_class, message = error.exit_code, error.error_class, str(error)
    except Stopped as end:
        exit_code, error_class, message = TRANSIENT, end.error_class, str(end)
    except MemoryError:
        exit_code, error_class, message = FAULT, "memory", "out of memory"
    except OSError as error:
        # The disk or mount beneath the job, not its data: another try, maybe elsewhere, can work.
        exit_code, error_class, message = TRANSIENT, at.class_of(error), f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - a payload may fail in any way, and the report must say so
        import traceback

        traceback.print_exc()
        exit_code, error_class, message = FAULT, "payload", f"{type(error).__name__}: {error}"
    stage = StageReport(
        name,
        "failed" if exit_code else "ok",
        started,
        time.time(),
        time.process_time() - cpu,
        peak_rss_bytes(),
        outputs,
        metrics,
        error_class,
        message,
    )
    return stage, exit_code


def _load(name: str) -> Stage:
    """The stage's code, with no search for garbage meanwhile: what is imported stays, and looking through it costs small jobs a tenth."""
    gc.disable()
    try:
        return load(name)
    finally:
        gc.enable()


def _files(assignment: Assignment, done: Sequence[StageReport], at: Workplace) -> dict[str, tuple[Path, ...]]:
    """The files of the stages before: of other attempts, found where they are now or copied in, and of this one."""
    files: dict[str, tuple[Path, ...]] = {}
    for item in assignment.earlier:
        files[item.stage] = (*files.get(item.stage, ()), at.locate(item))
    for stage in done:
        # `declare` lists what it seals; those files are the other stages'.
        if stage.name != "declare":
            files[stage.name] = tuple(at.output_dir / output.name for output in stage.outputs)
    return files


def _told(argv: Sequence[str], payload: Payload) -> tuple[Assignment, Path | None]:
    """The assignment that the arguments give, and where a report is wanted beside the assignment's own place."""
    if len(argv) == 3 and argv[1] == "--assignment":  # what every stage script gives: no need to load a parser
        return _assigned(argv[0], Path(argv[2])), None
    import argparse

    parser = argparse.ArgumentParser(prog="run", description="run stages on one raw file")
    parser.add_argument("stages", help=f"one or more of {', '.join(STAGES)}, separated by commas, or {ALL}")
    parser.add_argument("--assignment", type=Path, help="the assignment an engine wrote")
    parser.add_argument("--input", type=Path, help="the raw file")
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], metavar="STAGE:FILE", help="outputs of earlier stages")
    parser.add_argument("--output", type=Path, help="folder for the outputs")
    parser.add_argument("--report", type=Path, help="where the report goes")
    options = parser.parse_args(argv)
    if options.assignment is not None:
        return _assigned(options.stages, options.assignment), options.report
    if options.input is None or options.output is None or options.report is None:
        raise ConfigError("--input, --output and --report are needed (or --assignment)")
    stages = _stages(options.stages)
    return by_hand(payload, stages, options.input, options.output, options.report, options.earlier), None


def _stages(text: str) -> tuple[str, ...]:
    stages = tuple(STAGES) if text == ALL else tuple(text.split(","))
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise ConfigError(f"no stage {unknown[0]!r}; there are: {', '.join(STAGES)}")
    return stages


def _assigned(text: str, path: Path) -> Assignment:
    """The assignment in the file `path`, for those of its stages that `text` names."""
    stages = _stages(text)
    try:
        assignment = Assignment.from_json(read_json(path), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    return replace(assignment, stages=tuple(stage for stage in stages if stage in assignment.stages))


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
