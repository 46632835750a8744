"""Takes the images of event displays, while a trigger record's samples are at hand; `evaluate` draws them."""

from __future__ import annotations

from dataclasses import dataclass

from stages import images
from stages.nf_sp.quality import ElementQuality
from stages.nf_sp.quality_file import QualityWriter
from stages.nf_sp.resampling import TICK_NS
from stages.nf_sp.statistics import Samples
from stages.rawdata import RecordId


@dataclass(frozen=True, slots=True)
class RecordImages:
    """Takes the images of one element in one trigger record; they go into the quality file at once, so none is kept in memory.

    `ident` is the place of the record in the file. `noise_adc` [channels] is that of each channel before noise filtering: the range of
    the waveforms' colours comes from it.
    """

    quality: ElementQuality
    file: QualityWriter
    record: RecordId
    ident: int
    ticks_per_pixel: int
    noise_adc: Samples

    def take_waveforms(self, kind: str, samples: Samples, tick_ns: float) -> None:
        """Keep an image of each plane of `samples` (ADC every `tick_ns`)."""
        for plane in self.quality.geometry.planes:
            limit = images.waveform_range(self.noise_adc[plane.rows])
            image = images.waveforms(images.extremes(samples[plane.rows], self.ticks_per_pixel), limit)
            self._keep(plane.name, kind, image, limit, samples.shape[1], tick_ns)

    def take_charge(self, kind: str, electrons: Samples) -> None:
        """Keep an image of each plane of `electrons` (electrons per tick of 500 ns)."""
        for plane in self.quality.geometry.planes:
            shown = images.extremes(electrons[plane.rows], self.ticks_per_pixel)
            limit = images.charge_range(shown)
            self._keep(plane.name, kind, images.charge(shown, limit), limit, electrons.shape[1], TICK_NS)

    def _keep(self, plane: str, kind: str, image: images.Image, limit: float, n_ticks: int, tick_ns: float) -> None:
        name = f"picture_{self.ident}_{plane}_{kind}"
        self.file.add(self.quality.geometry.element, name, image)
        self.quality.pictures.append(
            {
                "array": name,
                "ident": self.ident,
                "record": self.record.number,
                "sequence": self.record.sequence,
                "plane": plane,
                "kind": kind,
                "ticks_per_pixel": self.ticks_per_pixel,
                "n_ticks": n_ticks,
                "tick_ns": tick_ns,
                "limit": limit,
            }
        )
