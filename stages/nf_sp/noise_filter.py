"""The noise filter: its steps in order on one APA or CRP of one trigger record (Wire-Cell's `OmnibusNoiseFilter`).

`measure` looks at each channel by itself, `clean` at what channels share. Between the two nothing has been taken out of the waveforms but
their baselines: that is when their noise before filtering can be judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp import channel_noise, coherent, femb_pulses
from stages.nf_sp.channel_noise import Health
from stages.nf_sp.coherent import CommonNoise
from stages.nf_sp.geometry import ElementGeometry
from stages.nf_sp.statistics import Samples


@dataclass(frozen=True, slots=True)
class Filtered:
    """Where no charge is to be taken from (`masked`, bool [channels, ticks]: dropped channels, missing samples, pulses of front-end
    boards), the common noise of each group, and the number of those pulses."""

    masked: NDArray[np.bool_]
    common: list[CommonNoise]
    n_pulses: int


def measure(
    samples: Samples, missing: NDArray[np.bool_] | None, absent: NDArray[np.bool_], geometry: ElementGeometry, gain_mv_per_fc: float
) -> tuple[Health, Samples]:
    """Bring the baselines of `samples` (ADC, [channels, ticks of 500 ns]) to 0 in place; the channels' health, and their noise in ADC.

    `missing` (same shape, None: nowhere) is true where there was no sample, `absent` [channels] where there was none at all. A channel that
    is listed as bad is not looked at, and so neither dead nor noisy.
    """
    noise = channel_noise.centre_and_measure(samples, missing)
    health = channel_noise.health_of(noise, absent | geometry.listed_bad, gain_mv_per_fc)
    return Health(absent, health.dead, health.noisy), noise


def clean(
    samples: Samples,
    missing: NDArray[np.bool_] | None,
    health: Health,
    noise_adc: Samples,
    geometry: ElementGeometry,
    gain_mv_per_fc: float,
) -> Filtered:
    """Filter what `measure` saw, in place; channels that are listed as bad or not good become 0."""
    dropped = geometry.listed_bad | ~health.good
    samples[dropped] = 0
    masked = np.zeros(samples.shape, np.bool_) if missing is None else missing.copy()
    masked[dropped] = True
    n_pulses = femb_pulses.mask(samples, geometry.half_boards, geometry.planes, masked)
    common = coherent.remove(samples, np.where(dropped, np.float32(0), noise_adc), geometry, gain_mv_per_fc)
    if missing is not None:
        samples[missing] = 0
    return Filtered(masked, common, n_pulses)
