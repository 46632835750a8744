"""The configuration of the payload `wirecell`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dune_prompt.errors import ConfigError
from templates import render


def files(detector: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """`nfsp.jsonnet` for the settings of `nf_sp`.

    Raises:
        ConfigError: there is no configuration for `detector`.
    """
    if detector != "pdhd":
        raise ConfigError(f"stages.nf_sp.payload wirecell: there is a configuration for pdhd only, not for {detector}; use payload numpy")
    own = settings.get("wirecell") or {}
    gain, l1sp = f"{settings['gain_mV_per_fC']:g}", "process" if own.get("l1sp") else ""
    return {"nfsp.jsonnet": render("payload_files/nfsp.jsonnet.j2", gain=gain, l1sp=l1sp)}
