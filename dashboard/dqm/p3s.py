"""Takes over what p3s, the prompt processing of ProtoDUNE-SP, kept: its summary JSON and the lists of its pictures.

Format: `inputs/monitor/*.json` of github.com/DUNE/p3s. A summary is a list of objects; a value is a number, or one for each APA in one
text with commas; keys have drifted (`… Threshold(40)`), and `Type` is sometimes missing. What has no place in a data-quality record (the
dead and noisy channels are those of a whole APA) is said in its notes, and the object itself is kept in it as it was.
"""

from __future__ import annotations

import json
import re
import time
from calendar import timegm
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboard.dqm.record import SCHEMA
from dune_prompt.errors import DataError
from dune_prompt.records import check_name

DETECTOR = "pdsp"
CAMPAIGN = "p3s"
_RUN = re.compile(r"run(?P<run>\d{1,9})_(?P<index>\d{1,9})(_\w+)?")
_PICTURE = re.compile(r"(?P<plane>[UVZ])(?P<apa>[1-6])(prof)?\.png$")
_TIME = "%a %b %d %H:%M:%S %Y"
_PLANES = {"U": "U", "V": "V", "Z": "W"}
_PER_APA = {
    "NDead Channels": "dead channels",
    "NNoisy Channels 6Sigma away from mean value of the ADC RMS": "channels with an RMS 6 sigma from the mean",
    "NNoisy Channels Above ADC RMS Threshold": "channels with an RMS above the threshold",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """A record made from one object of a summary, and where its pictures are by name."""

    record: dict[str, Any]
    pictures: Mapping[str, Path]


def read_p3s(summary: Path, file_list: Path | None = None) -> Iterator[Imported]:
    """The records of a summary file; `file_list` names pictures, which lie beside it.

    Raises:
        DataError: it is no such file; the message says where.
    """
    pictures = list(_pictures(file_list)) if file_list is not None else []
    entries = _load(summary)
    if pictures and len(entries) > 1:
        raise DataError(f"{file_list}: {summary} has {len(entries)} objects, and it is not said whose pictures these are")
    for number, entry in enumerate(entries):
        try:
            yield _imported(entry, pictures)
        except DataError as error:
            raise DataError(f"{summary}: object {number}: {error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{summary}: object {number}: {type(error).__name__}: {error}") from None


def _load(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: expected a list of objects")
    return entries


def _imported(entry: Mapping[str, Any], pictures: list[tuple[dict[str, Any], Path]]) -> Imported:
    # Keys differ in spaces, and in a threshold that was put into one.
    values = {re.sub(r"\s+", " ", key.split("(")[0]).strip(): str(value) for key, value in entry.items()}
    if (name := _RUN.fullmatch(values.get("run", ""))) is None:
        raise DataError(f"run {values.get('run')!r}: expected run<number>_<file>")
    made_at = float(timegm(time.strptime(values["TimeStamp"], _TIME)))
    n_apas = len(values.get("APA", "").split(",")) if values.get("APA") else 0
    record = {
        "schema": SCHEMA,
        "made_at": made_at,
        "input_did": f"{CAMPAIGN}:{values['run']}",
        "run": int(name["run"]),
        "file_index": int(name["index"]),
        "detector": DETECTOR,
        "data_stream": None,
        "start_time": made_at,
        "end_time": None,
        "campaign": CAMPAIGN,
        "version": values.get("Type") or "monitor",
        "attempt": CAMPAIGN,
        "stage": "evaluate",
        "payload": CAMPAIGN,
        "gain_mv_per_fc": None,
        "notes": _notes(values, n_apas),
        "records": None,
        "elements": [_element(values, apa, n_apas) for apa in range(n_apas)],
        "pictures": [picture for picture, _ in pictures],
        "performance": {"wall_s": None, "cpu_s": None, "rss_bytes": None, "input_bytes": 0, "mb_per_s": None, "cpu_s_by_step": {}},
        "p3s": dict(entry),
    }
    return Imported(record, {path.name: path for _, path in pictures})


def _numbers(values: Mapping[str, str], key: str, n_apas: int) -> list[float] | None:
    if key not in values:
        return None
    numbers = [float(text) for text in values[key].split(",")]
    if len(numbers) != n_apas:
        raise DataError(f"{key}: {len(numbers)} numbers for {n_apas} APAs")
    return numbers


def _element(values: Mapping[str, str], apa: int, n_apas: int) -> dict[str, Any]:
    planes = []
    for theirs, plane in _PLANES.items():
        hits = _numbers(values, f"Plane {theirs} Mean NHits", n_apas)
        planes.append(_plane(plane, None if hits is None else hits[apa]))
    element = {"element": f"APA{apa + 1}", "anode": apa, "channel_map": "ProtoDUNE-SP", "n_records": 0, "n_ticks": 6000, "tick_ns": 500.0}
    return element | {"planes": planes}


def _plane(plane: str, hits: float | None) -> dict[str, Any]:
    spread = {"median": None, "p05": None, "p95": None}
    nothing = {"before": None, "after": None}
    counts = dict.fromkeys(("n_missing", "n_dead", "n_noisy", "n_low", "n_high"))
    scalars = dict.fromkeys(("missing_fraction", "saturated_fraction", "coherent_fraction", "charge_e", "sp_nonzero_fraction"))
    return (
        {"plane": plane, "n_channels": 960 if plane == "W" else 800, "hits": hits}
        | counts
        | scalars
        | dict.fromkeys(("pedestal_adc", "std_raw_adc", "rms_raw_adc", "rms_nf_adc"), spread)
        | {"coherent_rms_adc": nothing, "correlation": nothing}
        | {"spectrum": {"frequency_mhz": [], "before_adc": [], "after_adc": []}, "hit_charge_e": {"edges": [], "counts": []}}
        | {"channels": {"first": 0, "pedestal_adc": [], "rms_raw_adc": [], "rms_nf_adc": [], "charge_e": []}}
    )


def _notes(values: Mapping[str, str], n_apas: int) -> list[str]:
    notes = ["taken over from p3s: hits are the mean of the events; charge and hit RMS, in its own units, are only in the record itself"]
    for key, words in _PER_APA.items():
        if (numbers := _numbers(values, key, n_apas)) is not None:
            notes.append(f"{words}: " + ", ".join(f"APA{apa + 1} {number:.0f}" for apa, number in enumerate(numbers)))
    return notes


def _pictures(file_list: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """The pictures of one APA and plane each; others have no place to be shown at."""
    for entry in _load(file_list):
        for title, names in entry.get("Files", {}).items():
            for name in (check_name(name.strip(), "picture") for name in str(names).split(",")):
                if (found := _PICTURE.search(name)) is not None:
                    plane, apa = _PLANES[found["plane"]], f"APA{found['apa']}"
                    kind = re.sub(r"\W+", "-", f"{title}").strip("-").lower()[:64]
                    picture = {"name": name, "title": f"{apa} {plane}: {title}", "element": apa, "plane": plane, "kind": kind, "record": 0}
                    yield picture, file_list.parent / name
