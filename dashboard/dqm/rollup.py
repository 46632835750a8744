"""Runs rolled up: how many files of a run were judged how, which stand out, and the spread of every scalar over them.

Pages and trends over thousands of runs read the roll-up. It is made anew in the background, soon after a record of the run came.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dashboard.dqm import shown
from dashboard.dqm.results import ResultRow, RunResults, read_results
from dashboard.dqm.scalars import Scalars, median_over_files, unpack
from dashboard.dqm.tables import result_table, run_element_table, run_table
from dashboard.quality.flags import Flag, worst
from dashboard.quality.tables import verdict_table
from dune_prompt.store import Store

MOST_OUTLIERS = 50
FINDINGS_SHOWN = 5
# A run is rolled up again only when so many times its processor time has gone: a long run that goes on costs 2 % of a core.
REST = 50.0
# For so long after a record came, a commit that came later can still show it.
UNSETTLED_S = 2 * 86400.0
STATISTICS = 3

RunKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class RolledRun:
    """A run as a campaign's version sees it. `tiles`: {element: {group: {"flag", "bad", "medium", "good", "null"}}}, counts of files.

    `outliers` are at most 50 files that are not good, the worst first: {"input_did", "file_index", "flag", "findings"}.
    """

    campaign: str
    version: str
    run: int
    detector: str
    run_type: str
    files: int
    n_null: int
    n_good: int
    n_medium: int
    n_bad: int
    n_problems: int
    data_from: float | None
    data_to: float | None
    received_at: float
    rolled_at: float
    stale: bool
    tiles: Mapping[str, Mapping[str, Mapping[str, int]]]
    outliers: Sequence[Mapping[str, Any]]

    @property
    def flag(self) -> Flag:
        """The worst of the files'."""
        counts = ((Flag.BAD, self.n_bad), (Flag.MEDIUM, self.n_medium), (Flag.GOOD, self.n_good))
        return next((flag for flag, number in counts if number), Flag.NULL)

    @property
    def judged(self) -> int:
        return self.n_good + self.n_medium + self.n_bad


@dataclass(frozen=True, slots=True)
class RolledElement:
    """An element of a run: `scalars` [median, lowest, highest over the files; planes; scalars]."""

    run: int
    detector: str
    run_type: str
    data_at: float | None
    files: int
    flag: Flag
    scalars: Scalars


_RUN_COLUMNS = [run_table.c[name] for name in RolledRun.__slots__]


def read_rolled(connection: sa.Connection, runs: Sequence[int]) -> list[RolledRun]:
    """The roll-ups of these runs, of every campaign's version that has records of them."""
    r = run_table.c
    statement = sa.select(*_RUN_COLUMNS).where(r.run.in_(runs)).order_by(r.run, r.campaign, r.version)
    return [RolledRun(*row) for row in connection.execute(statement)]


def read_rolled_element(
    connection: sa.Connection,
    campaign: str,
    version: str,
    element: str,
    *,
    from_run: int | None = None,
    to_run: int | None = None,
    limit: int = 2000,
) -> list[RolledElement]:
    """An element over runs; when there are more than `limit` the last of them."""
    r, e = run_table.c, run_element_table.c
    same = (r.campaign == e.campaign, r.version == e.version, r.run == e.run)
    statement = (
        sa.select(e.run, r.detector, r.run_type, r.data_from, e.files, r.n_good, r.n_medium, r.n_bad, e.scalars)
        .join_from(run_element_table, run_table, sa.and_(*same))
        .where(e.campaign == campaign, e.version == version, e.element == element)
        .order_by(e.run.desc())
        .limit(limit)
    )
    if from_run is not None:
        statement = statement.where(e.run >= from_run)
    if to_run is not None:
        statement = statement.where(e.run <= to_run)
    found = []
    for run, detector, run_type, data_at, files, n_good, n_medium, n_bad, block in connection.execute(statement).all()[::-1]:
        flag = Flag.BAD if n_bad else Flag.MEDIUM if n_medium else Flag.GOOD if n_good else Flag.NULL
        found.append(RolledElement(run, detector, run_type, data_at, files, flag, unpack(block, STATISTICS)))
    return found


def make_stale(connection: sa.Connection, key: RunKey, detector: str, run_type: str, now: float) -> None:
    """A record of the run came: roll it up again."""
    values = dict(zip(("campaign", "version", "run"), key, strict=True)) | {"detector": detector, "run_type": run_type, "received_at": now}
    connection.execute(_MAKE_STALE[connection.dialect.name], values)


def _stale_upsert(insert: Any) -> Any:
    new: dict[str, Any] = dict.fromkeys(("files", "n_null", "n_good", "n_medium", "n_bad", "n_problems"), 0)
    new |= {"rolled_at": 0.0, "stale": True, "tiles": {}, "outliers": []}
    changes = {"stale": True, "received_at": insert.excluded.received_at, "run_type": insert.excluded.run_type}
    return insert.values(**new).on_conflict_do_update(index_elements=list(run_table.primary_key.columns), set_=changes)


_MAKE_STALE = {"sqlite": _stale_upsert(sqlite.insert(run_table)), "postgresql": _stale_upsert(postgresql.insert(run_table))}


class Roller:
    """Rolls runs up in the background."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._started = False
        self._not_before: dict[RunKey, float] = {}

    def roll_stale(self, now: float) -> int:
        """Roll up the runs whose records have changed, but for those that were rolled up just now; how many were."""
        for key in self._settle(now) | self._interrupted():
            self._not_before.pop(key, None)
        r = run_table.c
        with self._store.read() as connection:
            stale = [tuple(row) for row in connection.execute(sa.select(r.campaign, r.version, r.run).where(r.stale))]
        due = [key for key in stale if self._not_before.get(key, 0.0) <= now]
        for key in due:
            begin = time.thread_time()
            self._roll(key, now)
            self._not_before[key] = now + REST * (time.thread_time() - begin)
        self._not_before = {key: at for key, at in self._not_before.items() if at > now}
        return len(due)

    def _settle(self, now: float) -> set[RunKey]:
        """Show records whose commit came after them."""
        with self._store.read() as connection:
            unsettled = shown.unsettled(connection, now - UNSETTLED_S)
        if not unsettled:
            return set()
        with self._store.write() as connection:
            changed = shown.settle(connection, unsettled)
            for key in changed:
                connection.execute(sa.update(run_table).where(_is(key)).values(stale=True))
        return changed

    def _interrupted(self) -> set[RunKey]:
        """Runs whose rolling up an earlier service did not end."""
        if self._started:
            return set()
        self._started = True
        r = run_table.c
        with self._store.write() as connection:
            left = sa.select(r.campaign, r.version, r.run).where(r.rolled_at < r.received_at, r.stale.is_(False))
            keys = {(row.campaign, row.version, row.run) for row in connection.execute(left)}
            for key in keys:
                connection.execute(sa.update(run_table).where(_is(key)).values(stale=True))
        return keys

    def _roll(self, key: RunKey, now: float) -> None:
        # Not stale from here on: what comes while the records are read makes it stale again.
        with self._store.write() as connection:
            connection.execute(sa.update(run_table).where(_is(key)).values(stale=False, rolled_at=0.0))
        with self._store.read() as connection:
            results = read_results(connection, *key)
            verdicts = _tiles_of(connection, key)
            outliers = _outliers(connection, results, verdicts)
        values = _run_values(results, verdicts) | {"outliers": outliers, "rolled_at": now}
        elements = _element_values(key, results)
        e = run_element_table.c
        with self._store.write() as connection:
            connection.execute(sa.update(run_table).where(_is(key)).values(**values))
            connection.execute(sa.delete(run_element_table).where(e.campaign == key[0], e.version == key[1], e.run == key[2]))
            if elements:
                connection.execute(sa.insert(run_element_table), elements)


def _is(key: RunKey) -> sa.ColumnElement[bool]:
    r = run_table.c
    return sa.and_(r.campaign == key[0], r.version == key[1], r.run == key[2])


Tiles = Mapping[str, Mapping[str, int]]


def _tiles_of(connection: sa.Connection, key: RunKey) -> dict[int, Tiles]:
    """The tiles of the verdicts that count, by their record."""
    d, v = result_table.c, verdict_table.c
    campaign, version, run = key
    statement = (
        sa.select(d.id, v.tiles)
        .join_from(result_table, verdict_table, v.id == d.verdict_id)
        .where(d.run == run, d.campaign == campaign, d.version == version, d.shown)
    )
    return {row.id: row.tiles for row in connection.execute(statement)}


def _outliers(connection: sa.Connection, results: RunResults, verdicts: Mapping[int, Tiles]) -> list[dict[str, Any]]:
    """The files that stand out, as `run_table.outliers` has them: the worst first, and of these the ones with most tiles like that."""

    def weight(row: ResultRow) -> tuple[int, int]:
        as_bad = sum(flag == row.flag for groups in verdicts.get(row.id, {}).values() for flag in groups.values())
        return (-row.flag, -as_bad)

    rows = sorted((row for row in results.rows if row.flag >= Flag.MEDIUM and row.id in verdicts), key=weight)[:MOST_OUTLIERS]
    v = verdict_table.c
    statement = sa.select(v.id, v.findings).where(v.id.in_([row.verdict_id for row in rows]))
    found = {verdict: sorted(findings, key=lambda finding: -finding["flag"]) for verdict, findings in connection.execute(statement).all()}
    return [
        {
            "input_did": row.input_did,
            "file_index": row.file_index,
            "flag": int(row.flag),
            "findings": found.get(row.verdict_id, [])[:FINDINGS_SHOWN],
        }
        for row in rows
    ]


def _run_values(results: RunResults, verdicts: Mapping[int, Tiles]) -> dict[str, Any]:
    flags = Counter(row.flag for row in results.rows)
    times = [row.data_at for row in results.rows if row.data_at is not None]
    return {
        "files": len(results.rows),
        "n_null": flags[Flag.NULL],
        "n_good": flags[Flag.GOOD],
        "n_medium": flags[Flag.MEDIUM],
        "n_bad": flags[Flag.BAD],
        "n_problems": sum(1 for row in results.rows if row.n_problems),
        "data_from": min(times, default=None),
        "data_to": max(times, default=None),
        "tiles": _tiles(verdicts.values(), len(results.rows)),
    }


def _tiles(verdicts: Iterable[Tiles], files: int) -> dict[str, dict[str, dict[str, int]]]:
    counts: Counter[tuple[str, str, int]] = Counter()
    for tiles in verdicts:
        for element, groups in tiles.items():
            for group, flag in groups.items():
                counts[element, group, flag] += 1
    rolled: dict[str, dict[str, dict[str, int]]] = {}
    for element, group in sorted({(element, group) for element, group, _ in counts}):
        bad, medium, good = (counts[element, group, flag] for flag in (Flag.BAD, Flag.MEDIUM, Flag.GOOD))
        flag = worst(flag for flag in Flag if counts[element, group, flag])
        rolled.setdefault(element, {})[group] = {
            "flag": int(flag),
            "bad": bad,
            "medium": medium,
            "good": good,
            "null": files - bad - medium - good,
        }
    return rolled


def _element_values(key: RunKey, results: RunResults) -> list[dict[str, Any]]:
    campaign, version, run = key
    rows = []
    for at, element in enumerate(results.elements):
        values = results.scalars[:, at]
        # fmin and fmax pass over NaN; a scalar that no file has stays NaN.
        spread = np.stack([median_over_files(values), np.fmin.reduce(values), np.fmax.reduce(values)])
        rows.append(
            {
                "campaign": campaign,
                "version": version,
                "element": element,
                "run": run,
                "files": sum(1 for row in results.rows if element in row.elements),
                "scalars": spread.astype("<f4").tobytes(),
            }
        )
    return rows
