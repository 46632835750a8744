"""How well and how fast the NumPy payload works: `python -m benchmarks.nf_sp [--json] [--repeat N]`.

Needs the reference data beside the repository: one simulated ProtoDUNE-HD event of one APA (2560 channels x 5859 ticks) with the output of
the real Wire-Cell. Processor seconds are of one thread; medians over the repetitions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

REFERENCE = Path(__file__).parents[2] / "shared" / "data"
GAIN_MV_PER_FC = 14.0
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def agreement_and_steps(repeat: int) -> dict[str, list[dict[str, Any]]]:
    """Process the event; compare with Wire-Cell plane by plane, and time the steps."""
    import numpy as np

    from stages.frames import FrameHeader, FrameKey, FrameWriter
    from stages.nf_sp import charge, coherent, deconvolution, pedestal
    from stages.nf_sp.geometry import geometry_of
    from stages.nf_sp.performance import Stopwatch

    with np.load(REFERENCE / "nfsp" / "evt1_raw512_14mVfC.npz") as file:
        adc, channels = file["adc"].astype(np.uint16), file["channels"].astype(np.int32)
    with np.load(REFERENCE / "nfsp" / "evt1_wct_sp.npz") as file:
        wire_cell = file["gauss1"].astype(np.float32)
    geometry = geometry_of("pdhd", "P02NL", channels)
    on = deconvolution.grid(adc.shape[1], 512.0)
    header = FrameHeader(FrameKey("gauss1", 1), channels, on.n_out, 0.0, 500.0)
    electrons = np.empty((len(channels), on.n_out), np.float32)
    times = []
    for _ in range(repeat):
        watch = Stopwatch()
        with watch.step("pedestal"):
            pedestals, samples = pedestal.measure(adc, None)
        usable = pedestal.classify(pedestals, GAIN_MV_PER_FC).good & ~geometry.listed_bad
        samples[~usable] = 0
        before = samples.copy()
        with watch.step("coherent noise"):
            common = coherent.remove(samples, pedestals.sigma, usable, None, geometry.groups, GAIN_MV_PER_FC)
        for plane in geometry.planes:
            with watch.step(f"signal processing {plane.name}"):
                electrons[plane.rows] = charge.of_plane(samples[plane.rows], plane, on, GAIN_MV_PER_FC)
        with tempfile.TemporaryDirectory() as folder, FrameWriter(Path(folder) / "gauss.npz") as writer, watch.step("write"):
            writer.write(header, [electrons])
        times.append(watch.cpu_s)
    planes = []
    for plane in geometry.planes:
        ours, theirs = electrons[plane.rows], wire_cell[plane.rows]
        both = np.count_nonzero((ours > 0) & (theirs > 0))
        groups = [
            measured for group, measured in zip(geometry.groups, common, strict=True) if plane.rows.start <= group[0] < plane.rows.stop
        ]
        planes.append(
            {
                "plane": plane.name,
                "correlation": float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]),
                "charge_ratio": float(ours.sum(dtype=float) / theirs.sum(dtype=float)),
                "covered": float(both / np.count_nonzero(theirs)),
                "confirmed": float(both / np.count_nonzero(ours)),
                "rms_before": half_width(before[plane.rows]),
                "rms_after": half_width(samples[plane.rows]),
                "coherent_before": float(np.mean([measured.rms_before for measured in groups])),
                "coherent_after": float(np.mean([measured.rms_after for measured in groups])),
            }
        )
    steps = [{"step": name, "cpu_s": median(one[name] for one in times)} for name in times[0]]
    return {"agreement": planes, "steps": [*steps, {"step": "all", "cpu_s": sum(row["cpu_s"] for row in steps)}]}


def half_width(samples: Any) -> float:
    """Median over channels of half the distance between the 16 % and the 84 % point, in ADC."""
    import numpy as np

    low, high = np.quantile(samples[::8], (0.158655, 0.841345), axis=1)
    return float(np.median((high - low) / 2))


def process(stages: str, raw: Path, *options: str) -> list[dict[str, Any]]:
    """Stages in a process of their own, as a job runs them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dune_prompt", "stage", "run", stages, "--input", str(raw), "--output", folder, "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=ONE_THREAD)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return [{key: row[key] for key in ("stage", "wall_s", "cpu_s", "peak_mb", "output_mb")} for row in rows]


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
    return agreement_and_steps(repeat) | {
        "start": [{"imports": name, "cpu_s": start_s(statement, max(repeat, 3))} for name, statement in starts.items()],
        "one record of one APA": process("all", raw),
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
        cells = [list(rows[0]), *([f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
