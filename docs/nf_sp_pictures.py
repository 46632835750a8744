"""Draws the pictures of docs/nf-sp.md: `python docs/nf_sp_pictures.py`. Needs the reference data beside the repository, and matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

from stages.nf_sp import deconvolution, filters, noise_filter, resampling, signal_processing
from stages.nf_sp.baseline import straighten
from stages.nf_sp.geometry import geometry_of
from stages.nf_sp.statistics import centre

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
REFERENCE = HERE.parents[1] / "shared" / "data" / "nfsp"
GAIN_MV_PER_FC = 14.0
# A part of the V plane with tracks that cross it, and a wire that such a track runs along.
WIRES, TICKS, WIRE = slice(300, 460), slice(0, 1500), 344
LOOK = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}


def main() -> None:
    with np.load(REFERENCE / "evt1_raw512_14mVfC.npz") as file:
        adc, channels = file["adc"].astype(np.float32), file["channels"].astype(np.int32)
    geometry = geometry_of("pdhd", "P02NL", channels)
    plane = geometry.planes[1]
    samples = resampling.resample(adc, resampling.grid(adc.shape[1], 512.0))
    health, noise = noise_filter.measure(samples, None, np.zeros(len(adc), bool), geometry, GAIN_MV_PER_FC)
    before = samples[plane.rows].copy()
    filtered = noise_filter.clean(samples, None, health, noise, geometry, GAIN_MV_PER_FC)
    after, masked = samples[plane.rows], filtered.masked[plane.rows]
    charge = signal_processing.of_plane(after, masked, plane, GAIN_MV_PER_FC)
    order = plane.pitch_order
    deconvolved = deconvolution.deconvolve(straighten(after[order].copy()), plane, GAIN_MV_PER_FC)

    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), sharey=True, layout="constrained")
    views = ((before, "before", "RdBu_r", 60), (after, "after the noise filter", "RdBu_r", 60), (charge.gauss, "charge", "magma_r", 1500))
    for axis, (rows, title, colours, limit) in zip(axes, views, strict=True):
        low = -limit if colours == "RdBu_r" else 0
        image = axis.imshow(rows[order][WIRES, TICKS].T, cmap=colours, vmin=low, vmax=limit, **LOOK)
        figure.colorbar(image, ax=axis, label="ADC" if low else "electrons per tick", shrink=0.8)
        axis.set(title=title, xlabel="wire")
    axes[0].set_ylabel("tick (500 ns)")
    save(figure, "planes")

    tight = filters.high_cut(plane.tight_filter, plane.name, deconvolved.padded)
    figure, axes = plt.subplots(4, 1, figsize=(9, 7.5), sharex=True, layout="constrained")
    axes[0].plot(before[order[WIRE]], lw=0.5, color="0.6", label="before")
    axes[0].plot(after[order[WIRE]], lw=0.6, label="after the noise filter")
    axes[0].set_ylabel("ADC")
    for axis, names in ((axes[1], ("ROI_tight_lf", "ROI_tighter_lf")), (axes[2], ("ROI_loose_lf",))):
        for name in names:
            waveform = deconvolved.filtered(tight * filters.low_cut(name, deconvolved.padded), slice(WIRE, WIRE + 1))
            centre(waveform)
            axis.plot(waveform[0], lw=0.7, label=f"deconvolved, Wiener_tight, {name}")
        axis.axhline(3 * charge.noise_e[order[WIRE]], color="0.4", lw=0.6, ls=":")
        axis.set_ylabel("e / tick")
    axes[3].fill_between(np.arange(charge.gauss.shape[1]), charge.gauss[order[WIRE]], step="mid", label="gauss, in the final regions")
    axes[3].set(ylabel="e / tick", xlabel="tick (500 ns)", xlim=(1000, 1700))
    for axis, limits in zip(axes, ((-110, 110), (-1500, 2500), (-1500, 3000), (0, 3200)), strict=True):
        axis.set_ylim(*limits)
        axis.legend(loc="upper right", fontsize=8)
    save(figure, "waveform")


def save(figure: plt.Figure, name: str) -> None:
    folder = HERE / "images"
    folder.mkdir(exist_ok=True)
    path = folder / f"nf-sp-{name}.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    # A page loads them all: 160 colours look the same and take half.
    Image.open(path).convert("RGB").quantize(160).save(path, optimize=True)


if __name__ == "__main__":
    main()
