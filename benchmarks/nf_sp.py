"""How well and how fast the NumPy payload works: `python -m benchmarks.nf_sp [--json] [--repeat N]`.

Needs the reference data beside the repository: one simulated ProtoDUNE-HD event of one APA (2560 channels x 5859 ticks) and two pairs of
front-end boards, with the output of the real Wire-Cell. Processor seconds are of one thread; medians over the repetitions, with the ratio
to Wire-Cell's 16 s (warm) for the same event.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

REFERENCE = Path(__file__).parents[2] / "shared" / "data"
GAIN_MV_PER_FC = 14.0
WIRE_CELL_S = 16.0
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
RECORDS = 8


def processed(adc: Any, channels: Any, watch: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
    """NF and SP of ADC values of P02NL: geometry, filtered waveforms, mask, and the charge of each plane."""
    import numpy as np

    from stages.nf_sp import noise_filter, pedestal, resampling, signal_processing
    from stages.nf_sp.geometry import geometry_of

    geometry = geometry_of("pdhd", "P02NL", channels.astype(np.int32))
    with watch.step("pedestal"):
        _, delivered = pedestal.measure(adc.astype(np.uint16), None)
    with watch.step("resampling"):
        samples = resampling.resample(delivered, resampling.grid(adc.shape[1], 512.0))
    with watch.step("noise filter"):
        health, noise = noise_filter.measure(samples, None, np.zeros(len(adc), bool), geometry, GAIN_MV_PER_FC)
        filtered = noise_filter.clean(samples, None, health, noise, geometry, GAIN_MV_PER_FC)
    charge = {
        plane.name: signal_processing.of_plane(samples[plane.rows], filtered.masked[plane.rows], plane, GAIN_MV_PER_FC, watch=watch)
        for plane in geometry.planes
    }
    return geometry, samples, filtered.masked, charge


def boards() -> list[dict[str, Any]]:
    """Noise filter and charge of two boards beside Wire-Cell's, without and with defects."""
    import numpy as np

    from stages.nf_sp.performance import Stopwatch

    rows = []
    for name in ("small_2femb", "small_2femb_defects"):
        with np.load(REFERENCE / "nfsp" / f"{name}.npz") as file:
            adc, channels, nf, gauss = file["adc"], file["channels"], file["nf_x8"] / 8, file["gauss"]
        geometry, samples, masked, charge = processed(adc, channels, Stopwatch())
        for plane in geometry.planes:
            difference = (samples - nf)[plane.rows][~masked[plane.rows]]
            ours, theirs = charge[plane.name].gauss, gauss[plane.rows]
            rows.append(
                {
                    "boards": name,
                    "plane": plane.name,
                    "nf_rms_adc": float(np.sqrt(np.mean(difference.astype(float) ** 2))),
                    "correlation": float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]),
                    "charge_ratio": float(ours.sum(dtype=float) / theirs.sum(dtype=float)),
                }
            )
    return rows


def apa(repeat: int) -> dict[str, list[dict[str, Any]]]:
    """A whole APA: agreement with Wire-Cell and with the truth plane by plane, and the steps' times."""
    import numpy as np

    from stages.nf_sp.performance import Stopwatch

    with np.load(REFERENCE / "nfsp" / "evt1_raw512_14mVfC.npz") as file:
        adc, channels = file["adc"], file["channels"]
    with np.load(REFERENCE / "nfsp" / "evt1_wct_sp.npz") as file:
        gauss, wiener = file["gauss1"], file["wiener1"]
    with np.load(REFERENCE / "nfsp" / "evt1_truth.npz") as file:
        truth = file["truth"]
    times = []
    for _ in range(repeat):
        watch = Stopwatch()
        geometry, _, _, charge = processed(adc, channels, watch)
        times.append(watch.cpu_s)
    planes = []
    for plane in geometry.planes:
        at, good = plane.rows, ~geometry.listed_bad[plane.rows]
        ours, theirs, true = charge[plane.name].gauss, gauss[at], truth[at][good].sum(dtype=float)
        both = np.count_nonzero((ours > 0) & (theirs > 0))
        planes.append(
            {
                "plane": plane.name,
                "correlation": float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]),
                "charge_ratio": float(ours.sum(dtype=float) / theirs.sum(dtype=float)),
                "wiener_correlation": float(np.corrcoef(charge[plane.name].wiener.ravel(), wiener[at].ravel())[0, 1]),
                "wiener_ratio": float(charge[plane.name].wiener.sum(dtype=float) / wiener[at].sum(dtype=float)),
                "covered": float(both / np.count_nonzero(theirs)),
                "confirmed": float(both / np.count_nonzero(ours)),
                "to_truth": float(ours[good].sum(dtype=float) / true),
                "wire_cell_to_truth": float(theirs[good].sum(dtype=float) / true),
            }
        )
    steps = [{"step": name, "cpu_s": median(one[name] for one in times)} for name in times[0]]
    whole = median(sum(one.values()) for one in times)
    return {
        "whole APA beside Wire-Cell": planes,
        "steps": [*steps, {"step": "all", "cpu_s": whole}, {"step": "Wire-Cell / all", "cpu_s": WIRE_CELL_S / whole}],
    }


def process(stages: str, raw: Path, *options: str) -> list[dict[str, Any]]:
    """Stages in a process of their own, as a job runs them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dune_prompt", "stage", "run", stages, "--input", str(raw), "--output", folder, "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=ONE_THREAD)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return [{key: row[key] for key in ("stage", "wall_s", "cpu_s", "peak_mb", "output_mb")} for row in rows]


def scaling(raw: Path, repeat: int) -> list[dict[str, Any]]:
    """A file of several records with one process and with two, side by side."""
    with tempfile.TemporaryDirectory() as folder:
        many = several(raw, Path(folder))
        rows = []
        for _ in range(repeat):
            wall = {}
            for cpus in (1, 2):
                start = time.perf_counter()
                process("nf_sp", many, "--cpus", str(cpus))
                wall[cpus] = time.perf_counter() - start
            rows.append(wall)
    one, two = (median(row[cpus] for row in rows) for cpus in (1, 2))
    return [{"records": RECORDS, "one_process_s": one, "two_processes_s": two, "ratio": median(row[1] / row[2] for row in rows)}]


def several(raw: Path, folder: Path) -> Path:
    """A raw file with the record of `raw` several times."""
    import h5py

    target = folder / raw.name
    shutil.copy(raw, target)
    with h5py.File(target, "r+") as file:
        (first,) = [name for name in file if name.startswith("TriggerRecord")]
        number = int(first.removeprefix("TriggerRecord").partition(".")[0])
        for offset in range(1, RECORDS):
            file.copy(first, f"TriggerRecord{number + offset:05d}.0000")
    return target


def start_s(statement: str, repeat: int) -> float:
    """Processor seconds of a fresh interpreter until `statement` is done."""
    script = f"import time; {statement}; print(time.process_time())"
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ONE_THREAD) for _ in range(repeat)
    ]
    return median(float(run.stdout) for run in runs)


def measure(repeat: int) -> dict[str, list[dict[str, Any]]]:
    raw = next((REFERENCE / "raw").glob("np04hd*.hdf5"))
    starts = {
        "interpreter": "pass",
        "noop chain": "import stages.job, stages.nf_sp.noop, stages.declare, stages.evaluate.stage, stages.dqm_upload.stage",
        "numpy payload": "import stages.job, stages.nf_sp.numpy_payload",
    }
    return {
        "two boards beside Wire-Cell": boards(),
        **apa(repeat),
        "start": [{"imports": name, "cpu_s": start_s(statement, max(repeat, 3))} for name, statement in starts.items()],
        "one record of one APA": process("all", raw),
        "scaling": scaling(raw, repeat),
        "noop": process("all", raw, "--payload", "noop"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    if not REFERENCE.is_dir():
        sys.exit("benchmarks.nf_sp: no reference data beside the repository")
    # The steps too are of one thread; NumPy reads this when it is imported.
    os.environ.update(ONE_THREAD)
    result = measure(options.repeat)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for title, rows in result.items():
        print(f"\n{title}")
        cells = [list(rows[0]), *([f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
