"""A large ledger: a million tasks, two thousand runs with data quality, one run of 12,000 files; rows as engine and daemon write them."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, campaign_table, commit_table, count_table, slice_table, task_table
from dashboard.dqm.metrics import ELEMENTS, Group
from dashboard.dqm.record import read_record
from dashboard.dqm.scalars import PLANES, SCALARS, pack
from dashboard.dqm.tables import result_table, run_element_table, run_table
from dashboard.operations.tables import sample_table
from dashboard.quality.limits import ensure
from dashboard.quality.tables import verdict_table
from declare_daemon.journal.tables import file_table
from dune_prompt.store import Store, event_table
from tests.dashboard.records import make_record

CAMPAIGN, VERSION = "pdhd-prompt", "v1"
FIRST_RUN = 27000
LONG_RUN_FILES = 12_000
SECONDS_A_FILE = 2.0
A_TIME = 20_000
# Files before these have left the dashboard: their runs are kept as roll-ups.
JUDGED_FILES = 200_000
CHANNELS_OF_A_PLANE = 853  # 10,236 channels in four elements with three planes

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Extent:
    """What was filled in: `newest` is the run that goes on, `long` one of 12,000 files."""

    tasks: int
    runs: int
    newest: int
    long: int
    some_did: str


def fill(store: Store, workspace: Path, tasks: int, runs: int, now: float) -> Extent:
    """Fill an empty store. All but the last hundred files are done, 1 % failed once, 0.3 % are judged bad."""
    rng = random.Random(1)
    record = make_record(channels=CHANNELS_OF_A_PLANE, elements=4)
    folder = workspace / "dqm" / "benchmark"
    folder.mkdir(parents=True)
    text = json.dumps(record)
    (folder / "record.json").write_text(text)
    block = np.frombuffer(pack(read_record(text.encode())), np.float32)
    with store.write() as connection:
        campaign = {"id": 1, "name": CAMPAIGN, "version": VERSION, "stream": "physics", "detector": "pdhd", "layout": "fused"}
        more = {"required": True, "file_hash": "", "content": {}, "first_seen": 0.0}
        connection.execute(sa.insert(campaign_table).values(campaign | more))
        connection.execute(sa.insert(slice_table).values(id="0" * 26, campaign_id=1, step="chain", launcher="local", created_at=now))
        ensure(connection, now)
    places = list(_places(tasks, runs))
    counts: Counter[tuple[int, str]] = Counter()
    for first in range(0, tasks, A_TIME):
        _write(store, _files(places, first, min(first + A_TIME, tasks), block, rng, now, counts))
    _write(store, _of_runs(places, counts, block, rng, now))
    newest = places[-1][0]
    return Extent(tasks, runs, newest, newest - 1, f"hd-protodune:{_name(*places[-500])}.hdf5")


def _places(tasks: int, runs: int) -> Iterator[tuple[int, int]]:
    """Run and index of each file: the last run but one is long, the others are alike."""
    others, left = divmod(tasks - LONG_RUN_FILES, runs - 1)
    for r in range(runs):
        files = LONG_RUN_FILES if r == runs - 2 else others + (left if r == 0 else 0)
        for index in range(files):
            yield FIRST_RUN + r, index


def _name(run: int, index: int) -> str:
    return f"np04hd_raw_run{run:06d}_{index:04d}_dataflow0_datawriter_0_20240619T110330"


def _files(
    places: list[tuple[int, int]], first: int, last: int, block: Any, rng: random.Random, now: float, counts: Counter[tuple[int, str]]
) -> Iterator[tuple[sa.Table, Row]]:
    for i in range(first, last):
        run, index = places[i]
        closed = now - (len(places) - i) * SECONDS_A_FILE
        state = "done" if i < len(places) - 100 else rng.choice(["ready", "running", "reported", "parked"])
        counts[run, state] += 1
        started = closed + rng.uniform(5, 30)
        done = min(started + rng.uniform(60, 90), now)
        did = f"hd-protodune:{_name(run, index)}.hdf5"
        bad = state == "parked" or rng.random() < 0.01
        attempt = f"{i + 1:026d}"
        yield (
            task_table,
            {
                "id": i + 1,
                "input_id": i + 1,
                "campaign_id": 1,
                "input_did": did,
                "step": "chain",
                "state": state,
                "late": False,
                "run": run,
                "file_index": index,
                "size_bytes": 4 * 10**9,
                "deadline": closed + 86400,
                "attempts": 1,
                "allowed_failures": 4,
                "ready_at": closed,
                "closed_at": closed,
                "declared_at": closed + 3,
                "created_at": closed + 4,
                "submitted_at": closed + 5,
                "started_at": started,
                "reported_at": done - 5 if state in ("done", "reported") else None,
                "done_at": done if state == "done" else None,
                "error_class": "data" if state == "parked" else None,
                "message": "cut off" if state == "parked" else None,
            },
        )
        yield (
            attempt_table,
            {
                "id": attempt,
                "task_id": i + 1,
                "slice_id": "0" * 26,
                "number": 1,
                "state": "running" if state == "running" else "failed" if bad else "succeeded",
                "stages": "nf_sp,declare,evaluate,dqm_upload",
                "launcher": "local",
                "token_hash": "",
                "lease_until": now,
                "created_at": started,
                "submitted_at": started,
                "started_at": started,
                "heartbeat_at": now - rng.uniform(0, 30) if state == "running" else None,
                "ended_at": None if state == "running" else done - 5,
                "error_class": "data" if bad else None,
                "message": "cut off" if bad else None,
            },
        )
        yield (
            file_table,
            {
                "origin": "buffer",
                "name": did.partition(":")[2],
                "path": "/buffer",
                "state": "declared" if i > len(places) - 20_000 else "left",
                "stream": "physics",
                "did": did,
                "size_bytes": 4 * 10**9,
                "run": run,
                "closed_at": closed,
                "found_at": closed + 1,
                "declared_at": closed + 3,
            },
        )
        yield (
            event_table,
            {"at": done, "room": "campaign", "subject": f"task:{i + 1}", "before": "reported", "after": state, "by": "engine"},
        )
        if state == "done":
            yield commit_table, {"input_id": i + 1, "stage": "evaluate", "attempt_id": attempt, "outputs": []}
        if i >= len(places) - JUDGED_FILES and state == "done":
            yield from _judged(i + 1, run, index, did, attempt, block, rng, done)


def _judged(
    number: int, run: int, index: int, did: str, attempt: str, block: Any, rng: random.Random, done: float
) -> Iterator[tuple[sa.Table, Row]]:
    flag = 3 if (luck := rng.random()) < 0.003 else 2 if luck < 0.02 else 1
    values = (block * np.float32(rng.gauss(1, 0.02))).astype("<f4").tobytes()
    yield result_table, _result(number, run, index, did, attempt, flag, values, done)
    tiles = {element: {group.value: 1 for group in Group} for element in ELEMENTS["pdhd"]}
    findings = []
    if flag > 1:
        tiles["P02NL"]["noise"] = flag
        finding = {"element": "P02NL", "plane": "V", "check": "rms_nf_adc", "group": "noise", "flag": flag, "value": 31.0, "limit": 20.0}
        findings.append(finding | {"words": "RMS filtered 31 ADC, above 20 ADC"})
    verdict = {"id": number, "result_id": number, "judged_at": done, "limits_version": 1, "reference_id": None, "flag": flag}
    yield verdict_table, verdict | {"tiles": tiles, "findings": findings}


def _result(number: int, run: int, index: int, did: str, attempt: str, flag: int, block: bytes, done: float) -> Row:
    return {
        "id": number,
        "campaign": CAMPAIGN,
        "version": VERSION,
        "input_did": did,
        "stage": "evaluate",
        "attempt": attempt,
        "shown": True,
        "run": run,
        "file_index": index,
        "detector": "pdhd",
        "run_type": "cosmics",
        "data_at": done - 100,
        "made_at": done - 8,
        "received_at": done - 6,
        "folder": "dqm/benchmark",
        "payload": "numpy",
        "notes": [],
        "n_records": 1,
        "n_used": 1,
        "n_problems": 0,
        "pictures_missing": [],
        "elements": list(ELEMENTS["pdhd"]),
        "scalars": block,
        "flag": flag,
        "verdict_id": number,
    }


def _of_runs(
    places: list[tuple[int, int]], counts: Counter[tuple[int, str]], block: Any, rng: random.Random, now: float
) -> Iterator[tuple[sa.Table, Row]]:
    files = Counter(run for run, _ in places)
    for (run, state), number in counts.items():
        yield count_table, {"campaign_id": 1, "run": run, "step": "chain", "state": state, "late": False, "tasks": number}
    size = len(PLANES) * len(SCALARS)
    end = 0
    for run, number in files.items():
        end += number
        at = now - (len(places) - end) * SECONDS_A_FILE
        bad, medium = number * 3 // 1000, number * 17 // 1000
        good = number - bad - medium
        tile = {"flag": 1, "bad": 0, "medium": 0, "good": number, "null": 0}
        yield (
            run_table,
            {
                "campaign": CAMPAIGN,
                "version": VERSION,
                "run": run,
                "detector": "pdhd",
                "run_type": "cosmics",
                "files": number,
                "n_null": 0,
                "n_good": good,
                "n_medium": medium,
                "n_bad": bad,
                "n_problems": 0,
                "data_from": at - number * SECONDS_A_FILE,
                "data_to": at,
                "received_at": at,
                # The newest runs are rolled up by the code itself.
                "rolled_at": at if end < len(places) - JUDGED_FILES else 0.0,
                "stale": end >= len(places) - JUDGED_FILES,
                "tiles": {element: {group.value: tile for group in Group} for element in ELEMENTS["pdhd"]},
                "outliers": [],
            },
        )
        for place, element in enumerate(ELEMENTS["pdhd"]):
            part = block[place * size : (place + 1) * size] * np.float32(rng.gauss(1, 0.05))
            spread = np.stack([part, part * np.float32(0.9), part * np.float32(1.1)]).astype("<f4").tobytes()
            yield (
                run_element_table,
                {
                    "campaign": CAMPAIGN,
                    "version": VERSION,
                    "element": element,
                    "run": run,
                    "files": number,
                    "scalars": spread,
                },
            )
    for interval_s, kept_s in ((10, 7200), (60, 86400), (600, 8 * 86400), (3600, 60 * 86400)):
        for back in range(kept_s // interval_s):
            yield (
                sample_table,
                {
                    "interval_s": interval_s,
                    "at": now // interval_s * interval_s - back * interval_s,
                    "running": 200,
                    "queued": 40,
                    "slots_wanted": 250,
                    "backlog": 300 + back % 50,
                    "parked": 7,
                    "late": 0,
                    "files": len(places),
                    "done": len(places) - 300,
                    "in_time": 5,
                    "decided": 5,
                    "buffer_bytes": 80 * 10**12,
                    "buffer_fraction": 0.4,
                    "undeclared": 3,
                },
            )


def _write(store: Store, rows: Iterable[tuple[sa.Table, Row]]) -> None:
    by_table: dict[sa.Table, list[Row]] = {}
    for table, row in rows:
        by_table.setdefault(table, []).append(row)
    with store.write() as connection:
        # A table comes after those its rows refer to.
        for table in task_table.metadata.sorted_tables:
            if table in by_table:
                connection.execute(sa.insert(table), by_table[table])
