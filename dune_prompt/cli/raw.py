"""`dune-prompt raw`: look into raw files, unpack them, or make simulated ones."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import json_option, print_table
from dune_prompt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from stages.rawdata import Block, RawFile, RecordSummary
    from stages.rawdata.generator import SidecarForm

_FRAME_TICKS = 64


@click.group()
def command() -> None:
    """Look into raw files, unpack them, or make simulated ones."""


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def info(file: Path, as_json: bool) -> None:
    """What FILE holds, what is wrong with it, and which trigger records can be used.

    Headers and timestamps of all frames are checked, ADC values are not unpacked. Exit code 10: nothing in the file can be used.
    """
    from stages.rawdata import RawFile

    try:
        with RawFile.open(file) as raw:
            records = [raw.summary(record) for record in raw.records]
            found = _describe(raw, records)
    except DataError as error:
        if as_json:
            click.echo(json.dumps({"file": str(file), "usable": False, "problems": [str(error)], "records": []}, indent=1))
        raise
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _print_info(found)
    if not found["usable"]:
        raise DataError(f"{file}: no trigger record in it can be used")


def _describe(raw: RawFile, records: list[RecordSummary]) -> dict[str, Any]:
    attributes = raw.attributes
    return {
        "file": str(raw.path),
        "size_bytes": raw.path.stat().st_size,
        "detector": raw.detector,
        "channel_map": raw.channel_map.name,
        "run": attributes.run,
        "file_index": attributes.file_index,
        "layout_version": attributes.layout_version,
        "application": attributes.application,
        "operational_environment": attributes.operational_environment,
        "data_stream": attributes.data_stream,
        "test_run": attributes.test_run,
        "created_ms": attributes.created_ms,
        "closed_ms": attributes.closed_ms,
        "recorded_size": attributes.recorded_size,
        "usable": any(record.usable for record in records),
        "problems": list(raw.file_problems),
        "records": [
            {
                "record": str(summary.record),
                "usable": summary.usable,
                "fragments": summary.fragments,
                "elements": [
                    {
                        "element": element.element,
                        "fragments": element.n_fragments,
                        "expected": element.n_expected,
                        "ticks": element.n_ticks,
                        "frames": element.n_ticks / _FRAME_TICKS,
                        "masked": element.masked,
                    }
                    for element in summary.elements
                ],
                "problems": list(summary.problems),
            }
            for summary in records
        ],
    }


def _print_info(found: dict[str, Any]) -> None:
    click.echo(f"{Path(found['file']).name}: run {found['run']}, file {found['file_index']}, {found['size_bytes'] / 1e6:.1f} MB")
    test = {None: "unknown", True: "yes", False: "no"}[found["test_run"]]
    click.echo(f"  {found['operational_environment']}, {found['application']}, stream {found['data_stream']}, test run: {test}")
    closed = _utc(found["closed_ms"]) if found["closed_ms"] else "never closed"
    click.echo(f"  layout {found['layout_version']}, {_utc(found['created_ms'])} to {closed}, channel map {found['channel_map']}")
    for problem in found["problems"]:
        click.echo(f"  ! {problem}")
    rows = []
    for record in found["records"]:
        fragments = ", ".join(f"{count} {kind}" for kind, count in sorted(record["fragments"].items()))
        row = {"record": record["record"], "usable": "yes" if record["usable"] else "no", "fragments": fragments}
        for element in record["elements"] or [None]:
            if element is not None:
                row |= {
                    "APA/CRP": element["element"],
                    "streams": f"{element['fragments']}/{element['expected']}",
                    "frames": f"{element['frames']:g}",
                    "ticks": element["ticks"],
                    "masked": f"{element['masked']:.1%}",
                }
            rows.append(row)
            row = {"record": "", "usable": "", "fragments": ""}
    print_table(rows, as_json=False, columns=("record", "usable", "APA/CRP", "streams", "frames", "ticks", "masked", "fragments"))
    for record in found["records"]:
        for problem in record["problems"]:
            click.echo(f"  ! {record['record']}: {problem}")


def _utc(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(milliseconds // 1000))


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--out", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="folder for the arrays")
@click.option("--map", "map_name", help="channel map [default: the detector's]")
def dump(file: Path, folder: Path, map_name: str | None) -> None:
    """Unpack FILE: one NumPy file for each trigger record and APA or CRP.

    Each `<stem>_tr<number>.<sequence>_<APA>.npz` holds adc[channel, tick], channels (offline numbers), first_timestamp (16 ns ticks since
    the Unix epoch), tick_ns, mask (true: missing), problems and channel_map. What cannot be used is named and left out.
    """
    from stages.rawdata import RawFile

    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    with RawFile.open(file, map_name) as raw:
        for record in raw.records:
            try:
                elements = raw.elements(record)
            except DataError as error:
                click.echo(f"left out: {error}", err=True)
                continue
            if not elements:
                click.echo(f"left out: {file}: record {record}: no TPC fragments", err=True)
            for element in elements:
                try:
                    block = raw.block(record, element)
                except DataError as error:
                    click.echo(f"left out: {error}", err=True)
                    continue
                path = folder / f"{file.stem}_tr{record}_{element}.npz"
                _save(path, block)
                written += 1
                click.echo(str(path))
                for problem in block.problems:
                    click.echo(f"  ! {record} {element}: {problem}", err=True)
    if not written:
        raise DataError(f"{file}: nothing in it can be unpacked")


def _save(path: Path, block: Block) -> None:
    """Write a block as .npz under another name first, so that the file is whole once it is there."""
    import numpy as np

    draft = path.with_name(path.name + ".tmp")
    try:
        with draft.open("wb") as file:
            np.savez(
                file,
                adc=block.adc,
                channels=block.channels,
                first_timestamp=np.uint64(block.first_timestamp),
                tick_ns=block.tick_ns,
                mask=block.mask,
                problems=np.array(block.problems, np.str_),
                channel_map=block.channel_map,
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@command.command()
@click.option("--out", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="folder for the files")
@click.option("--files", type=click.IntRange(min=1), default=1, show_default=True, help="number of files")
@click.option("--records", type=click.IntRange(min=1), default=1, show_default=True, help="trigger records in each file")
@click.option("--apas", type=click.IntRange(1, 4), default=1, show_default=True, help="APAs or CRPs in each record")
@click.option("--frames", type=click.IntRange(min=1), help="frames of 64 ticks in each fragment  [default: 93]")
@click.option("--ticks", type=click.IntRange(min=1), help="the same in ticks, filled up to whole frames")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="the same seed gives the same waveforms")
@click.option("--run", type=click.IntRange(1, 999999), default=27296, show_default=True, help="run number")
@click.option("--first-index", type=click.IntRange(0, 9999), default=0, show_default=True, help="file index of the first file")
@click.option("--detector", type=click.Choice(["pdhd", "pdvd"]), default="pdhd", show_default=True, help="ProtoDUNE-HD or -VD")
@click.option("--layout", type=click.IntRange(3, 7), default=5, show_default=True, help="version of the file layout")
@click.option("--stream", default="cosmics", show_default=True, help="offline data stream")
@click.option("--test-run", is_flag=True, help="mark the run as one for test purposes")
@click.option("--tracks", type=click.FloatRange(min=0), default=8.0, show_default=True, help="mean number of tracks in a record and APA")
@click.option("--sidecar", type=click.Choice(["metacat", "sam", "none"]), default="metacat", show_default=True, help="form of the sidecar")
@click.option("--fault", metavar="NAME", help="what is wrong with each file; `help` lists the faults")
@click.option("--rate", "rate_hz", type=click.FloatRange(min=0, min_open=True), help="files per second  [default: as fast as possible]")
@json_option
def generate(
    folder: Path,
    files: int,
    records: int,
    apas: int,
    frames: int | None,
    ticks: int | None,
    seed: int,
    run: int,
    first_index: int,
    detector: str,
    layout: int,
    stream: str,
    test_run: bool,
    tracks: float,
    sidecar: SidecarForm,
    fault: str | None,
    rate_hz: float | None,
    as_json: bool,
) -> None:
    """Make simulated raw files with noise and tracks, named and put into the folder as the data acquisition does."""
    from stages.rawdata.generator import FAULTS, RunSpec, generate_file

    if fault == "help":
        print_table([{"fault": item.name, "what": item.summary} for item in FAULTS.values()], as_json=as_json)
        return
    if frames is not None and ticks is not None:
        raise ConfigError("give --frames or --ticks, not both")
    spec = RunSpec(
        detector=detector,
        run=run,
        records=records,
        elements=apas,
        frames=frames or (93 if ticks is None else -(-ticks // _FRAME_TICKS)),
        seed=seed,
        layout_version=layout,
        data_stream=stream,
        test_run=test_run,
        tracks=tracks,
        sidecar=sidecar,
    )
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    made = []
    for index in range(files):
        if rate_hz is not None:
            # From the start, not from the last file: the time it takes to make one does not add up.
            time.sleep(max(0.0, started + index / rate_hz - time.monotonic()))
        path = generate_file(folder, spec, first_index + index, fault=fault, now=time.time())
        made.append({"file": str(path), "size_bytes": path.stat().st_size})
        if not as_json:
            click.echo(str(path))
    if as_json:
        click.echo(json.dumps(made, indent=1))
