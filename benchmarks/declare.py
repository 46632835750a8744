"""How fast files are declared: `python -m benchmarks.declare [--json] [--repeat N]`.

Raw files of 4 kB, in the embedded catalogue and in SAM, MetaCat and Rucio as servers of this machine (those of the tests). Files lie in
memory (/dev/shm) where there is such a thing, so that the processor is measured, not the disk. Processor times are of the whole process,
medians over the repetitions.
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
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from statistics import median

import sqlalchemy as sa

from declare_daemon.catalogs import open_catalogs
from declare_daemon.daemon import Daemon
from declare_daemon.journal.rows import batches
from declare_daemon.journal.tables import file_table
from declare_daemon.scanner import Scanner
from dune_prompt.checksum import adler32_of
from dune_prompt.settings import Site, load_site
from dune_prompt.store import Store, open_store
from tests.servers.catalogues import Catalogues

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
def installation(catalogs: str = "") -> Iterator[Path]:
    """The site file of an empty installation."""
    with memory_folder() as folder:
        (folder / "buffer").mkdir()
        (folder / "buffer" / ".buffer").touch()
        site_file = folder / "site.yaml"
        site_file.write_text(SITE + catalogs)
        yield site_file


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A new folder in memory, where there is such a thing."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


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


def throughput(files: int, catalogs: str = "", first: int = 0) -> dict[str, float]:
    """`files` files that are there already, found, verified and declared in one go."""
    with installation(catalogs) as site_file:
        site = load_site(site_file)
        for index in range(first, first + files):
            close_file(Path(site.buffer.path), index)
        with (
            closing(open_store(site.store_url)) as store,
            closing(open_catalogs(site)) as opened,
            closing(Daemon(site, store, opened)) as daemon,
        ):
            wall, cpu = time.perf_counter(), time.process_time()
            daemon.once(0.1)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            with store.read() as connection:
                declared = connection.execute(sa.select(sa.func.count()).where(file_table.c.state == "declared")).scalar_one()
    if declared != files:
        raise SystemExit(f"{declared} of {files} files declared")
    return {"files_per_s": files / wall, "cpu_ms_per_file": 1000 * cpu / files}


def real_catalogs(files: int, repeat: int) -> dict[str, dict[str, float]]:
    """With SAM, MetaCat and Rucio as servers of this machine, copies made and verified; `server_cpu_ms_per_file` is theirs."""
    found: dict[str, dict[str, float]] = {}
    numbers = count(0, files)
    with memory_folder() as folder, Catalogues(folder) as servers:
        for name, catalogs in (
            (f"{files} files into SAM, MetaCat, Rucio, with copy", servers.site_catalogs(direct=True)),
            (f"{files} files into SAM and MetaCat", _without_rucio(servers.site_catalogs(direct=True))),
        ):
            runs = []
            for _ in range(repeat):
                before = _children_cpu_s()
                run = throughput(files, catalogs, next(numbers))
                run["server_cpu_ms_per_file"] = 1000 * (_children_cpu_s() - before) / files
                runs.append(run)
            found[name] = {key: median(run[key] for run in runs) for key in runs[0]}
        found["closed to declared in all three, 1 s interval"] = latency(30, 1.0, servers.site_catalogs(direct=True), next(numbers))
    with memory_folder() as folder, Catalogues(folder, delay_s=0.06) as servers:
        far = throughput(500, servers.site_catalogs())
        # The proxies run in the same process: its processor time says nothing of the daemon.
        found["500 files, 120 ms round trip to each catalogue"] = {"files_per_s": far["files_per_s"]}
    return found


def _without_rucio(catalogs: str) -> str:
    return "".join(line for line in catalogs.splitlines(keepends=True) if "kind: rucio" not in line)


def _children_cpu_s() -> float:
    """Processor time of all processes that descend from this one, ended ones left out."""
    parents, times = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)], times[int(entry.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    mine, ticks = {os.getpid()}, 0
    while new := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= new
        ticks += sum(times[pid] for pid in new)
    return ticks / os.sysconf("SC_CLK_TCK")


def checksum(size_bytes: int) -> dict[str, float]:
    """Adler-32 of a file in memory, by processor time, beside zlib's."""
    with memory_folder() as folder:
        path = folder / "file"
        with path.open("wb") as file:
            block = os.urandom(1 << 20)
            for _ in range(size_bytes >> 20):
                file.write(block)
        adler32_of(path)  # the first look at each page costs as much again
        began = time.process_time()
        adler32_of(path)
        ours = time.process_time() - began
        began, value = time.process_time(), 1
        with path.open("rb", buffering=0) as file:
            buffer = bytearray(1 << 20)
            while got := file.readinto(buffer):
                value = zlib.adler32(memoryview(buffer)[:got], value)
        plain = time.process_time() - began
    return {"GB_per_cpu_s": size_bytes / 1e9 / ours, "times_zlib": plain / ours}


def restart(files: int) -> dict[str, float]:
    """From the start of the process, with `files` files known, to the declaration of one that came meanwhile."""
    with installation() as site_file:
        site = load_site(site_file)
        _fill(site, files)
        close_file(Path(site.buffer.path), files)
        with closing(open_store(site.store_url)) as store:
            began = time.time()
            daemon = subprocess.Popen(_command(site_file, 1.0), stderr=subprocess.DEVNULL)
            try:
                query = sa.select(file_table.c.declared_at).where(file_table.c.name == name_of(files))
                declared = None
                while declared is None and time.time() < began + 60:
                    time.sleep(0.05)
                    with store.read() as connection:
                        declared = connection.execute(query).scalar_one_or_none()
            finally:
                daemon.terminate()
                daemon.wait()
    return {"first_declaration_s": (declared or float("inf")) - began}


def scan(files: int, repeat: int) -> dict[str, float]:
    """One scan of a buffer with `files` known files and their sidecars."""
    with installation() as site_file:
        site = load_site(site_file)
        known = {name_of(index) for index in range(files)}
        buffer = Path(site.buffer.path)
        for name in known:
            (buffer / name).touch()
            (buffer / f"{name}.json").touch()
        scanner = Scanner(site.buffer.path, site.buffer.sentinel, site.streams)
        times = []
        for _ in range(repeat + 1):
            began = time.process_time()
            found = scanner.scan(lambda: known)
            times.append(1000 * (time.process_time() - began))
            scanner.accept(found)
    return {"first_cpu_ms": times[0], "cpu_ms": median(times[1:])}


def latency(files: int, interval_s: float, catalogs: str = "", first: int = 0) -> dict[str, float]:
    """From the sidecar's appearance to the declared state, with the daemon as a process of its own."""
    with installation(catalogs) as site_file:
        site = load_site(site_file)
        with closing(open_store(site.store_url)) as store:
            daemon = subprocess.Popen(_command(site_file, interval_s), stderr=subprocess.DEVNULL)
            try:
                time.sleep(4.0)
                for index in range(first, first + files):
                    close_file(Path(site.buffer.path), index)
                    time.sleep(random.uniform(0.5, 1.5) * interval_s)
                _wait_for(store, files)
            finally:
                daemon.terminate()
                daemon.wait()
            c = file_table.c
            with store.read() as connection:
                rows = connection.execute(sa.select(c.closed_at, c.declared_at).where(c.state == "declared")).all()
    if len(rows) != files:
        raise SystemExit(f"{len(rows)} of {files} files declared")
    waits = sorted(row.declared_at - row.closed_at for row in rows)
    return {"p50_s": median(waits), "p95_s": waits[int(0.95 * (len(waits) - 1))], "max_s": waits[-1]}


def _wait_for(store: Store, files: int) -> None:
    """Return when so many files are declared, or after half a minute."""
    end = time.monotonic() + 30
    query = sa.select(sa.func.count()).where(file_table.c.state == "declared")
    declared = 0
    while declared < files and time.monotonic() < end:
        time.sleep(0.1)
        with store.read() as connection:
            declared = connection.execute(query).scalar_one()


def _command(site_file: Path, interval_s: float) -> list[str]:
    code = "from dune_prompt.cli import main; main()"
    return [sys.executable, "-c", code, "declare", "run", "--site", str(site_file), "--interval", str(interval_s)]


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
                (Path(site.buffer.path) / name).touch()
                (Path(site.buffer.path) / f"{name}.json").touch()


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
        **real_catalogs(2000, options.repeat),
        "adler32 of a cached 4 GiB file": checksum(4 << 30),
        "restart with 100,000 files known": restart(100_000),
        "2,000 files into the embedded catalogue": {key: median(run[key] for run in runs) for key in runs[0]},
        "scan of 20,000 known files": scan(20_000, 5 * options.repeat),
        "closed to declared, 0.2 s interval": latency(40, 0.2),
        "100,000 files in the journal": memory(100_000),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, values in result.items():
        print(f"{name:52}", "  ".join(f"{key} {value:.3g}" for key, value in values.items()))


if __name__ == "__main__":
    main()
