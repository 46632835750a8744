"""The embedded payload: noise filtering and signal processing with NumPy and SciPy.

A file's trigger records are spread over `cpus` processes in runs of records; their part files, joined, are those one process would write.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from dune_prompt.errors import ConfigError, DataError
from dune_prompt.records import write_json
from stages.derived import derived_name, write_sidecar
from stages.displays import Displays
from stages.frames import FrameWriter
from stages.nf_sp.parameters import Parameters
from stages.nf_sp.part import Found, Order, Problem, process
from stages.nf_sp.performance import Stopwatch
from stages.nf_sp.plane_metrics import of_planes
from stages.nf_sp.processes import carry_out
from stages.nf_sp.quality_file import QualityWriter
from stages.rawdata import RawFile, RecordId
from stages.stage import StageContext, StageResult

QUALITY = "quality"
MAX_PROBLEMS = 200
MAX_PROBLEM_CHARACTERS = 500


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
            raise DataError(f"{path}: none of {len(records)} trigger records can be used: {_reasons(found.problems)}")
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
        data_tier, contents = str(context.payload.outputs["data_tier"]), _contents(found.used, records)
        for name, what in outputs.items():
            write_sidecar(context, name, what=what, data_tier=data_tier, file_format="npz", extra=contents)
    for step, seconds in found.cpu_s.items():
        watch.cpu_s[step] = watch.cpu_s.get(step, 0.0) + seconds
    summary = {
        "payload": "numpy",
        "gain_mv_per_fc": parameters.gain_mv_per_fc,
        "run": attributes.run,
        "file_index": attributes.file_index,
        "notes": list(dict.fromkeys([*file_problems, *_notes(found, parameters)])),
        "records": _records(found, records),
        "elements": [quality.summary() for quality in sorted(found.qualities.values(), key=lambda one: one.geometry.anode)],
        "performance": watch.summary(path.stat().st_size, others=found if len(orders) > 1 else None),
    }
    numbers = derived_name(context, QUALITY, "json")
    write_json(context.output_dir / numbers, summary)
    return StageResult((*outputs, names[QUALITY], numbers), _metrics(found, summary))


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


def _records(found: Found, records: tuple[RecordId, ...]) -> dict[str, Any]:
    numbers = [record.number for record in records]
    bits = 0
    for one in found.error_bits:
        bits |= one
    return {
        "n_records": len(records),
        "n_used": len(found.used),
        "n_unusable": len(records) - len(found.used),
        "n_with_error_bits": sum(one != 0 for one in found.error_bits),
        "error_bits": bits,
        "n_problems": len(found.problems),
        "problems": [
            {
                "record": problem.record.number,
                "sequence": problem.record.sequence,
                "element": problem.element,
                "problem": problem.problem[:MAX_PROBLEM_CHARACTERS],
            }
            for problem in found.problems[:MAX_PROBLEMS]
        ],
        "first_record": min(numbers, default=None),
        "last_record": max(numbers, default=None),
        "first_timestamp": min(found.timestamps, default=None),
        "last_timestamp": max(found.timestamps, default=None),
    }


def _contents(used: list[RecordId], records: tuple[RecordId, ...]) -> dict[str, Any]:
    """Metadata that differ from the raw file's: the events that are in the output, and which record each ident is."""
    events = sorted({record.number for record in used})
    return {
        "core.event_count": len(events),
        "core.events": events,
        "core.first_event_number": events[0],
        "core.last_event_number": events[-1],
        "dune.trigger_records": [record.number for record in records],
        "dune.trigger_sequences": [record.sequence for record in records],
    }


def _reasons(problems: list[Problem]) -> str:
    """The first few problems in one line."""
    texts = dict.fromkeys(f"{problem.element or 'record'}: {problem.problem}" for problem in problems)
    return "; ".join(text[:MAX_PROBLEM_CHARACTERS] for text in list(texts)[:3]) or "the file has none"


def _metrics(found: Found, summary: dict[str, Any]) -> dict[str, Any]:
    records, performance = summary["records"], summary["performance"]
    return (
        {
            "payload": "numpy",
            "gain_mv_per_fc": summary["gain_mv_per_fc"],
            "n_records": records["n_records"],
            "records_unusable": records["n_unusable"],
            "unusable_because": _reasons(found.problems) if records["n_unusable"] else None,
            "n_problems": records["n_problems"],
            "n_elements": len(summary["elements"]),
            "channel_map": ", ".join(sorted({element["channel_map"] for element in summary["elements"]})),
            "validated": not any(quality.geometry.notes for quality in found.qualities.values()),
            "charge_e": found.charge_e,
            "femb_pulses": sum(quality.n_pulses for quality in found.qualities.values()),
            "input_bytes": performance["input_bytes"],
            "wall_s": performance["wall_s"],
            "mb_per_s": performance["mb_per_s"],
            "rss_bytes": performance["rss_bytes"],
        }
        | of_planes(list(found.qualities.values()))
        | {f"cpu_s_{step}": seconds for step, seconds in performance["cpu_s_by_step"].items()}
    )
