"""`dune-prompt stage`: run stages on one raw file by hand, as a job would, without an engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import json_option, print_table
from dune_prompt.errors import ConfigError

if TYPE_CHECKING:
    from dune_prompt.records import Report

ALL = ("nf_sp", "declare", "evaluate")
BY_HAND = "by-hand"


@click.group()
def command() -> None:
    """Run stages by hand, as a job would."""


@command.command()
@click.argument("stages", metavar="STAGE[,STAGE]")
@click.option("--input", "raw", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="the raw file")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="folder for the outputs")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="where the report goes  [default: OUTPUT/report.json]")
@click.option("--payload", default="numpy", show_default=True, help="payload of nf_sp: numpy or noop")
@click.option("--gain", type=float, default=14.0, show_default=True, help="gain of the cold electronics in mV/fC: 14.0 or 7.8")
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
    gain: float,
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
    from dune_prompt import __version__
    from dune_prompt.records import write_json
    from stages.job import by_hand, walk
    from stages.stage import STAGES, Payload

    names = ALL if stages == "all" else tuple(stages.split(","))
    if dqm_dir is not None and "dqm_upload" not in names:
        names = (*names, "dqm_upload")
    for name in names:
        if name not in STAGES:
            raise ConfigError(f"no stage {name!r}; there are: {', '.join(STAGES)}")
    if bad := [text for text in earlier if text.partition(":")[0] not in STAGES or not text.partition(":")[2]]:
        raise ConfigError(f"--earlier {bad[0]!r}: give the stage and the file, such as nf_sp:FILE")
    detector = detector or _detector_of(raw)
    told = Payload(
        campaign=campaign,
        version=version,
        detector=detector,
        file_hash=BY_HAND,
        code_version=__version__,
        outputs={"namespace": namespace or f"{detector.removeprefix('pd')}-protodune-det-reco", "data_tier": data_tier},
        stages={
            "nf_sp": {"payload": payload, "gain_mV_per_fC": gain, "keep": list(keep)},
            "dqm_upload": {"targets": [{"kind": "directory", "path": str(dqm_dir.absolute())}] if dqm_dir else []},
        },
    )
    report_path = report or output / "report.json"
    assignment = by_hand(told, names, raw, output, report_path, [Path(text) for text in earlier])
    done, exit_code = walk(assignment, told)
    report_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(report_path, done.to_json())
    print_table(_rows(done), as_json=as_json, columns=("stage", "state", "wall_s", "cpu_s", "peak_mb", "outputs", "output_mb"))
    sys.exit(exit_code)


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
