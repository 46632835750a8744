"""The command lines of `wire-cell` and of `wcsonnet`, which compiles the same configuration."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dune_prompt.errors import CommandError, ConfigError
from dune_prompt.process import run
from stages.nf_sp.wirecell.settings import WirecellSettings

COMPILE_S = 300.0


def wire_cell(settings: WirecellSettings, gain: float, anode: int, job: Path, source: Path, target: Path, log: Path) -> list[str]:
    """One process for all frames of one APA: `source` in, `target` out, with a log of its own (an old one would be added to)."""
    return [
        settings.program,
        *("-l", f"{log}:info", "-l", "stderr:warn", "-L", "info", "-L", "timer:info"),
        *(part for folder in settings.path for part in ("-P", folder)),
        *("-V", f"elecGain={gain:g}", "--tla-code", f"apa={anode}", "-A", f"infile={source}", "-A", f"outfile={target}"),
        *("-c", str(job)),
    ]


def configuration_hash(settings: WirecellSettings, gain: float, anode: int, job: Path, environment: dict[str, str]) -> tuple[str, str]:
    """SHA-256 of the configuration, and of what: compiled (by `wcsonnet` beside the program), or, where that is not there, rendered.

    File names are left out of it: the same configuration has the same hash on every worker.
    """
    program = Path(settings.program)
    compiler = str(program.with_name("wcsonnet")) if "/" in settings.program else "wcsonnet"
    command = [
        compiler,
        *(part for folder in settings.path for part in ("-P", folder)),
        *("-V", f"elecGain={gain:g}", "-S", f"apa={anode}", "-A", "infile=in.npz", "-A", "outfile=out.npz"),
        str(job),
    ]
    try:
        done = run(settings.wrapped(command, [job.parent]), timeout_s=COMPILE_S, env=environment, cwd=job.parent)
        compiled = json.loads(done.stdout)
    except (ConfigError, CommandError, ValueError):
        return hashlib.sha256(job.read_bytes()).hexdigest(), "rendered"
    return hashlib.sha256(json.dumps(compiled, sort_keys=True, separators=(",", ":")).encode()).hexdigest(), "compiled"
