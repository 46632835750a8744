"""`dune-prompt stage`: run stages on one raw file by hand, as a job would, without an engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import json_option, print_table
from dune_prompt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dune_prompt.records import Report

ALL = ("nf_sp", "declare", "evaluate")
BY_HAND = "by-hand"
LINE_EVERY_S = 10.0


@click.group()
def command() -> None:
    """Run stages by hand, as a job would."""


@command.command()
@click.argument("stages", metavar="STAGE[,STAGE]")
@click.option("--input", "raw", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="the raw file")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="folder for the outputs")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="where the report goes  [default: OUTPUT/report.json]")
@click.option("--payload", default="numpy", show_default=True, help="payload of nf_sp: numpy, wirecell or noop")
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="a YAML file with the settings of nf_sp as in a campaign file, instead of --payload, --gain, --cpus, --response, --keep",
)
@click.option("--gain", type=float, default=14.0, show_default=True, help="gain of the cold electronics in mV/fC: 14.0 or 7.8")
@click.option("--cpus", type=int, default=1, show_default=True, help="processes that nf_sp spreads the trigger records over")
@click.option("--response", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="a response of the wires for nf_sp")
@click.option("--keep", multiple=True, metavar="WHAT", help="nf: also keep the noise-filtered waveforms")
@click.option("--earlier", multiple=True, metavar="STAGE:FILE", help="an output of a stage that ran before; may be repeated")
@click.option("--detector", type=click.Choice(["pdhd", "pdvd"]), help="[default: by the raw file's name]")
@click.option("--campaign", default=BY_HAND, show_default=True, help="campaign in names and metadata of the outputs")
@click.option("--version", default="v0", show_default=True, help="version in names and metadata of the outputs")
@click.option("--namespace", help="namespace of the outputs  [default: hd-protodune-det-reco or vd-protodune-det-reco]")
@click.option("--data-tier", default="full-reconstructed", show_default=True, help="data tier of the outputs")
@click.option("--dqm-dir", type=click.Path(file_okay=False, path_type=Path), help="also run dqm_upload, into this folder")
@json_option
def run(
    stages: str,
    raw: Path,
    output: Path,
    report: Path | None,
    payload: str,
    settings_file: Path | None,
    gain: float,
    cpus: int,
    response: Path | None,
    keep: tuple[str, ...],
    earlier: tuple[str, ...],
    detector: str | None,
    campaign: str,
    version: str,
    namespace: str | None,
    data_tier: str,
    dqm_dir: Path | None,
    as_json: bool,
) -> None:
    """Run STAGE (nf_sp, declare, evaluate, dqm_upload; several with commas between; `all` for the first three) on one raw file.

    Ends with the exit code of the stages: the report says why.
    """
    from campaign.definition import NfSpSettings
    from dune_prompt import __version__
    from dune_prompt.records import write_json
    from dune_prompt.settings import load_yaml
    from stages.job import by_hand, walk
    from stages.stage import STAGES, Payload
    from templates.payloads import payload_files

    names = ALL if stages == "all" else tuple(stages.split(","))
    if dqm_dir is not None and "dqm_upload" not in names:
        names = (*names, "dqm_upload")
    for name in names:
        if name not in STAGES:
            raise ConfigError(f"no stage {name!r}; there are: {', '.join(STAGES)}")
    if bad := [text for text in earlier if text.partition(":")[0] not in STAGES or not text.partition(":")[2]]:
        raise ConfigError(f"--earlier {bad[0]!r}: give the stage and the file, such as nf_sp:FILE")
    detector = detector or _detector_of(raw)
    if settings_file is not None:
        nf_sp = load_yaml(settings_file, NfSpSettings).model_dump(mode="json")
    else:
        nf_sp = {
            "payload": payload,
            "gain_mV_per_fC": gain,
            "keep": list(keep),
            "cpus": cpus,
            "response": None if response is None else str(response.absolute()),
        }
    told = Payload(
        campaign=campaign,
        version=version,
        detector=detector,
        file_hash=BY_HAND,
        code_version=__version__,
        outputs={"namespace": namespace or f"{detector.removeprefix('pd')}-protodune-det-reco", "data_tier": data_tier},
        stages={
            "nf_sp": nf_sp,
            "dqm_upload": {"targets": [{"kind": "directory", "path": str(dqm_dir.absolute())}] if dqm_dir else []},
        },
        files=payload_files(detector, nf_sp),
    )
    report_path = report or output / "report.json"
    assignment = by_hand(told, names, raw, output, report_path, [Path(text) for text in earlier])
    with _progress() as progress:
        done, exit_code = walk(assignment, told, progress=progress)
    report_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(report_path, done.to_json())
    print_table(_rows(done), as_json=as_json, columns=("stage", "state", "wall_s", "cpu_s", "peak_mb", "outputs", "output_mb"))
    sys.exit(exit_code)


@command.command()
@click.argument("first", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("second", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--detector", type=click.Choice(["pdhd", "pdvd"]), help="[default: by the name of FIRST]")
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path), help="draw the planes of one record into this folder")
@json_option
def compare(first: Path, second: Path, detector: str | None, pictures: Path | None, as_json: bool) -> None:
    """Compare the charge that two payloads made of the same raw file: the frame file SECOND beside FIRST."""
    from stages.evaluate.frame_comparison import compare as compare_frames

    found = compare_frames(first, second, detector or _detector_of(first), pictures)
    if not found.planes:
        raise DataError(f"{first} and {second} have no frame of the same name")
    print_table(
        [
            {
                "tag": item.tag,
                "plane": item.plane,
                "records": item.records,
                "correlation": item.correlation,
                "ratio": item.ratio,
                "covered": item.covered,
                "confirmed": item.confirmed,
                "rms_difference": item.rms_difference_e,
            }
            for item in found.planes
        ],
        as_json=as_json,
    )
    for path, only in ((first, found.only_first), (second, found.only_second)):
        if only:
            click.echo(f"only in {path.name}: {', '.join(f'{key.tag} of record {key.ident}' for key in only)}", err=True)
    for picture in found.pictures:
        click.echo(str(picture), err=True)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Shows how many trigger records are done: a bar on a terminal; elsewhere a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from stages.job import progress_lines

    console = Console(stderr=True)
    if not console.is_terminal:
        yield progress_lines(LINE_EVERY_S)
        return
    columns = (TextColumn("trigger records"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _detector_of(raw: Path) -> str:
    """The detector, by the file's name."""
    for prefix, detector in (("np04", "pdhd"), ("np02", "pdvd")):
        if raw.name.startswith(prefix):
            return detector
    raise ConfigError(f"{raw.name}: the name does not tell the detector; give --detector")


def _rows(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage.name,
            "state": stage.state,
            "error_class": stage.error_class,
            "message": stage.message,
            "wall_s": round(stage.ended - stage.started, 3),
            "cpu_s": round(stage.cpu_s, 3),
            "peak_mb": round(stage.rss_bytes / 1e6, 1),
            "outputs": len(stage.outputs),
            "output_mb": round(sum(output.size_bytes for output in stage.outputs) / 1e6, 3),
            "files": [output.name for output in stage.outputs],
            "metrics": stage.metrics,
        }
        for stage in report.stages
    ]
