"""The settings of `nf_sp` for the payload numpy, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dune_prompt.errors import ConfigError

GAINS_MV_PER_FC = (14.0, 7.8)
KEEP = ("nf",)
MAX_CPUS = 64


@dataclass(frozen=True, slots=True)
class Parameters:
    """`gain_mv_per_fc` of the cold electronics, what to `keep` besides the charge, over how many `cpus` records are spread, and a file with
    the `response` of the wires (None: ProtoDUNE-HD's)."""

    gain_mv_per_fc: float = 14.0
    keep: tuple[str, ...] = ()
    cpus: int = 1
    response: Path | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Parameters:
        """Read the settings.

        Raises:
            ConfigError: a value is not one of those allowed.
        """
        gain, keep = gain_of(settings), settings.get("keep", [])
        if not isinstance(keep, list | tuple) or any(what not in KEEP for what in keep):
            raise ConfigError(f"stages.nf_sp.keep {keep!r}: a list of {', '.join(KEEP)}")
        cpus = settings.get("cpus", 1)
        if type(cpus) is not int or not 1 <= cpus <= MAX_CPUS:
            raise ConfigError(f"stages.nf_sp.cpus {cpus!r}: a whole number from 1 to {MAX_CPUS}")
        response = settings.get("response")
        if response is not None and not (isinstance(response, str) and response.startswith("/")):
            raise ConfigError(f"stages.nf_sp.response {response!r}: the absolute path of a file")
        return cls(gain, tuple(keep), cpus, None if response is None else Path(response))


def gain_of(settings: Mapping[str, Any]) -> float:
    """The gain of the cold electronics in mV/fC.

    Raises:
        ConfigError: the electronics has no such gain.
    """
    gain = settings.get("gain_mV_per_fC", 14.0)
    if isinstance(gain, bool) or gain not in GAINS_MV_PER_FC:
        allowed = " or ".join(f"{value:g}" for value in GAINS_MV_PER_FC)
        raise ConfigError(f"stages.nf_sp.gain_mV_per_fC {gain!r}: the electronics has {allowed} mV/fC")
    return float(gain)
