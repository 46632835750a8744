"""A payload that processes nothing, to measure what everything around a payload costs. Standard library only."""

from __future__ import annotations

import re
import time
import zlib

from dune_prompt.records import write_json
from stages.derived import derived_name, write_sidecar
from stages.nf_sp.performance import Stopwatch
from stages.stage import StageContext, StageResult

# Run and file index in the name of a raw file (DUNE-DAQ dfmodules HDF5DataStore).
_NUMBERS = re.compile(r"_run(?P<run>\d{6})_(?P<index>\d{4})_")


def run(context: StageContext) -> StageResult:
    """Write a small output that depends on the raw file's name and size alone, and an empty quality file, after `seconds`."""
    watch = Stopwatch()
    found = _NUMBERS.search(context.raw.name)
    size_bytes = context.raw_path().stat().st_size
    name = derived_name(context, "gauss", "txt")
    if seconds := float(context.settings.get("seconds", 0.0)):
        time.sleep(seconds)
    text = f"{context.raw.name} {size_bytes}"
    (context.output_dir / name).write_text(f"noop {text} {zlib.crc32(text.encode()):08x}\n")
    write_sidecar(context, name, what="gauss", data_tier=str(context.payload.outputs["data_tier"]), file_format="txt")
    quality = derived_name(context, "quality", "json")
    write_json(
        context.output_dir / quality,
        {
            "payload": "noop",
            "gain_mv_per_fc": None,
            "run": int(found["run"]) if found else None,
            "file_index": int(found["index"]) if found else None,
            "notes": ["payload noop: nothing was processed"],
            "records": None,
            "elements": [],
            "performance": watch.summary(size_bytes),
        },
    )
    return StageResult((name, quality), {"payload": "noop", "input_bytes": size_bytes})
