"""Invents the waveforms of an APA or CRP: noise with the spectrum and size of ProtoDUNE's, coherent noise, tracks, defects.

Made to look like data to whatever reads them, fast; not a detector simulation. Sizes are those of 14 mV/fC: a minimum ionising track across
the wires gives W pulses of +430 ADC and induction pulses of about +-200 (U) and +220, -250 (V).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from stages.rawdata.channel_map import ChannelMap, Element, U, V, W
from stages.rawdata.frames import ADC_MAX, CLOCKS

PEDESTAL_ADC = {U: 9402.0, V: 9402.0, W: 3601.0}
NOISE_RMS_ADC = {U: 14.5, V: 14.5, W: 12.0}
COHERENT_RMS_ADC = 5.0  # of the above, common to all channels of a plane on one FEMB
_DEAD, _NOISY = 0.02, 5.0  # noise of dead and noisy channels, relative to that of a good one
_PEDESTAL_SPREAD_ADC, _RMS_SPREAD = 10.0, 0.05

# Amplitude of the noise against frequency, as in ProtoDUNE-HD W channels; kHz, any unit.
_NOISE_KHZ = (0.0, 10.0, 30.0, 100.0, 200.0, 300.0, 400.0, 600.0, 1000.0)
_NOISE_AMPLITUDE = (4.1, 3.9, 3.2, 2.7, 1.5, 0.65, 0.31, 0.15, 0.12)

# Pulses as sums of Gaussians: (height in ADC for the charge of one wire pitch, centre in us, sigma in us).
_PULSE = {
    U: ((200.0, -1.75, 1.3), (-210.0, 1.75, 1.3)),
    V: ((220.0, -1.75, 1.3), (-250.0, 1.75, 1.3)),
    W: ((430.0, 0.0, 1.4),),
}
_PULSE_HALF_LENGTH_US = 6.0
_STEP_MM = 1.0


@dataclass(frozen=True, slots=True)
class Defects:
    """Channels of one APA or CRP, counted from its first, that are dead or noisy."""

    dead: NDArray[np.int64]
    noisy: NDArray[np.int64]

    @classmethod
    def draw(cls, n_channels: int, n_dead: int, n_noisy: int, random: np.random.Generator) -> Defects:
        chosen = random.choice(n_channels, n_dead + n_noisy, replace=False)
        return cls(np.sort(chosen[:n_dead]), np.sort(chosen[n_dead:]))


@dataclass(frozen=True, slots=True)
class _Charge:
    """Charge, in units of a minimum ionising track's on one wire: `charge[i]` arrives on `channel[i]` at `tick[i]`, sorted by channel."""

    channel: NDArray[np.int64]
    tick: NDArray[np.int64]
    charge: NDArray[np.float32]


def simulate(
    channel_map: ChannelMap, element: Element, n_ticks: int, mean_tracks: float, defects: Defects, random: np.random.Generator
) -> NDArray[np.uint16]:
    """ADC values [channel, tick] of one APA or CRP in one trigger record, with a Poisson number of tracks."""
    tick_us = CLOCKS[element.fragment_type].tick_ns / 1000
    plane = channel_map.plane[element.channels]
    femb = channel_map.femb[element.channels]
    pulses = {which: _pulse(_role(element, which), tick_us) for which in _PULSE}
    n_samples = scipy.fft.next_fast_len(n_ticks, real=True)
    spectrum = _noise_spectrum(n_samples, tick_us)
    tracks = _tracks(element, plane, n_ticks, tick_us, int(random.poisson(mean_tracks)), random)
    strength = 1 + _RMS_SPREAD * random.standard_normal(element.n_channels, np.float32)
    strength[defects.dead], strength[defects.noisy] = _DEAD, _NOISY
    pedestal = _PEDESTAL_SPREAD_ADC * random.standard_normal(element.n_channels, np.float32)
    is_dead = np.zeros(element.n_channels, np.bool_)
    is_dead[defects.dead] = True
    adc = np.empty((element.n_channels, n_ticks), np.uint16)
    # FEMB by FEMB and plane by plane: the channels that share coherent noise; small enough for the processor's cache.
    for which, rows in _groups(plane, femb):
        own_rms = np.sqrt(NOISE_RMS_ADC[which] ** 2 - COHERENT_RMS_ADC**2)
        wave = _noise(len(rows), n_samples, n_ticks, spectrum, random)
        wave *= (own_rms * strength[rows])[:, None]
        alive = np.flatnonzero(~is_dead[rows])
        wave[alive] += COHERENT_RMS_ADC * _noise(1, n_samples, n_ticks, spectrum, random)
        _add_signals(wave, rows[alive], alive, tracks, pulses[which])
        wave += (PEDESTAL_ADC[which] + pedestal[rows])[:, None]
        np.rint(wave, out=wave)
        np.clip(wave, 0, ADC_MAX, out=wave)
        adc[rows] = wave
    return adc


def _groups(plane: NDArray[np.uint8], femb: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    for board in np.unique(femb):
        for which in (U, V, W):
            rows = np.flatnonzero((femb == board) & (plane == which))
            if rows.size:
                yield which, rows


def _noise_spectrum(n_samples: int, tick_us: float) -> NDArray[np.float32]:
    """Amplitudes that make noise of rms 1 from complex numbers whose parts are normal, without a constant."""
    amplitude = np.interp(scipy.fft.rfftfreq(n_samples, tick_us) * 1000, _NOISE_KHZ, _NOISE_AMPLITUDE)
    amplitude[0] = 0
    # Each frequency counts twice (positive and negative); the inverse transform divides by the number of samples.
    normalised: NDArray[np.float32] = (amplitude * n_samples / (2 * np.sqrt(np.sum(amplitude**2)))).astype(np.float32)
    return normalised


def _noise(n_rows: int, n_samples: int, n_ticks: int, spectrum: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    parts = random.standard_normal((n_rows, 2 * spectrum.size), np.float32).view(np.complex64)
    parts *= spectrum
    noise: NDArray[np.float32] = scipy.fft.irfft(parts, n_samples, axis=1, overwrite_x=True)[:, :n_ticks]
    return noise


def _role(element: Element, which: int) -> int:
    """The plane whose pulses a plane shows: on P02SU the charge is collected by V, and W sees it pass by."""
    return {V: W, W: V}.get(which, which) if element.name == "P02SU" else which


def _pulse(which: int, tick_us: float) -> NDArray[np.float32]:
    half = round(_PULSE_HALF_LENGTH_US / tick_us)
    time = np.arange(-half, half + 1) * tick_us
    parts = [height * np.exp(-(((time - centre) / sigma) ** 2) / 2) for height, centre, sigma in _PULSE[which]]
    pulse: NDArray[np.float32] = np.sum(parts, axis=0).astype(np.float32)
    return pulse


def _add_signals(
    wave: NDArray[np.float32], channels: NDArray[np.int64], rows: NDArray[np.int64], tracks: _Charge, pulse: NDArray[np.float32]
) -> None:
    """Add the pulses of the charge on `channels` to `rows` of `wave`."""
    first, last = np.searchsorted(tracks.channel, channels), np.searchsorted(tracks.channel, channels, side="right")
    chosen = np.concatenate([np.empty(0, np.int64), *(np.arange(a, b) for a, b in zip(first, last, strict=True))])
    row = np.repeat(rows, last - first)
    tick, charge = tracks.tick[chosen], tracks.charge[chosen]
    half = len(pulse) // 2
    inside = (tick >= half) & (tick < wave.shape[1] - half)
    row, tick, charge = row[inside], tick[inside], charge[inside]
    # Each cell occurs once, so that no sum is lost when many are added at a time.
    for offset, height in enumerate(pulse, start=-half):
        wave[row, tick + offset] += height * charge


def _tracks(
    element: Element, plane: NDArray[np.uint8], n_ticks: int, tick_us: float, n_tracks: int, random: np.random.Generator
) -> _Charge:
    """Straight tracks across the APA or CRP: their charge on the wires of the three planes."""
    geometry = _GEOMETRY["CRP" if element.name.startswith("CRP") else "APA"]
    cells: list[NDArray[np.int64]] = []
    charges: list[NDArray[np.float64]] = []
    for _ in range(n_tracks):
        begin = random.random(2) * (geometry.height_mm, geometry.width_mm)
        end = random.random(2) * (geometry.height_mm, geometry.width_mm)
        begin_tick, end_tick = random.random(2) * n_ticks
        drift_mm = _DRIFT_MM_PER_US * tick_us * (end_tick - begin_tick)
        length = float(np.hypot(np.hypot(*(end - begin)), drift_mm))
        along = (np.arange(round(length / _STEP_MM)) + 0.5) / max(1, round(length / _STEP_MM))
        y, z = begin[:, None] + (end - begin)[:, None] * along
        tick = (begin_tick + (end_tick - begin_tick) * along).astype(np.int64)
        step = random.gamma(2.0, 0.5, along.size) * _STEP_MM
        for which in (U, V, W):
            wires = geometry.wires(which, element.name)
            channel = np.flatnonzero(plane == which)[0] + wires[geometry.position(which, y, z) % wires.size]
            cells.append(channel * n_ticks + tick)
            charges.append(step / geometry.pitch_mm[which])
    if not cells:
        return _Charge(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    cell, index = np.unique(np.concatenate(cells), return_inverse=True)
    charge = np.bincount(index, np.concatenate(charges)).astype(np.float32)
    return _Charge(cell // n_ticks, cell % n_ticks, charge)


_DRIFT_MM_PER_US = 1.6


@dataclass(frozen=True, slots=True)
class _Geometry:
    """The wires (strips) of one face: size of the face, pitch of each plane, and the angle of the induction wires to those of W.

    `halves`: W strips are cut in the middle of the face.
    """

    height_mm: float
    width_mm: float
    pitch_mm: dict[int, float]
    angle_deg: float
    n_wires: dict[int, int]
    halves: bool

    def position(self, which: int, y: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.int64]:
        """The wire of plane `which` at (y, z), counted across the face; induction wires that go round the edge come again."""
        angle = {U: np.radians(self.angle_deg), V: -np.radians(self.angle_deg), W: 0.0}[which]
        start = self.height_mm * np.sin(np.radians(self.angle_deg)) if which == V else 0.0
        wire = np.asarray((z * np.cos(angle) + y * np.sin(angle) + start) / self.pitch_mm[which], np.int64)
        if which == W and self.halves:
            wire += (y > self.height_mm / 2) * (self.n_wires[W] // 2)
        return wire

    def wires(self, which: int, element: str) -> NDArray[np.int64]:
        """The channels of a plane, counted from its first, in the order their wires cross the face."""
        n_wires = self.n_wires[which]
        if element.startswith("CRP"):
            return np.arange(n_wires)
        if which == W:
            # The half on the drift side; the other half looks at the cryostat's wall.
            return np.arange(n_wires // 2) + (0 if element.endswith("NL") else n_wires // 2)
        half = n_wires // 2
        up, down = np.arange(half, n_wires), np.arange(half)[::-1]
        return np.concatenate([up, down] if which == U else [up[::-1], down[::-1]])


_GEOMETRY = {
    "APA": _Geometry(6000.0, 2300.0, {U: 4.67, V: 4.67, W: 4.79}, 35.7, {U: 800, V: 800, W: 960}, halves=False),
    "CRP": _Geometry(3370.0, 2980.0, {U: 7.65, V: 7.65, W: 5.1}, 30.0, {U: 952, V: 952, W: 1168}, halves=True),
}
