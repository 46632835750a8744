"""Judging again: new verdicts beside the old, killed anywhere and resumed, and nothing done twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.dqm.rollup import Roller, read_rolled
from dashboard.dqm.storage import RECORD, Stored
from dashboard.dqm.tables import result_table, run_table
from dashboard.quality import rejudging
from dashboard.quality.flags import Flag
from dashboard.quality.references import set_reference
from dashboard.quality.rejudging import Rejudged, rejudge
from dashboard.quality.tables import verdict_table
from dune_prompt.store import Store, event_table

NOW = 1_718_795_400.0
Make = Callable[..., dict[str, Any]]
Keep = Callable[..., Stored]
Check = Callable[..., Any]


def again(store: Store, workspace: Path, **more: Any) -> Rejudged:
    return rejudge(store, workspace, by="ana", clock=lambda: NOW + 1000, **more)


def verdicts(store: Store) -> dict[int, list[tuple[int, Flag]]]:
    """By record: version and flag of each of its verdicts, the oldest first."""
    v = verdict_table.c
    found: dict[int, list[tuple[int, Flag]]] = {}
    with store.read() as connection:
        for row in connection.execute(sa.select(v.result_id, v.limits_version, v.flag).order_by(v.id)):
            found.setdefault(row.result_id, []).append((row.limits_version, Flag(row.flag)))
    return found


@pytest.fixture
def strict(put_limits: Check, check: Check) -> Callable[[], int]:
    """Limits that no record is inside of."""
    return lambda: put_limits(check("hits", {"high_warn": 1, "high_alarm": 2}, group="signal"))


def test_records_are_judged_by_the_limits_in_force_and_old_verdicts_stay(
    store: Store, workspace: Path, make: Make, keep: Keep, strict: Callable[[], int]
) -> None:
    ids = [keep(make(index=index)).id for index in range(3)]
    strict()
    assert again(store, workspace, run=27296) == Rejudged(records=3, judged=3, changed=3)
    assert verdicts(store) == {key: [(1, Flag.GOOD), (2, Flag.BAD)] for key in ids}
    d, v = result_table.c, verdict_table.c
    with store.read() as connection:
        rows = connection.execute(sa.select(d.flag, v.limits_version).join_from(result_table, verdict_table, v.id == d.verdict_id)).all()
        event = connection.execute(sa.select(event_table).where(event_table.c.after == "rejudged")).one()
    assert [tuple(row) for row in rows] == [(Flag.BAD, 2)] * 3
    assert (event.room, event.subject, event.by) == ("dashboard", "run:27296", "ana")
    assert "3 records judged again, 3 of them otherwise" in event.message


def test_the_run_is_rolled_up_again(store: Store, workspace: Path, make: Make, keep: Keep, strict: Callable[[], int]) -> None:
    keep(make())
    Roller(store).roll_stale(NOW + 1)
    strict()
    again(store, workspace, run=27296)
    with store.read() as connection:
        assert connection.execute(sa.select(run_table.c.stale)).scalar_one()
    Roller(store).roll_stale(NOW + 2000)
    with store.read() as connection:
        (rolled,) = read_rolled(connection, [27296])
    assert (rolled.flag, rolled.n_good, rolled.n_bad) == (Flag.BAD, 0, 1)


def test_what_was_judged_by_these_versions_is_left_alone(
    store: Store, workspace: Path, make: Make, keep: Keep, strict: Callable[[], int]
) -> None:
    keep(make(index=0))
    strict()
    keep(make(index=1))
    assert again(store, workspace).judged == 1
    assert again(store, workspace) == Rejudged(records=0)


def test_a_new_reference_is_a_reason_to_judge_again(store: Store, workspace: Path, make: Make, keep: Keep) -> None:
    keep(make())
    set_reference(store, workspace, 27296, by="ana", why="x", now=NOW)
    keep(make(7, data_stream="physics"))
    assert again(store, workspace) == Rejudged(records=1, judged=1)
    assert again(store, workspace).records == 0


def test_only_the_runs_that_are_asked_for(store: Store, workspace: Path, make: Make, keep: Keep, strict: Callable[[], int]) -> None:
    old, new = keep(make(1), at=NOW - 9000), keep(make(2), at=NOW)
    strict()
    assert again(store, workspace, since=NOW - 100).judged == 1
    assert len(verdicts(store)[new.id]) == 2
    assert again(store, workspace, run=1).judged == 1
    assert len(verdicts(store)[old.id]) == 2


def test_a_record_whose_file_is_gone_keeps_its_verdict(
    store: Store, workspace: Path, make: Make, keep: Keep, strict: Callable[[], int]
) -> None:
    kept = [keep(make(index=index)) for index in range(3)]
    (workspace / kept[1].folder / RECORD).unlink()
    strict()
    assert again(store, workspace) == Rejudged(records=3, judged=2, changed=2, unreadable=1)
    assert [len(verdicts(store)[one.id]) for one in kept] == [2, 1, 2]


def test_progress_is_told_after_each_batch(
    store: Store, workspace: Path, make: Make, keep: Keep, strict: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejudging, "BATCH", 2)
    for index in range(5):
        keep(make(index=index))
    strict()
    seen: list[Rejudged] = []
    again(store, workspace, progress=seen.append)
    assert [(state.done, state.records) for state in seen] == [(2, 5), (4, 5), (5, 5)]


def test_a_rejudging_that_was_killed_is_resumed(
    store: Store, workspace: Path, make: Make, keep: Keep, strict: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [keep(make(index=index)).id for index in range(6)]
    strict()
    program = f"""
        import os, signal
        from pathlib import Path
        from dashboard.quality import judging, rejudging
        from dune_prompt.store import open_store

        rejudging.BATCH = 2
        judge, count = judging.Judge.__call__, iter(range(100))

        def dying(self, record):
            if next(count) == 3:  # in the middle of the second batch
                os.kill(os.getpid(), signal.SIGKILL)
            return judge(self, record)

        judging.Judge.__call__ = dying
        rejudging.rejudge(open_store({str(store.engine.url)!r}, migrate=False), Path({str(workspace)!r}), by="ana")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [len(verdicts(store)[one]) for one in ids] == [2, 2, 1, 1, 1, 1]
    assert again(store, workspace) == Rejudged(records=4, judged=4, changed=4)
    assert verdicts(store) == {key: [(1, Flag.GOOD), (2, Flag.BAD)] for key in ids}
