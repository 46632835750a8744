"""How fast raw files are read and made: `python -m benchmarks.rawdata [--json] [--repeat N]`.

Files lie in memory (/dev/shm) where there is such a thing, so that the processor is measured, not the disk. Processor times are of one
thread, medians over the repetitions; reading is from the file to the array: open, find the datasets, read, unpack, put in offline order.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from stages.rawdata import RawFile
from stages.rawdata.channel_map import DEFAULT_MAP, channel_map
from stages.rawdata.generator import RunSpec, generate_file
from stages.rawdata.writer import FileSpec, RecordContent, write_raw_file

FIRST = 107424688437500000
READ_ALL = """
import sys
from pathlib import Path
from stages.rawdata import RawFile
def peak_kb():  # of this process alone; getrusage starts with the parent's
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
before = peak_kb()
with RawFile.open(Path(sys.argv[1])) as raw:
    for record in raw.records:
        for element in raw.elements(record):
            raw.block(record, element)
print(before, peak_kb())
"""


def processor_ms(action: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        started = time.process_time()
        action()
        times.append(time.process_time() - started)
    return 1000 * median(times)


def write_random(folder: Path, detector: str, elements: list[str], frames: int, records: int = 1) -> Path:
    """A file of random ADC values."""
    channels = channel_map(DEFAULT_MAP[detector])
    random = np.random.default_rng(1)
    adc = {name: random.integers(0, 1 << 14, (channels.element(name).n_channels, 64 * frames), dtype=np.uint16) for name in elements}
    environment = {"pdhd": "np04hd", "pdvd": "np02vd"}[detector]
    path = folder / f"{'_'.join(elements)}_{frames}_{records}.hdf5"
    contents = (RecordContent(number, FIRST, FIRST, adc) for number in range(1, records + 1))
    write_raw_file(path, FileSpec(detector, 1, 0, 0, 1, operational_environment=environment), contents)
    return path


def read(path: Path, element: str) -> np.ndarray:
    with RawFile.open(path) as raw:
        return raw.block(raw.records[0], element).adc


def reading(folder: Path, repeat: int) -> list[dict[str, Any]]:
    rows = []
    for what, detector, element, frames in (
        ("HD APA, 40 WIBEth fragments", "pdhd", "P02SU", 128),
        ("HD APA, 40 WIBEth fragments", "pdhd", "P02SU", 93),
        ("VD lower CRP, 48 WIBEth fragments", "pdvd", "CRP4", 154),
        ("VD upper CRP, 48 TDEEth fragments", "pdvd", "CRP2", 158),
    ):
        path = write_random(folder, detector, [element], frames)
        samples = read(path, element).size
        cpu_ms = processor_ms(lambda path=path, element=element: read(path, element), repeat)
        rows.append({"read": what, "frames": frames, "Msamples": samples / 1e6, "CPU ms": cpu_ms, "Msamples/s": samples / cpu_ms / 1e3})
        path.unlink()
    return rows


def checking(folder: Path, repeat: int) -> list[dict[str, Any]]:
    path = write_random(folder, "pdhd", ["P02SU", "P02NL", "P01SU", "P01NL"], 93)

    def check() -> None:
        with RawFile.open(path) as raw:
            raw.problems(raw.records[0])

    rows = [{"check (info)": "HD record, 4 APAs of 93 frames", "MB": path.stat().st_size / 1e6, "CPU ms": processor_ms(check, repeat)}]
    path.unlink()
    return rows


def making(folder: Path, repeat: int) -> list[dict[str, Any]]:
    rows = []
    for what, spec in (
        ("HD record, 1 APA of 93 frames", RunSpec(frames=93)),
        ("HD record, 4 APAs of 93 frames", RunSpec(frames=93, elements=4)),
        ("HD record, 1 APA of 4 frames", RunSpec(frames=4)),
    ):

        def make(spec: RunSpec = spec) -> Path:
            return generate_file(folder, spec, 0, now=1.7e9)

        size = make().stat().st_size
        rows.append({"make, with sidecar": what, "MB": size / 1e6, "CPU ms": processor_ms(make, max(3, repeat // 5))})
    return rows


def memory(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for records in (1, 5):
        path = write_random(folder, "pdhd", ["P02SU", "P01NL"], 128, records)
        size = path.stat().st_size
        output = subprocess.run([sys.executable, "-c", READ_ALL, str(path)], check=True, capture_output=True, text=True).stdout
        before, after = (int(text) * 1024 / 1e6 for text in output.split())
        block = 2560 * 128 * 64 * 2 / 1e6
        rows.append({"memory to read": f"{records} records of 2 APAs", "MB": size / 1e6, "one APA MB": block, "added MB": after - before})
        path.unlink()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeat", type=int, default=21)
    options = parser.parse_args()
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as name:
        folder = Path(name)
        tables = {
            "reading": reading(folder, options.repeat),
            "checking": checking(folder, options.repeat),
            "making": making(folder, options.repeat),
            "memory": memory(folder),
        }
    if options.json:
        print(json.dumps(tables, indent=1))
        return
    for rows in tables.values():
        width = max(len(str(next(iter(row.values())))) for row in rows)
        names = list(rows[0])
        print("  ".join([names[0].ljust(width), *(name.rjust(10) for name in names[1:])]))
        for row in rows:
            cells = [f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()]
            print("  ".join([cells[0].ljust(width), *(cell.rjust(10) for cell in cells[1:])]))
        print()


if __name__ == "__main__":
    main()
