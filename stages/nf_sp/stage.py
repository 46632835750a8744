"""`nf_sp`: the first stage. It chooses the payload; only the payload that runs is imported.

Settings in the campaign file: `payload` (numpy, noop), `gain_mV_per_fC` (14.0 or 7.8), `keep` (nf: also keep the filtered waveforms),
`seconds` (how long noop takes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dune_prompt.errors import ConfigError
from stages.stage import StageContext, StageResult

PAYLOADS = ("numpy", "noop")
GAINS_MV_PER_FC = (14.0, 7.8)
KEEP = ("nf",)
QUALITY = "quality"


@dataclass(frozen=True, slots=True)
class Parameters:
    """The stage's settings, checked."""

    payload: str = "numpy"
    gain_mv_per_fc: float = 14.0
    keep: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Parameters:
        """Read the settings of `nf_sp`.

        Raises:
            ConfigError: a value is not one of those allowed.
        """
        payload = settings.get("payload", "numpy")
        gain = settings.get("gain_mV_per_fC", 14.0)
        keep = settings.get("keep", [])
        if payload not in PAYLOADS:
            raise ConfigError(f"stages.nf_sp.payload {payload!r}: this version has {' and '.join(PAYLOADS)}")
        if isinstance(gain, bool) or gain not in GAINS_MV_PER_FC:
            allowed = " or ".join(f"{value:g}" for value in GAINS_MV_PER_FC)
            raise ConfigError(f"stages.nf_sp.gain_mV_per_fC {gain!r}: the electronics has {allowed} mV/fC")
        if not isinstance(keep, list | tuple) or any(what not in KEEP for what in keep):
            raise ConfigError(f"stages.nf_sp.keep {keep!r}: a list of {', '.join(KEEP)}")
        return cls(payload, float(gain), tuple(keep))


def run(context: StageContext) -> StageResult:
    """Process the raw file with the campaign's payload.

    Writes the frame file `…_gauss.npz` with its sidecar, and for `evaluate` the work files `…_quality.json` and, but for noop,
    `…_quality.npz`.

    Raises:
        ConfigError: a setting is wrong, or the raw file is of another detector.
        DataError: no trigger record can be used.
    """
    parameters = Parameters.of(context.settings)
    if parameters.payload == "noop":
        from stages.nf_sp import noop

        return noop.run(context)
    from stages.nf_sp import numpy_payload

    return numpy_payload.run(context, parameters)
