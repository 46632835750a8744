"""How fast files are declared: `python -m benchmarks.declare [--json] [--repeat N]`.

Raw files of 4 kB in the embedded catalogue. Files lie in memory (/dev/shm) where there is such a thing, so that the processor is measured,
not the disk. Processor times are of the whole process, medians over the repetitions.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

import sqlalchemy as sa

from declare_daemon.catalogs import open_catalogs
from declare_daemon.daemon import Daemon
from declare_daemon.journal.files import batches
from declare_daemon.journal.tables import file_table
from declare_daemon.scanner import Scanner
from dune_prompt.settings import Site, load_site
from dune_prompt.store import open_store

SITE = """
site: speed
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "np04hd_raw_run*.hdf5", where: {dune.daq_test: false}, process: true}
  - {name: daq_test, pattern: "np04hd_raw_run*.hdf5", where: {dune.daq_test: true}}
  - {name: trigprim, pattern: "np04hd_tp_run*.hdf5"}
"""
SIZE_BYTES = 4096
METADATA = {
    "core.data_stream": "cosmics",
    "core.data_tier": "raw",
    "core.end_time": 1718795052.0,
    "core.event_count": 40,
    "core.events": list(range(1, 1281, 32)),
    "core.file_format": "hdf5",
    "core.file_type": "detector",
    "core.first_event_number": 1,
    "core.last_event_number": 1249,
    "core.run_type": "hd-protodune",
    "core.runs": [28049],
    "core.runs_subruns": [2804900001],
    "core.start_time": 1718795010.0,
    "dune.daq_test": "False",
}


@contextmanager
def installation() -> Iterator[Path]:
    """The site file of an empty installation."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        (Path(folder) / "buffer").mkdir()
        (Path(folder) / "buffer" / ".buffer").touch()
        site_file = Path(folder) / "site.yaml"
        site_file.write_text(SITE)
        yield site_file


def name_of(index: int) -> str:
    return f"np04hd_raw_run028049_{index:06d}_dataflow{index % 8}_datawriter_0_20240718T054941.hdf5"


def close_file(buffer: Path, index: int) -> None:
    """The data acquisition closes a file: data first, then the sidecar in one step."""
    name, data = name_of(index), os.urandom(SIZE_BYTES)
    (buffer / name).write_bytes(data)
    checksums = {"adler32": f"{zlib.adler32(data):08x}"}
    sidecar = {"name": name, "namespace": "hd-protodune", "size": SIZE_BYTES, "checksums": checksums, "metadata": METADATA}
    draft = buffer / f"{name}.json.tmp"
    draft.write_text(json.dumps(sidecar))
    draft.rename(buffer / f"{name}.json")


def throughput(files: int) -> dict[str, float]:
    """`files` files that are there already, found, verified and declared in one go."""
    with installation() as site_file:
        site = load_site(site_file)
        for index in range(files):
            close_file(site.buffer.path, index)
        with (
            closing(open_store(site.store_url)) as store,
            closing(open_catalogs(site)) as catalogs,
            closing(Daemon(site, store, catalogs)) as daemon,
        ):
            wall, cpu = time.perf_counter(), time.process_time()
            daemon.once(0.1)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            with store.read() as connection:
                declared = connection.execute(sa.select(sa.func.count()).where(file_table.c.state == "declared")).scalar_one()
    if declared != files:
        raise SystemExit(f"{declared} of {files} files declared")
    return {"files_per_s": files / wall, "cpu_ms_per_file": 1000 * cpu / files}


def scan(files: int, repeat: int) -> dict[str, float]:
    """One scan of a buffer with `files` known files and their sidecars."""
    with installation() as site_file:
        site = load_site(site_file)
        known = {name_of(index) for index in range(files)}
        for name in known:
            (site.buffer.path / name).touch()
            (site.buffer.path / f"{name}.json").touch()
        scanner = Scanner(site.buffer.path, site.buffer.sentinel, site.streams)
        times = []
        for _ in range(repeat + 1):
            began = time.process_time()
            found = scanner.scan(lambda: known)
            times.append(1000 * (time.process_time() - began))
            scanner.accept(found)
    return {"first_cpu_ms": times[0], "cpu_ms": median(times[1:])}


def latency(files: int, interval_s: float) -> dict[str, float]:
    """From the sidecar's appearance to the declared state, with the daemon as a process of its own."""
    with installation() as site_file:
        site = load_site(site_file)
        code = "from dune_prompt.cli import main; main()"
        command = [sys.executable, "-c", code, "declare", "run", "--site", str(site_file), "--interval", str(interval_s)]
        with closing(open_store(site.store_url)) as store:
            daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            try:
                time.sleep(2.0)
                for index in range(files):
                    close_file(site.buffer.path, index)
                    time.sleep(random.uniform(0.5, 1.5) * interval_s)
                time.sleep(2.0)
            finally:
                daemon.terminate()
                daemon.wait()
            c = file_table.c
            with store.read() as connection:
                rows = connection.execute(sa.select(c.closed_at, c.declared_at).where(c.state == "declared")).all()
    if len(rows) != files:
        raise SystemExit(f"{len(rows)} of {files} files declared")
    waits = sorted(row.declared_at - row.closed_at for row in rows)
    return {"p50_s": median(waits), "p95_s": waits[int(0.95 * (len(waits) - 1))]}


def memory(files: int) -> dict[str, float]:
    """Resident memory of a daemon with `files` declared files in journal and buffer, in a process of its own."""
    with installation() as site_file:
        site = load_site(site_file)
        _fill(site, files)
        code = "import sys, time; from pathlib import Path; from benchmarks.declare import idle_daemon; idle_daemon(Path(sys.argv[1]))"
        output = subprocess.run([sys.executable, "-c", code, str(site_file)], check=True, capture_output=True, text=True).stdout
    before, after, step_ms = (float(value) for value in output.split())
    return {"rss_before_mb": before, "rss_after_mb": after, "idle_step_cpu_ms": step_ms}


def _fill(site: Site, files: int) -> None:
    row = {"origin": "buffer", "state": "declared", "stream": "physics", "size_bytes": SIZE_BYTES, "found_at": 0.0, "metadata": METADATA}
    with closing(open_store(site.store_url)) as store:
        for batch in batches(range(files), 5000):
            with store.write() as connection:
                names = [name_of(index) for index in batch]
                rows = [row | {"name": name, "path": f"{site.buffer.path}/{name}", "did": f"hd-protodune:{name}"} for name in names]
                connection.execute(sa.insert(file_table), rows)
            for name in names:
                (site.buffer.path / name).touch()
                (site.buffer.path / f"{name}.json").touch()


def idle_daemon(site_file: Path) -> None:
    """Print resident memory before and after five idle steps in MB, and the processor time of the last step in ms."""
    site = load_site(site_file)
    with (
        closing(open_store(site.store_url)) as store,
        closing(open_catalogs(site)) as catalogs,
        closing(Daemon(site, store, catalogs)) as daemon,
    ):
        before = _rss_mb()
        for _ in range(5):
            began = time.process_time()
            daemon.step()
        print(before, _rss_mb(), 1000 * (time.process_time() - began))


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    runs = [throughput(2000) for _ in range(options.repeat)]
    result = {
        "2,000 files at once": {key: median(run[key] for run in runs) for key in runs[0]},
        "scan of 20,000 known files": scan(20_000, 5 * options.repeat),
        "closed to declared, 0.2 s interval": latency(40, 0.2),
        "100,000 files in the journal": memory(100_000),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, values in result.items():
        print(f"{name:36}", "  ".join(f"{key} {value:.3g}" for key, value in values.items()))


if __name__ == "__main__":
    main()
