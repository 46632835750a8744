"""What a payload says of a whole file: the quality file that `evaluate` reads, the metadata of its outputs, the numbers of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.nf_sp.part import Found, Problem
from stages.nf_sp.plane_metrics import of_planes
from stages.rawdata import RecordId
from stages.rawdata.attributes import FileAttributes

MAX_PROBLEMS = 200
MAX_PROBLEM_CHARACTERS = 500


def summary_of(
    payload: str,
    gain_mv_per_fc: float,
    attributes: FileAttributes,
    records: Sequence[RecordId],
    found: Found,
    notes: Sequence[str],
    performance: dict[str, Any],
) -> dict[str, Any]:
    """The content of `…_quality.json`; see docs/reference/stages.md."""
    return {
        "payload": payload,
        "gain_mv_per_fc": gain_mv_per_fc,
        "run": attributes.run,
        "file_index": attributes.file_index,
        "notes": list(dict.fromkeys(notes)),
        "records": _records(found, records),
        "elements": [quality.summary() for quality in sorted(found.qualities.values(), key=lambda one: one.geometry.anode)],
        "performance": performance,
    }


def _records(found: Found, records: Sequence[RecordId]) -> dict[str, Any]:
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


def contents_of(used: Sequence[RecordId], records: Sequence[RecordId]) -> dict[str, Any]:
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


def reasons_of(problems: Sequence[Problem]) -> str:
    """The first few problems in one line."""
    texts = dict.fromkeys(f"{problem.element or 'record'}: {problem.problem}" for problem in problems)
    return "; ".join(text[:MAX_PROBLEM_CHARACTERS] for text in list(texts)[:3]) or "the file has none"


def metrics_of(found: Found, summary: dict[str, Any]) -> dict[str, Any]:
    """What the job's report holds of the file."""
    records, performance = summary["records"], summary["performance"]
    return (
        {
            "payload": summary["payload"],
            "gain_mv_per_fc": summary["gain_mv_per_fc"],
            "n_records": records["n_records"],
            "records_unusable": records["n_unusable"],
            "unusable_because": reasons_of(found.problems) if records["n_unusable"] else None,
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
