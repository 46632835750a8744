"""What an upload costs the service: CPU time of its process for each, and how many a second it takes from several jobs at once."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import requests

from benchmarks.dashboard.serving import Served
from tests.dashboard.records import did, make_record, ulid

JOBS = 8
UPLOADS = 600
WARM_UP = 40


@dataclass(frozen=True, slots=True)
class UploadCost:
    """Milliseconds of CPU for each, uploads a second, and the size of a record. `p95_ms`: of the answers."""

    cpu_ms: float
    per_s: float
    record_kb: float
    p95_ms: float


def measure(served: Served, run: int) -> UploadCost:
    """Upload records of 10,236 channels, without pictures, from eight jobs at once."""
    record = make_record(run, channels=853, elements=4) | {"pictures": []}
    texts = [_text(record, run, index) for index in range(UPLOADS + WARM_UP)]
    _send(served, texts[:WARM_UP])
    cpu, begin = served.cpu_s(), time.perf_counter()
    answers = _send(served, texts[WARM_UP:])
    wall, cpu = time.perf_counter() - begin, served.cpu_s() - cpu
    return UploadCost(cpu / UPLOADS * 1e3, UPLOADS / wall, len(texts[0]) / 1e3, sorted(answers)[int(0.95 * UPLOADS)] * 1e3)


def _text(record: dict[str, Any], run: int, index: int) -> bytes:
    return json.dumps(record | {"input_did": did(run, index), "file_index": index, "attempt": ulid(10_000 + index)}).encode()


def _send(served: Served, texts: list[bytes]) -> list[float]:
    """Seconds that each answer took."""
    seconds: list[float] = []
    parts = [texts[job::JOBS] for job in range(JOBS)]

    def job(mine: list[bytes]) -> None:
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {served.token}"
            for text in mine:
                begin = time.perf_counter()
                answer = session.put(f"{served.url}/api/v1/dqm/records", files={"record": ("record.json", text, "application/json")})
                answer.raise_for_status()
                seconds.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=job, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(seconds) != len(texts):
        raise RuntimeError(f"{len(seconds)} of {len(texts)} uploads were answered")
    return seconds
