"""A payload that processes nothing, to measure what everything around a payload costs. Standard library only."""

from __future__ import annotations

import time
import zlib

from stages.derived import derived_name, write_sidecar
from stages.nf_sp.performance import Stopwatch
from stages.nf_sp.program_quality import write_quality
from stages.stage import StageContext, StageResult


def run(context: StageContext) -> StageResult:
    """Write a small output that depends on the raw file's name and size alone, and an empty quality file, after `seconds`."""
    watch = Stopwatch()
    size_bytes = context.raw_path().stat().st_size
    name = derived_name(context, "gauss", "txt")
    if seconds := float(context.settings.get("seconds", 0.0)):
        time.sleep(seconds)
    text = f"{context.raw.name} {size_bytes}"
    (context.output_dir / name).write_text(f"noop {text} {zlib.crc32(text.encode()):08x}\n")
    write_sidecar(context, name, what="gauss", data_tier=str(context.payload.outputs["data_tier"]), file_format="txt")
    quality = write_quality(context, "noop", None, ["payload noop: nothing was processed"], watch)
    return StageResult((name, quality), {"payload": "noop", "input_bytes": size_bytes})
