"""What is rendered for the payloads of `nf_sp` that are programs of their own: configurations and wrappers, texts by file name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def payload_files(detector: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The files for the payload that `settings`, those of `nf_sp`, choose; none for the embedded ones.

    Raises:
        ConfigError: the payload does not know `detector`.
    """
    match settings.get("payload"):
        case "wirecell":
            from templates.wirecell import files
        case "larsoft":
            from templates.larsoft import files
        case _:
            return {}
    return files(detector, settings)
