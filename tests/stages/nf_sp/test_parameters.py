"""The settings of the payload numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dune_prompt.errors import ConfigError
from stages.nf_sp.parameters import Parameters


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain_mV_per_fC": 10}, "gain_mV_per_fC 10: the electronics has 14 or 7.8"),
        ({"gain_mV_per_fC": "14"}, "gain_mV_per_fC '14'"),
        ({"gain_mV_per_fC": True}, "gain_mV_per_fC True"),
        ({"keep": "nf"}, "keep 'nf': a list of nf"),
        ({"keep": ["sp"]}, "keep"),
        ({"cpus": 0}, "cpus 0: a whole number from 1 to 64"),
        ({"cpus": "2"}, "cpus '2'"),
        ({"response": "vd.npz"}, "response 'vd.npz': the absolute path"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Parameters.of(settings)


def test_settings_that_belong_to_the_engine_are_let_pass() -> None:
    settings = {"memory": 3_000_000_000, "lifetime": 7200.0, "gain_mV_per_fC": 7.8, "cpus": 2, "response": "/data/vd.npz"}
    assert Parameters.of(settings) == Parameters(7.8, (), 2, Path("/data/vd.npz"))
