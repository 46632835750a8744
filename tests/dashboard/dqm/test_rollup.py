"""Runs rolled up: each number against the records it is made of, counted another way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from dashboard.dqm.metrics import Group
from dashboard.dqm.record import DqmRecord, read_record
from dashboard.dqm.rollup import FINDINGS_SHOWN, MOST_OUTLIERS, Roller, read_rolled, read_rolled_element
from dashboard.dqm.scalars import INDEX
from dashboard.dqm.storage import DqmStorage
from dashboard.dqm.tables import result_table, run_table
from dashboard.quality.flags import Flag
from dashboard.quality.judging import Finding, Judgement

RUN = 27296


@dataclass
class House:
    """Takes records with a verdict that the test decides, and rolls them up."""

    store: Any
    storage: DqmStorage
    roller: Roller
    record: Callable[..., dict[str, Any]]
    verdicts: dict[int, Flag]

    def keep(self, index: int, flag: Flag = Flag.GOOD, *, run: int = RUN, now: float = 1000.0, **changes: Any) -> dict[str, Any]:
        self.verdicts[index] = flag
        content = {**self.record(run, index, channels=8, elements=2), **changes}
        text = json.dumps(content).encode()
        self.storage.keep(read_record(text), text, {}, now)
        return content

    def rolled(self, run: int = RUN) -> Any:
        with self.store.read() as connection:
            (row,) = read_rolled(connection, [run])
        return row


@pytest.fixture
def house(store: Any, tmp_path: Path, record: Any) -> House:
    verdicts: dict[int, Flag] = {}

    def judge(record: DqmRecord) -> Judgement:
        flag = verdicts[record.file_index or 0]
        findings = [
            Finding("P02SU", "W", f"check{n}", Group.NOISE, flag, float(n), 1.0, "too loud") for n in range(7) if flag >= Flag.MEDIUM
        ]
        return Judgement(1, None, flag, {"P02SU": {Group.NOISE: flag}, "P01NL": {Group.NOISE: Flag.NULL}}, findings)

    return House(store, DqmStorage(store, tmp_path, judge), Roller(store), record, verdicts)


def test_the_counts_are_those_of_the_files(house: House) -> None:
    flags = [Flag.GOOD] * 5 + [Flag.MEDIUM] * 2 + [Flag.BAD] + [Flag.NULL] * 3
    for index, flag in enumerate(flags):
        house.keep(index, flag)
    assert house.roller.roll_stale(2000.0) == 1
    row = house.rolled()
    assert (row.files, row.n_null, row.n_good, row.n_medium, row.n_bad, row.judged) == (11, 3, 5, 2, 1, 8)
    assert (row.flag, row.detector, row.run_type, row.stale, row.rolled_at) == (Flag.BAD, "pdhd", "cosmics", False, 2000.0)
    assert row.tiles["P02SU"]["noise"] == {"flag": 3, "bad": 1, "medium": 2, "good": 5, "null": 3}
    assert row.tiles["P01NL"]["noise"] == {"flag": 0, "bad": 0, "medium": 0, "good": 0, "null": 11}
    assert row.n_problems == 11


def test_the_spread_of_a_scalar_is_that_of_the_files(house: House) -> None:
    contents = [house.keep(index) for index in range(9)]
    house.roller.roll_stale(2000.0)
    with house.store.read() as connection:
        (point,) = read_rolled_element(connection, "pdhd-prompt", "v1", "P02NL")
    values = [content["elements"][1]["planes"][2]["hits"] for content in contents]
    found = point.scalars[:, 2, INDEX["hits"]]
    assert found == pytest.approx([np.median(values), min(values), max(values)], rel=1e-6)
    assert (point.run, point.files, point.flag) == (RUN, 9, Flag.GOOD)
    assert np.isnan(point.scalars[:, 2, INDEX["sp_gain"]]).all()


def test_the_worst_files_come_first_with_their_first_findings(house: House) -> None:
    for index in range(60):
        house.keep(index, Flag.BAD if index in (17, 31) else Flag.MEDIUM)
    house.roller.roll_stale(2000.0)
    outliers = house.rolled().outliers
    assert len(outliers) == MOST_OUTLIERS
    assert [outlier["file_index"] for outlier in outliers[:4]] == [17, 31, 0, 1]
    assert [finding["check"] for finding in outliers[0]["findings"]] == [f"check{n}" for n in range(FINDINGS_SHOWN)]
    assert outliers[0]["input_did"].endswith("_0017_dataflow0_datawriter_0_20240619T110330.hdf5")


def test_only_what_is_shown_counts(house: House) -> None:
    house.keep(0, Flag.BAD, attempt="01J0QZ5W3V5T9H0F1N2M3P4Q5R")
    house.keep(0, Flag.GOOD, attempt="01J0QZ9999999999999999999R")
    house.roller.roll_stale(2000.0)
    row = house.rolled()
    assert (row.files, row.n_good, row.n_bad) == (1, 1, 0)


def test_a_run_is_rolled_up_again_when_another_record_comes(house: House) -> None:
    house.keep(0)
    house.roller.roll_stale(2000.0)
    assert house.roller.roll_stale(3000.0) == 0
    house.keep(1, now=3500.0)
    assert house.rolled().stale
    assert house.roller.roll_stale(4000.0) == 1
    assert house.rolled().files == 2


def test_a_run_rests_in_proportion_to_what_it_cost(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes 10 s is rolled up 500 s later again, not at each of its files."""
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("dashboard.dqm.rollup.time.thread_time", lambda: float(next(clock)))
    house.keep(0)
    assert house.roller.roll_stale(2000.0) == 1
    house.keep(1)
    assert house.roller.roll_stale(2499.0) == 0
    assert house.roller.roll_stale(2501.0) == 1


def test_a_record_that_comes_while_a_run_is_rolled_up_is_not_lost(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.keep(0)
    read = Roller._roll.__globals__["read_results"]

    def read_and_one_more(*arguments: Any) -> Any:
        results = read(*arguments)
        monkeypatch.undo()
        house.keep(1)
        return results

    monkeypatch.setattr("dashboard.dqm.rollup.read_results", read_and_one_more)
    house.roller.roll_stale(2000.0)
    assert (house.rolled().files, house.rolled().stale) == (1, True)
    house.roller.roll_stale(time.time() + 1e6)
    assert house.rolled().files == 2


def test_what_a_killed_service_did_not_finish_the_next_one_does(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any) -> Any:
        raise Killed

    house.keep(0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("dashboard.dqm.rollup.read_results", die)
        house.roller.roll_stale(2000.0)
    assert not house.rolled().stale
    assert Roller(house.store).roll_stale(2001.0) == 1
    assert house.rolled().files == 1


def test_points_are_ordered_by_run_and_the_last_ones_kept(house: House) -> None:
    for run in (5, 3, 9, 7):
        house.keep(0, run=run, input_did=f"hd-protodune:np04hd_raw_run{run:06d}_0000_x.hdf5")
    house.roller.roll_stale(2000.0)
    with house.store.read() as connection:
        runs = [point.run for point in read_rolled_element(connection, "pdhd-prompt", "v1", "P02SU", limit=3)]
        within = [point.run for point in read_rolled_element(connection, "pdhd-prompt", "v1", "P02SU", from_run=4, to_run=7)]
    assert (runs, within) == ([5, 7, 9], [5, 7])


def test_a_verdict_is_kept_with_the_version_it_was_made_with(house: House) -> None:
    house.keep(0, Flag.MEDIUM)
    with house.store.read() as connection:
        row = connection.execute(
            sa.text("SELECT v.limits_version, v.flag, d.flag AS shown FROM quality_verdict v JOIN dqm_result d ON d.verdict_id = v.id")
        ).one()
        assert tuple(row) == (1, 2, 2)
        assert connection.execute(
            sa.select(result_table.c.run_type, run_table.c.run_type).join_from(result_table, run_table, sa.true())
        ).one() == ("cosmics", "cosmics")
