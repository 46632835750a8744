"""What the tests of the operations page write beside ledger and journal: samples, launchers, alarms, roll-ups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.alarms.tables import alarm_table
from dashboard.dqm.tables import run_table
from dashboard.operations.tables import sample_table
from dune_prompt.store import Store

NOW = 1_718_795_400.0


@pytest.fixture
def sample(store: Store) -> Callable[..., dict[str, Any]]:
    """Write a sample of the page."""

    def write(at: float, interval_s: int = 10, **values: Any) -> dict[str, Any]:
        zeros = dict.fromkeys(("running", "queued", "slots_wanted", "backlog", "parked", "late", "files", "done", "undeclared"), 0)
        row = zeros | {"in_time": None, "decided": None, "buffer_bytes": 0, "buffer_fraction": None} | values
        with store.write() as connection:
            connection.execute(sa.insert(sample_table).values(interval_s=interval_s, at=at, **row))
        return row

    return write


@pytest.fixture
def alarm(store: Store) -> Callable[..., None]:
    """Write an alarm that is raised, unless `values` say otherwise."""
    keys = iter(range(1000))

    def write(severity: str, message: str, **values: Any) -> None:
        row = {
            "key": str(next(keys)),
            "rule": "test",
            "severity": severity,
            "subject": "buffer",
            "message": message,
            "owner": "shifter",
            "link": "/",
            "seen": 3,
            "first_seen_at": NOW - 100,
            "last_seen_at": NOW,
            "raised_at": NOW - 60,
        }
        with store.write() as connection:
            connection.execute(sa.insert(alarm_table).values(**row | values))

    return write


@pytest.fixture
def rolled(store: Store) -> Callable[..., None]:
    """Write the roll-up of a run; `tiles` are flags by element and group."""

    def write(run: int, tiles: dict[str, dict[str, int]], *, received_at: float = NOW - 30, version: str = "v1", files: int = 3) -> None:
        counts = dict.fromkeys(("bad", "medium", "good", "null"), 0)
        values = {element: {group: counts | {"flag": flag} for group, flag in groups.items()} for element, groups in tiles.items()}
        zeros = dict.fromkeys(("n_null", "n_good", "n_medium", "n_bad", "n_problems"), 0)
        with store.write() as connection:
            connection.execute(
                sa.insert(run_table).values(
                    campaign="pdhd-prompt",
                    version=version,
                    run=run,
                    detector="pdhd",
                    run_type="cosmics",
                    files=files,
                    received_at=received_at,
                    rolled_at=received_at,
                    stale=False,
                    tiles=values,
                    outliers=[],
                    **zeros,
                )
            )

    return write
