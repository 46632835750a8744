"""`evaluate`: judges what `nf_sp` made: writes the data-quality record of the raw file, and its event displays.

Of a payload that processes nothing (noop) the record holds the job's performance only, and neither NumPy nor Pillow is imported.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dune_prompt.errors import DataError
from dune_prompt.records import read_json, write_json
from stages.derived import derived_name, write_sidecar
from stages.evaluate.record import DqmRecord, Performance, Picture, RecordProblem, TriggerRecords
from stages.stage import StageContext, StageResult

if TYPE_CHECKING:
    from stages.evaluate.elements import Element


def run(context: StageContext) -> StageResult:
    """Write `…_metrics.json` with its sidecar, and the PNGs of those records that `nf_sp` kept images of.

    Raises:
        ConfigError: `nf_sp` has not run, or the setting of the displays is wrong.
        DataError: its outputs do not fit each other.
    """
    path = context.file_of("nf_sp", "_quality.json")
    quality = read_json(path)
    try:
        elements, pictures, notes = _results(context, quality)
        record = _record(context, quality, elements, pictures, notes)
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: not a quality file of this version of nf_sp ({type(error).__name__}: {error})") from None
    name = derived_name(context, "metrics", "json")
    write_json(context.output_dir / name, record.to_json())
    write_sidecar(context, name, what="metrics", data_tier=str(context.payload.outputs["data_tier"]), file_format="json")
    files = (name, *(picture.name for picture in pictures))
    return StageResult(files, {"n_elements": len(elements), "n_pictures": len(pictures), **_scalars(elements)})


def _results(context: StageContext, quality: dict[str, Any]) -> tuple[tuple[Element, ...], tuple[Picture, ...], tuple[str, ...]]:
    infos = quality["elements"]
    if not infos:
        return (), (), ()
    from stages.evaluate import displays, planes
    from stages.evaluate.quality_file import QualityArrays

    with QualityArrays(context.file_of("nf_sp", "_quality.npz")) as file:
        arrays = file.by_element()
        charge = planes.read_charge(context.file_of("nf_sp", "_gauss.npz"), infos, arrays)
        elements = tuple(planes.element_of(info, arrays[info["element"]], charge[info["element"]]) for info in infos)
        pictures, notes = displays.write(context, infos, file)
    return elements, tuple(pictures), tuple(notes)


def _record(
    context: StageContext, quality: dict[str, Any], elements: tuple[Element, ...], pictures: tuple[Picture, ...], notes: tuple[str, ...]
) -> DqmRecord:
    raw, payload = context.raw, context.payload
    records = quality["records"]
    if records is not None:
        problems = tuple(RecordProblem(**problem) for problem in records["problems"])
        records = TriggerRecords(**(records | {"problems": problems}))
    return DqmRecord(
        made_at=round(time.time(), 3),
        input_did=raw.did or raw.name,
        run=quality["run"] or next(iter(raw.metadata.get("core.runs") or []), 0),
        file_index=quality["file_index"],
        detector=payload.detector,
        data_stream=raw.metadata.get("core.data_stream"),
        start_time=raw.metadata.get("core.start_time"),
        end_time=raw.metadata.get("core.end_time"),
        campaign=payload.campaign,
        version=payload.version,
        attempt=context.attempt,
        payload=quality["payload"],
        gain_mv_per_fc=quality["gain_mv_per_fc"],
        notes=(*quality["notes"], *notes),
        records=records,
        elements=elements,
        pictures=pictures,
        performance=Performance(**quality["performance"]),
    )


def _scalars(elements: tuple[Element, ...]) -> dict[str, Any]:
    """What the report shows at a glance, over all planes."""
    planes = [plane for element in elements for plane in element.planes]
    if not planes:
        return {}
    return {
        "n_channels": sum(plane.n_channels for plane in planes),
        "n_missing": sum(plane.n_missing for plane in planes),
        "n_dead": sum(plane.n_dead for plane in planes),
        "n_noisy": sum(plane.n_noisy for plane in planes),
        "charge_e": sum(plane.charge_e or 0 for plane in planes),
        "hits": sum(plane.hits or 0 for plane in planes),
    }
