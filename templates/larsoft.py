"""The files of the payload `larsoft`: a wrapper around the experiment's job file, and the script that sets LArSoft up and runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from templates import render

# Exit codes of the script for what is missing on a worker; art has none of them (see stages/nf_sp/larsoft/exit_codes.py).
NO_SETUP, NO_RELEASE = 120, 121


def files(detector: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """`larsoft.fcl` and `larsoft.sh` for the settings of `nf_sp`."""
    own = settings["larsoft"]
    overrides = dict(own["overrides"])
    if own["elec_gain_path"]:
        overrides[own["elec_gain_path"]] = settings["gain_mV_per_fC"]
    return {
        "larsoft.fcl": render("payload_files/larsoft.fcl.j2", fcl=own["fcl"], overrides=sorted(overrides.items())),
        "larsoft.sh": render(
            "payload_files/larsoft.sh.j2",
            setup=own["setup"],
            release=own["release"],
            qualifiers=own["qualifiers"],
            no_setup=NO_SETUP,
            no_release=NO_RELEASE,
        ),
    }
