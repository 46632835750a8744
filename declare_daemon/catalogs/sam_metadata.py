"""Our metadata (MetaCat's form) as SAM keeps them, and back.

SAM has fields of its own for what we keep in the category `core`, and typed parameters `Category.name`, text or number, for all the rest.
The pairs of names are those of declad's `metadata_converter.py` and of data-mgmt-ops `sam2metacat.py`; a parameter that SAM's
administrators have not made is refused by it (`samweb add-parameter`). SAM keeps no namespaces and no datasets: the dataset of a file is
its parameter `DUNE.dataset_name`, and its namespace is the dataset's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from declare_daemon.sidecar import adler32 as read_adler32
from declare_daemon.sidecar import seconds
from dune_prompt.errors import DataError
from dune_prompt.records import FileRecord, split_did

DATASET = "DUNE.dataset_name"

FIELDS = {
    "core.data_stream": "data_stream",
    "core.data_tier": "data_tier",
    "core.event_count": "event_count",
    "core.file_content_status": "content_status",
    "core.file_format": "file_format",
    "core.file_type": "file_type",
    "core.first_event_number": "first_event",
    "core.group": "group",
    "core.last_event_number": "last_event",
}
TIMES = {"core.start_time": "start_time", "core.end_time": "end_time"}
APPLICATION = {f"core.application.{part}": part for part in ("family", "name", "version")}
RUNS, SUBRUNS, RUN_TYPE = "core.runs", "core.runs_subruns", "core.run_type"

# SAM spells some categories with capitals; ours never have any.
CATEGORIES = {"dune": "DUNE", "dune_mc": "DUNE_MC", "dune_data": "DUNE_data"}

# About the file as a whole, or kept by SAM itself: no metadata of ours.
OWN = frozenset(
    {"file_name", "file_id", "file_size", "checksum", "parents", "children", "locations", "user", "create_date", "update_user"}
    | {"update_date", "process_id", "retired_date", "retire_date", DATASET.lower()}
)

SUBRUNS_OF_A_RUN = 100_000
MAX_TEXT = 4000
_JSON = "json:"


def to_sam(record: FileRecord, dataset: str) -> dict[str, Any]:
    """What SAM is told of a file of `dataset`. `core.events` is left out where it is too long for SAM: first, last and count are kept.

    Raises:
        DataError: SAM cannot keep it.
    """
    if split_did(dataset)[0] != record.namespace:
        raise DataError(f"{record.did}: SAM has no namespaces, only that of the dataset; {dataset} has another one")
    if record.name.isdecimal():
        raise DataError(f"{record.did}: SAM takes a name of digits for a file id")
    form: dict[str, Any] = {
        "file_name": record.name,
        "file_size": record.size_bytes,
        "checksum": [f"adler32:{record.adler32}"],
        DATASET: dataset,
    }
    if record.parents:
        form["parents"] = [{"file_name": split_did(parent)[1]} for parent in dict.fromkeys(record.parents)]
    given = record.metadata
    if application := {part: given[key] for key, part in APPLICATION.items() if key in given}:
        form["application"] = application
    if runs := _runs(given):
        form["runs"] = runs
    for key, value in given.items():
        if key in FIELDS:
            form[FIELDS[key]] = value
        elif key in TIMES and _is_number(value):
            form[TIMES[key]] = _iso(value, f"{record.did}: {key}")
    # What does not come back as it was is kept as a parameter too; that one counts on the way back.
    back = metadata_of(form)
    for key, value in given.items():
        if key not in back or back[key] != value or type(back[key]) is not type(value):
            text = _parameter_value(value)
            if key != "core.events" or len(str(text)) <= MAX_TEXT:
                form.setdefault(parameter(key), text)
    return form


def metadata_of(form: Mapping[str, Any]) -> dict[str, Any]:
    """Our metadata of a file from what SAM says of it, whoever declared it."""
    found: dict[str, Any] = {}
    for part, value in (form.get("application") or {}).items():
        found[f"core.application.{part}"] = value
    runs = form.get("runs") or []
    if runs and all(len(item) == 3 for item in runs):
        found[RUNS] = list(dict.fromkeys(item[0] for item in runs))
        found[SUBRUNS] = [item[0] * SUBRUNS_OF_A_RUN + item[1] for item in runs]
        found[RUN_TYPE] = runs[-1][2]
    parameters = {}
    for key, value in form.items():
        if key in _OUR_FIELDS:
            found[_OUR_FIELDS[key]] = value
        elif key in _OUR_TIMES:
            found[_OUR_TIMES[key]] = _seconds(value)
        elif key not in ("application", "runs") and key.lower() not in OWN:
            parameters[key.lower() if "." in key else f"core.{key.lower()}"] = _our_value(value)
    return found | parameters


def parameter(key: str) -> str:
    """SAM's spelling of one of our keys that is a parameter there. In queries capitals make no difference."""
    category, _, name = key.partition(".")
    return f"{CATEGORIES.get(category, category)}.{name}"


def dataset_of(form: Mapping[str, Any]) -> str | None:
    """The dataset a file was declared into, None if its declarer said none."""
    return next((str(value) for key, value in form.items() if key.lower() == DATASET.lower()), None)


def namespace_of(form: Mapping[str, Any]) -> str | None:
    """The namespace of a file: its dataset's or, declared by others, its run type."""
    namespace, colon, _ = (dataset_of(form) or "").partition(":")
    if colon and namespace:
        return namespace
    runs = form.get("runs") or []
    return str(runs[0][2]) if runs else None


def checksum_of(form: Mapping[str, Any]) -> str:
    """The Adler-32 among a file's checksums as 8 digits; empty if there is none (`enstore:` ones are of another kind)."""
    checksums = [text for text in form.get("checksum") or [] if str(text).lower().startswith("adler32:")]
    return (read_adler32(checksums, f"SAM: {form.get('file_name')}") or "") if checksums else ""


def is_retired(form: Mapping[str, Any]) -> bool:
    """Whether SAM says the file is retired."""
    return bool(form.get("retired_date") or form.get("retire_date"))


_OUR_FIELDS = {field: key for key, field in FIELDS.items()}
_OUR_TIMES = {field: key for key, field in TIMES.items()}


def _runs(given: Mapping[str, Any]) -> list[list[Any]]:
    """`[[run, subrun, run type], …]`."""
    run_type = str(given.get(RUN_TYPE, "unknown"))
    runs, subruns = given.get(RUNS) or [], given.get(SUBRUNS) or []
    if subruns and {item // SUBRUNS_OF_A_RUN for item in subruns} == set(runs):
        return [[*divmod(item, SUBRUNS_OF_A_RUN), run_type] for item in subruns]
    return [[run, 1, run_type] for run in runs]


def _iso(value: float, where: str) -> str:
    try:
        return datetime.fromtimestamp(value, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        raise DataError(f"{where}: {value} is no time SAM can keep") from None


def _seconds(value: Any) -> Any:
    """A time as we have it; what is none is handed on as it is."""
    try:
        return seconds(value, "SAM")
    except DataError:
        return value


def _parameter_value(value: Any) -> Any:
    """As SAM's parameters are: a text or a number. Anything else is text that says it is JSON."""
    if _is_number(value) or (isinstance(value, str) and not value.startswith(_JSON)):
        return value
    return _JSON + json.dumps(value, separators=(",", ":"))


def _our_value(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_JSON):
        try:
            return json.loads(value.removeprefix(_JSON))
        except ValueError:
            return value
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
