"""What the pages of runs need beside a ledger: roll-ups and records of data quality, flags, exclusions, steps of catalogues."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.ledger.tables import exclusion_table
from campaign.places import job_dir
from campaign.states import TaskState
from dashboard.dqm.tables import result_table, run_table
from dashboard.quality.tables import run_flag_table

NOW = 1_718_795_400.0
STEPS = ("nf_sp", "declare", "evaluate", "dqm_upload")


class Quality:
    """Writes rows of data quality, as uploads and people would."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def _insert(self, table: sa.Table, **values: Any) -> None:
        with self._store.write() as connection:
            connection.execute(sa.insert(table).values(**values))

    def run(self, run: int, *, bad: int = 0, medium: int = 0, good: int = 0, null: int = 0, **values: Any) -> None:
        row = {
            "campaign": "pdhd-prompt",
            "version": "v1",
            "run": run,
            "detector": "pdhd",
            "run_type": "cosmics",
            "files": bad + medium + good + null,
            "n_null": null,
            "n_good": good,
            "n_medium": medium,
            "n_bad": bad,
            "n_problems": 0,
            "data_from": NOW - 1000 + run,
            "data_to": NOW,
            "received_at": NOW,
            "rolled_at": NOW,
            "stale": False,
            "tiles": {},
            "outliers": [],
        }
        self._insert(run_table, **(row | values))

    def people(self, run: int, flag: int, by: str = "anna", comment: str = "looked at") -> None:
        self._insert(run_flag_table, run=run, flag=flag, comment=comment, set_at=NOW, set_by=by)

    def excluded(self, run: int, campaign: str = "", by: str = "ben", why: str = "test run") -> None:
        self._insert(exclusion_table, run=run, campaign=campaign, at=NOW, by=by, why=why)

    def record(self, task: dict[str, Any], attempt: str, *, shown: bool = True, flag: int = 1, **values: Any) -> None:
        row = {
            "campaign": "pdhd-prompt",
            "version": "v1",
            "input_did": task["input_did"],
            "stage": "evaluate",
            "attempt": attempt,
            "shown": shown,
            "run": task["run"],
            "file_index": task["file_index"],
            "detector": "pdhd",
            "run_type": "cosmics",
            "data_at": NOW,
            "made_at": NOW - 20,
            "received_at": NOW - 10,
            "folder": "dqm/x",
            "payload": "numpy",
            "notes": [],
            "n_records": 1,
            "n_used": 1,
            "n_problems": 0,
            "pictures_missing": [],
            "elements": [],
            "scalars": b"",
            "flag": flag,
        }
        self._insert(result_table, **(row | values))


@pytest.fixture
def quality(store: Any) -> Quality:
    return Quality(store)


@pytest.fixture
def leave_report(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Write the report of an attempt into its job's folder."""

    def leave(attempt: str, stages: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
        report = {
            "schema": 1,
            "attempt": attempt,
            "task": "1",
            "campaign": "pdhd-prompt",
            "version": "v1",
            "host": "worker-7",
            "stages": stages,
        } | values
        folder = job_dir(tmp_path / "workspace", attempt)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(report))
        return report

    return leave


def stage_report(name: str, *, took_s: float = 12.0, outputs: tuple[str, ...] = (), **values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "state": "ok",
        "error_class": None,
        "message": None,
        "started": NOW - 100,
        "ended": NOW - 100 + took_s,
        "cpu_s": 11.0,
        "rss_bytes": 412_000_000,
        "outputs": [{"name": output, "size": 180_000_000, "adler32": "0a1b2c3d", "declared": True} for output in outputs],
        "metrics": {},
    } | values


@pytest.fixture
def make_stage() -> Callable[..., dict[str, Any]]:
    return stage_report


@pytest.fixture
def many(ledger: Any, quality: Any) -> Any:
    """Thirty runs in two layouts, every state in them, some judged by machine and people."""
    ledger.campaign()
    ledger.campaign("pdhd-keepup", "v2", "staged", "pdvd")
    states = [state.value for state in TaskState if state is not TaskState.BLOCKED]
    for run in range(100, 130):
        for i in range(1 + run % 7):
            state = "done" if run % 5 == 0 else states[(run * 3 + i) % len(states)]
            ledger.task(run, i, state=state, late=i % 3 == 0, done_at=NOW + i if state == "done" else None)
        if run % 3 == 0:
            for i in range(3):
                at = (run + i) % 5
                for k, step in enumerate(STEPS):
                    state = "done" if k < at else "blocked" if k > at else "parked" if i == 0 else "running"
                    ledger.task(run, i, campaign=2, step=step, state=state)
    ledger.write()
    for run in range(100, 130, 2):
        quality.run(run, bad=int(run % 8 == 0), medium=run % 3, good=run % 4, null=1, run_type="beam" if run % 4 else "cosmics")
    for run, flag in ((101, 3), (104, 1), (106, 2), (106, 0)):
        quality.people(run, flag)
    return ledger
