"""`nf_sp`: the first stage. It chooses the payload; only the payload that runs is imported.

Setting in the campaign file: `payload`; the others are the payload's own.
"""

from __future__ import annotations

import importlib
from typing import cast

from dune_prompt.errors import ConfigError
from stages.stage import Stage, StageContext, StageResult

PAYLOADS = {
    "numpy": "stages.nf_sp.numpy_payload",
    "wirecell": "stages.nf_sp.wirecell.payload",
    "larsoft": "stages.nf_sp.larsoft.payload",
    "command": "stages.nf_sp.command.payload",
    "noop": "stages.nf_sp.noop",
}


def run(context: StageContext) -> StageResult:
    """Process the raw file with the campaign's payload.

    Every payload writes its results with their sidecars, and for `evaluate` the work file `…_quality.json`, some also `…_quality.npz`.

    Raises:
        ConfigError: a setting is wrong, or the raw file is of another detector.
        DataError: no trigger record can be used.
    """
    payload = context.settings.get("payload", "numpy")
    if payload not in PAYLOADS:
        raise ConfigError(f"stages.nf_sp.payload {payload!r}: there are {', '.join(PAYLOADS)}")
    return cast(Stage, importlib.import_module(PAYLOADS[payload])).run(context)
