"""The simulated data acquisition: `python -m dune_prompt.cli.demo.daq WORKSPACE FILES RATE FAULTS` writes raw files into the buffer.

One APA and two trigger records a file. With faults, every tenth file (the fourth is the first) is bad, each in another way.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dune_prompt.cli.demo.workspace import DemoFolder, Written
from dune_prompt.records import SIDECAR_SUFFIX, write_json
from stages.rawdata.faults import FAULTS
from stages.rawdata.generator import RunSpec, generate_file

RUN = 28100
EVERY, FIRST_BAD = 10, 3


def _wrong_checksum(path: Path, sidecar: Path) -> Path:
    content = json.loads(sidecar.read_bytes())
    content["checksums"]["adler32"] = f"{int(content['checksums']['adler32'], 16) ^ 1:08x}"
    write_json(sidecar, content)
    return path


def _half_a_sidecar(path: Path, sidecar: Path) -> Path:
    text = sidecar.read_bytes()
    sidecar.write_bytes(text[: len(text) // 2])
    return path


def _no_stream(path: Path, sidecar: Path) -> Path:
    stray = path.with_name(path.name.replace("np04hd_raw", "np04hd_xyz"))
    path.rename(stray)
    sidecar.rename(stray.with_name(stray.name + SIDECAR_SUFFIX))
    return stray


# Faults of what comes with the data; those of the data themselves are the generator's.
AROUND: dict[str, Callable[[Path, Path], Path]] = {
    "wrong_checksum": _wrong_checksum,
    "half_a_sidecar": _half_a_sidecar,
    "no_stream": _no_stream,
}
KINDS = ("truncated", "missing_fragment", "wrong_checksum", "bad_marker", "half_a_sidecar", "no_stream", "short_fragment", *FAULTS)


def fault_of(index: int) -> str | None:
    """The fault of file `index`, None for the nine good ones of ten."""
    if index % EVERY != FIRST_BAD:
        return None
    kinds = tuple(dict.fromkeys(KINDS))
    return kinds[index // EVERY % len(kinds)]


def write(folder: DemoFolder, index: int, fault: str | None, now: Callable[[], float]) -> Written:
    """Write file `index` beside the buffer, spoil it, and let it appear: data first, then its sidecar."""
    staging = folder.root / "daq"
    staging.mkdir(exist_ok=True)
    spec = RunSpec(run=RUN, records=2, elements=("P02NL",))
    path = generate_file(staging, spec, index, fault=fault if fault in FAULTS else None, now=now())
    sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
    if fault in AROUND:
        path = AROUND[fault](path, sidecar)
        sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
    path.rename(folder.buffer / path.name)
    item = Written(path.name, fault, now())
    folder.note(item)
    sidecar.touch()
    sidecar.rename(folder.buffer / sidecar.name)
    return item


def main(argv: list[str]) -> None:
    root, files, rate_hz, faults = argv
    folder = DemoFolder(Path(root))
    first = len(folder.written())
    begin = time.monotonic()
    for index in range(first, first + int(files)):
        write(folder, index, fault_of(index) if faults == "faults" else None, time.time)
        time.sleep(max(0.0, begin + (index - first + 1) / float(rate_hz) - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1:])
