"""The quality file of a payload whose results are not judged plane by plane: what ran, how long, and what it said of itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dune_prompt.records import write_json
from stages.derived import derived_name
from stages.nf_sp.performance import Stopwatch
from stages.stage import StageContext

# Run and file index in the name of a raw file (DUNE-DAQ dfmodules HDF5DataStore).
_NUMBERS = re.compile(r"_run(?P<run>\d{6})_(?P<index>\d{4})_")


def write_quality(context: StageContext, payload: str, gain_mv_per_fc: float | None, notes: Sequence[str], watch: Stopwatch) -> str:
    """Write `…_quality.json` without elements; its name. `evaluate` makes a record of it that holds the job's performance."""
    found = _NUMBERS.search(context.raw.name)
    content: dict[str, Any] = {
        "payload": payload,
        "gain_mv_per_fc": gain_mv_per_fc,
        "run": int(found["run"]) if found else None,
        "file_index": int(found["index"]) if found else None,
        "notes": list(notes),
        "records": None,
        "elements": [],
        "performance": watch.summary(context.raw_path().stat().st_size),
    }
    name = derived_name(context, "quality", "json")
    write_json(context.output_dir / name, content)
    return name
