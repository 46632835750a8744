"""The embedded payload: noise filtering and signal processing with NumPy and SciPy.

A file's trigger records are spread over `cpus` processes in runs of records; their part files, joined, are those one process would write.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from dune_prompt.errors import ConfigError, DataError
from dune_prompt.records import write_json
from stages.derived import derived_name, write_sidecar
from stages.displays import Displays
from stages.frames import FrameWriter
from stages.nf_sp.file_summary import contents_of, metrics_of, reasons_of, summary_of
from stages.nf_sp.parameters import Parameters
from stages.nf_sp.part import Found, Order, process
from stages.nf_sp.performance import Stopwatch
from stages.nf_sp.processes import carry_out
from stages.nf_sp.quality_file import QualityWriter
from stages.rawdata import RawFile
from stages.stage import StageContext, StageResult

QUALITY = "quality"


def run(context: StageContext) -> StageResult:
    """Process `context`'s raw file.

    Raises:
        DataError: the file cannot be read, or none of its trigger records can.
        ConfigError: a setting is wrong, or the file is of another detector than the campaign.
    """
    parameters = Parameters.of(context.settings)
    watch = Stopwatch()
    path = context.raw_path()
    with watch.step("read"), RawFile.open(path) as raw:
        detector, records, attributes, file_problems = raw.detector, raw.records, raw.attributes, raw.file_problems
    if detector != context.payload.detector:
        raise ConfigError(f"{path}: a file of {detector}, but campaign {context.payload.campaign} is for {context.payload.detector}")
    displays = Displays.of(context.payload)
    names = {what: derived_name(context, what, "npz") for what in ("gauss", *parameters.keep, QUALITY)}
    images = displays.records_of(attributes.file_index)
    with tempfile.TemporaryDirectory(dir=context.output_dir, prefix="parts-") as folder, ExitStack() as stack:
        orders = _orders(path, len(records), parameters, displays, images, Path(folder))
        found = _carried_out(orders, context, len(records))
        if not found.used:
            raise DataError(f"{path}: none of {len(records)} trigger records can be used: {reasons_of(found.problems)}")
        with watch.step("write"):
            frames = stack.enter_context(FrameWriter(context.output_dir / names["gauss"]))
            filtered = stack.enter_context(FrameWriter(context.output_dir / names["nf"])) if "nf" in names else None
            arrays = stack.enter_context(QualityWriter(context.output_dir / names[QUALITY]))
            for order in orders:
                frames.append(order.gauss)
                arrays.append(order.arrays)
                if filtered is not None and order.nf is not None:
                    filtered.append(order.nf)
            for element, quality in found.qualities.items():
                for name, content in quality.arrays().items():
                    arrays.add(element, name, content)
    outputs = {name: what for what, name in names.items() if what != QUALITY}
    with watch.step("write"):
        data_tier, contents = str(context.payload.outputs["data_tier"]), contents_of(found.used, records)
        for name, what in outputs.items():
            write_sidecar(context, name, what=what, data_tier=data_tier, file_format="npz", extra=contents)
    for step, seconds in found.cpu_s.items():
        watch.cpu_s[step] = watch.cpu_s.get(step, 0.0) + seconds
    performance = watch.summary(path.stat().st_size, others=found if len(orders) > 1 else None)
    notes = [*file_problems, *_notes(found, parameters)]
    summary = summary_of("numpy", parameters.gain_mv_per_fc, attributes, records, found, notes, performance)
    numbers = derived_name(context, QUALITY, "json")
    write_json(context.output_dir / numbers, summary)
    return StageResult((*outputs, names[QUALITY], numbers), metrics_of(found, summary))


def _orders(path: Path, n_records: int, parameters: Parameters, displays: Displays, images: int, folder: Path) -> list[Order]:
    """One for each process: runs of records of like length. Images are taken of the first run's records."""
    n_parts = max(1, min(parameters.cpus, n_records))
    edges = [number * n_records // n_parts for number in range(n_parts + 1)]
    return [
        Order(
            path,
            first + 1,
            last,
            parameters,
            displays,
            images if number == 0 else 0,
            folder / f"gauss-{number}.npz",
            folder / f"arrays-{number}.npz",
            folder / f"nf-{number}.npz" if "nf" in parameters.keep else None,
        )
        for number, (first, last) in enumerate(pairwise(edges))
    ]


def _carried_out(orders: list[Order], context: StageContext, n_records: int) -> Found:
    done = 0

    def progress() -> None:
        nonlocal done
        done += 1
        context.progress(done, n_records)

    if len(orders) == 1:
        return process(orders[0], progress)
    first, *others = carry_out(process, orders, progress)
    for other in others:
        first.add(other)
    return first


def _notes(found: Found, parameters: Parameters) -> list[str]:
    notes = [note for quality in found.qualities.values() for note in quality.geometry.notes]
    if parameters.response is not None:
        notes.append(f"response of the wires from {parameters.response.name}: charges are not validated")
    return notes
