"""How fast open inputs are found: `python -m benchmarks.draining [--json] [--files N] [--repeat N]`.

In the embedded catalogue with a million raw files in 100 runs, 99 of 100 with their final child; in MetaCat (the test server on this
machine) with one run of 12,000 files, half of them done. Then what the engine's step does with it: making tasks, and finding the places of
200 inputs in the buffer. Medians over the repetitions, in milliseconds: of processor time where all is done by this process, else as the
clock goes.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from campaign.draining.answers import Answer, Health, Key
from campaign.draining.datasets import Drainer
from campaign.engine.intake import DATASET_FILES_A_STEP, Intake
from campaign.inputs import InputFinder
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import task_table
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.catalogs.metacat import MetacatCatalog
from dune_prompt.records import FileRecord, MadeBy
from dune_prompt.settings.catalogs import MetacatSettings
from tests.campaign.draining.installation import NOW, Small, raw
from tests.servers.metacat import MetacatServer
from tests.servers.postgres import Postgres

MADE_BY = MadeBy("pdhd-prompt", "v1", "evaluate")
NAMESPACE, RUNS, OPEN_EVERY = "hd-protodune", 100, 100
PATTERN = f"{NAMESPACE}:{NAMESPACE}_*"
METADATA = {
    "core.runs": [28000],
    "core.run_type": NAMESPACE,
    "core.data_tier": "raw",
    "core.data_stream": "physics",
    "core.file_format": "hdf5",
    "core.start_time": 1718795010.0,
    "core.end_time": 1718795052.0,
    "core.event_count": 40,
    "core.events": list(range(1, 1281, 32)),
}


def fill_embedded(path: Path, files: int) -> None:
    """`files` raw files in RUNS runs, and a final child of all but one in OPEN_EVERY; in bulk, past the catalogue's own checks."""
    EmbeddedCatalog.at(path).close()
    per_run, metadata = files // RUNS, json.dumps(METADATA)
    with closing(sqlite3.connect(path)) as database, database:
        runs = [(run + 1, f"{NAMESPACE}:{NAMESPACE}_{28000 + run}") for run in range(RUNS)]
        database.executemany("INSERT INTO dataset (id, did) VALUES (?, ?)", [*runs, (RUNS + 1, "reco:evaluated")])
        rows = ((i + 1, f"{NAMESPACE}:np04hd_raw_run{28000 + i // per_run:06d}_{i % per_run:05d}.hdf5", metadata) for i in range(files))
        columns = "id, did, size_bytes, adler32, retired, campaign, version, stage, metadata, declared_at"
        database.executemany(f"INSERT INTO file ({columns}) VALUES (?, ?, 4e9, '00000001', 0, NULL, NULL, NULL, ?, 1.7e9)", rows)
        database.execute("INSERT INTO member SELECT (id - 1) / ? + 1, id FROM file", (per_run,))
        made = "SELECT id + ?, did || '_metrics', 10, '00000001', 0, ?, ?, ?, '{}', 1.7e9 FROM file WHERE id % ? <> 0"
        database.execute(f"INSERT INTO file ({columns}) {made}", (files, MADE_BY.campaign, MADE_BY.version, MADE_BY.stage, OPEN_EVERY))
        database.execute("INSERT INTO parent SELECT id - ?, id FROM file WHERE id > ?", (files, files))
        database.execute("INSERT INTO member SELECT ?, id FROM file WHERE id > ?", (RUNS + 1, files))


def embedded(files: int, repeat: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.sqlite"
        fill_embedded(path, files)
        with closing(EmbeddedCatalog.at(path)) as catalog, closing(EmbeddedCatalog.at(path)) as others:
            marks: dict[str, str] = {}

            def look(*, anew: bool = False) -> int:
                found = 0
                for dataset in catalog.datasets(PATTERN):
                    left = catalog.left(dataset, MADE_BY, None if anew else marks.get(dataset))
                    if left is not None:
                        marks[dataset], found = left.mark, found + len(left.dids)
                return found

            return {
                "all runs": timed(lambda: look(anew=True), repeat, expect=files // OPEN_EVERY),
                "nothing changed": timed(look, repeat, expect=0),
                "one run grown by 10": timed(
                    look, repeat, expect=10, before=lambda number: others.declare(joined(10, number), f"{NAMESPACE}:{NAMESPACE}_28050")
                ),
            }


@contextmanager
def metacat() -> Iterator[tuple[MetacatServer, MetacatCatalog]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Postgres(folder / "postgres") as postgres, MetacatServer(folder / "metacat", postgres) as server:
            server.add_user("dunepro")
            server.add_namespace(NAMESPACE, owner="dunepro")
            token = folder / "token"
            token.write_text(server.token("dunepro"))
            values = {"kind": "metacat", "url": server.url, "auth_url": server.auth_url, "auth": "token", "user": "dunepro"}
            with closing(MetacatCatalog.open(MetacatSettings.model_validate(values | {"token_file": token}))) as catalog:
                yield server, catalog


def of_metacat(files: int, repeat: int) -> dict[str, float]:
    with metacat() as (server, catalog):
        run, evaluated = f"{NAMESPACE}:{NAMESPACE}_28049", f"{NAMESPACE}:evaluated"
        for did in (run, evaluated):
            server.add_dataset(did)
        records = joined(files, 0)
        for start in range(0, files, 500):
            catalog.declare(records[start : start + 500], run)
            catalog.declare([child(record) for record in records[start : start + 500 : 2]], evaluated)
        # Not a run of the last minutes.
        server.execute("UPDATE files SET created_timestamp = created_timestamp - interval '1 day'")
        server.execute("ANALYZE")
        marks: dict[str, str | None] = {run: None}

        def look(mark: str | None) -> int:
            left = catalog.left(run, MADE_BY, mark)
            if left is not None:
                marks[run] = left.mark
            return len(left.dids) if left is not None else 0

        clock = time.perf_counter
        return {
            "one run, all of it": timed(lambda: look(None), repeat, expect=files // 2, clock=clock),
            "nothing changed": timed(lambda: look(marks[run]), repeat, expect=0, clock=clock),
            "grown by 10": timed(
                lambda: look(marks[run]), repeat, before=lambda number: catalog.declare(joined(10, number + 1), run), clock=clock
            ),
        }


class _Nobody:
    """Nobody is asked what is done."""

    def of(self, campaign: Any, dids: Any, patience_s: float = 0.0) -> Answer:
        return Answer()

    def late(self) -> set[Key]:
        return set()

    def health(self) -> Health:
        return Health("none")


def of_step(repeat: int) -> dict[str, float]:
    """What the engine's step does with findings, and for the inputs of 200 tasks."""
    with tempfile.TemporaryDirectory() as folder:
        small = Small.at(Path(folder), inputs="{datasets: ['hd-protodune:run_*']}")
        records = [raw(index) for index in range(repeat * DATASET_FILES_A_STEP)]
        for start in range(0, len(records), 500):
            small.declare(records[start : start + 500], "hd-protodune:run_1")
        drainer = Drainer(small.installation.store, small.installation.campaigns)
        while drainer.next() is None:
            drainer.work(small.embedded)
        idle = Drainer(small.installation.store, {})
        idle.next, idle.taken = drainer.next, drainer.taken  # type: ignore[method-assign]
        intake = Intake(small.installation, small.write, answers=_Nobody(), drainer=idle)
        taking = timed(lambda: intake.take_in(NOW), repeat, expect=DATASET_FILES_A_STEP)
        small.journal(200, run=2)
        intake.take_in(NOW)
        with small.installation.store.read() as connection:
            tasks = ledger_tasks.select(connection, task_table.c.run == 2)
            finder = InputFinder(small.installation, small.write)
            finding = timed(lambda: len(finder.places(connection, tasks)), repeat, expect=200)
        finder.close()
        small.close()
        return {f"{DATASET_FILES_A_STEP} files taken in": taking, "places of 200 inputs in the buffer": finding}


def joined(count: int, number: int) -> list[FileRecord]:
    """New raw files, others for each number."""
    names = (f"np04hd_raw_run028049_{number:02d}{index:05d}.hdf5" for index in range(count))
    return [FileRecord(NAMESPACE, name, 4 * 10**9, "00000001", METADATA) for name in names]


def child(of: FileRecord) -> FileRecord:
    made = {"dune.campaign": MADE_BY.campaign, "core.application.version": MADE_BY.version, "core.application.name": MADE_BY.stage}
    return FileRecord(NAMESPACE, f"{of.name}_metrics", 10, "00000002", made, (of.did,))


def timed(
    what: Callable[[], int],
    repeat: int,
    *,
    expect: int | None = None,
    before: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """The median time of `what` in milliseconds, each after `before(number of the repetition)`.

    Raises:
        RuntimeError: it did not find what was there.
    """
    times = []
    for number in range(repeat):
        if before is not None:
            before(number)
        began = clock()
        found = what()
        times.append(1000 * (clock() - began))
        if expect is not None and found != expect:
            raise RuntimeError(f"found {found}, there are {expect}")
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--files", type=int, default=1_000_000, help="raw files in the embedded catalogue")
    parser.add_argument("--run", type=int, default=12_000, help="files of the run in MetaCat")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    result = {
        f"embedded, {options.files:,} raw files": embedded(options.files, options.repeat),
        f"MetaCat, a run of {options.run:,} files": of_metacat(options.run, options.repeat),
        "the engine's step": of_step(options.repeat),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, values in result.items():
        print(name)
        for key, value in values.items():
            print(f"  {key:38} {value:8.1f} ms")


if __name__ == "__main__":
    main()
