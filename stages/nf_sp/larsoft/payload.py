"""Runs LArSoft on a raw file: the script and the job file that were rendered for the campaign, `lar`, and checks of what it made."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from dune_prompt.errors import ConfigError, DataError
from stages.derived import derived_name, workflow_of, write_sidecar
from stages.nf_sp.larsoft.art_log import ArtLog
from stages.nf_sp.larsoft.exit_codes import check_exit
from stages.nf_sp.larsoft.settings import LarsoftSettings
from stages.nf_sp.parameters import gain_of
from stages.nf_sp.performance import Stopwatch
from stages.nf_sp.program import keep_log, run_program
from stages.nf_sp.program_quality import write_quality
from stages.stage import StageContext, StageResult

SCRIPT, JOB_FILE = "larsoft.sh", "larsoft.fcl"
ROOT_MAGIC = b"root"


def run(context: StageContext) -> StageResult:
    """Process the raw file; the output gets its final name and sidecar.

    Raises:
        ConfigError: a setting is wrong, or nothing was rendered. SiteError: LArSoft is not on this worker.
        TimeLimitError: it took too long. DataError: it did not read all events, or its output is no ROOT file.
        Else what its exit code means.
    """
    settings, gain = LarsoftSettings.of(context.settings), gain_of(context.settings)
    watch = Stopwatch()
    if missing := [name for name in (SCRIPT, JOB_FILE) if name not in context.payload.files]:
        raise ConfigError(f"stages.nf_sp: {missing[0]} was not rendered for payload larsoft; render the campaign's scripts again")
    source = _input(context, settings)
    name, log_name = derived_name(context, settings.what, "root"), derived_name(context, "log", "gz")
    with tempfile.TemporaryDirectory(dir=context.output_dir, prefix="work-") as folder:
        work = Path(folder)
        for file in (SCRIPT, JOB_FILE):
            (work / file).write_text(context.payload.files[file], "utf-8")
        output, log = work / "output.root", work / "lar.log"
        command = [*_container(settings, work, source), "bash", str(work / SCRIPT), source, str(output), str(work / JOB_FILE)]
        environment = {"OMP_NUM_THREADS": str(context.settings.get("cpus", 1)), "FHICL_FILE_PATH": str(work)}
        ended = run_program(command, work, log, environment, settings.timeout_s, credentials=True)
        digest = ArtLog.read(log)
        check_exit(ended.exit_code, digest.exception or ended.tail)
        _check(output, digest, context)
        output.replace(context.output_dir / name)
        keep_log(log, context.output_dir / log_name)
    configuration = {
        "release": settings.release,
        "qualifiers": settings.qualifiers,
        "fcl": settings.fcl,
        "fcl_sha256": hashlib.sha256(context.payload.files[JOB_FILE].encode()).hexdigest(),
    }
    extra = {"dune.workflow": workflow_of(context) | configuration}
    data_tier = str(context.payload.outputs["data_tier"])
    write_sidecar(context, name, what=settings.what, data_tier=data_tier, file_format="artroot", extra=extra)
    quality = write_quality(context, "larsoft", gain, [f"payload larsoft: {settings.fcl}, its results are not judged"], watch)
    metrics = {"payload": "larsoft", "gain_mv_per_fc": gain, "lar_wall_s": round(ended.wall_s, 3)} | configuration | digest.metrics()
    return StageResult((name, log_name, quality), metrics)


def _input(context: StageContext, settings: LarsoftSettings) -> str:
    remote = [place for place in context.raw.places if place.startswith("root://")]
    return remote[0] if settings.stream and remote else str(context.raw_path())


def _container(settings: LarsoftSettings, work: Path, source: str) -> list[str]:
    if settings.container is None:
        return []
    folders = dict.fromkeys([str(work), *([str(Path(source).parent)] if source.startswith("/") else []), *settings.bind])
    return ["apptainer", "exec", *(part for folder in folders for part in ("--bind", folder)), settings.container]


def _check(output: Path, digest: ArtLog, context: StageContext) -> None:
    """What `lar` made although it said that all is well.

    Raises:
        DataError: it is not what was wanted.
    """
    if not output.is_file() or output.stat().st_size == 0:
        raise DataError("lar ended with 0 but made no output: does the job file write one?")
    with output.open("rb") as file:
        if file.read(len(ROOT_MAGIC)) != ROOT_MAGIC:
            raise DataError("lar ended with 0 but its output is no ROOT file")
    expected = context.raw.metadata.get("core.event_count")
    if isinstance(expected, int) and digest.events_total is not None and digest.events_total != expected:
        raise DataError(f"lar read {digest.events_total} events, the raw file has {expected}")
    if digest.events_failed:
        raise DataError(f"lar failed on {digest.events_failed} of {digest.events_total} events")
