"""The probe of the site file: a small known file that is sent through the whole chain every now and then."""

from __future__ import annotations

from pydantic import Field

from dune_prompt.settings.paths import FilePath
from dune_prompt.settings.units import DurationS, Fraction
from dune_prompt.settings.yaml_file import Strict


class ProbeSettings(Strict):
    """What is sent, how often, and when it is late."""

    run: int = Field(ge=1, le=999_999, description="run number that is kept for probes; no real run may ever have it")
    stream: str = Field(description="stream the file belongs to; a campaign processes it")
    campaign: str | None = Field(None, description="campaign whose results are compared; default: the first that covers the run")
    every: DurationS = Field(3600.0, description="time between two probes (the timer sends them)")
    late_after: DurationS = Field(600.0, description="a probe that is not through after this time is late")
    rules: bool = Field(False, description="a probe is through only when the rules of its outputs are satisfied; else they are only noted")
    frames: int = Field(16, ge=4, le=1000, description="length of the one trigger record, in frames of 64 ticks (0.3 MB each)")
    tolerance: Fraction = Field(0.001, description="by how much a number may differ from the expected one")
    expected: FilePath | None = Field(
        None, description="JSON file with the expected numbers; default: those of the first probe of a campaign, version and code version"
    )
