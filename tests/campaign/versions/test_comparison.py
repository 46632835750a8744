"""A version beside another: the same files, the differences, and what can be said from so many files."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from campaign.commands.canary import DropArguments, drop
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tasks import Move
from campaign.states import TaskState
from campaign.versions.comparison import Comparison, compare
from campaign.versions.paired import Line, judged, line, share, sign_test
from declare_daemon.journal.tables import file_table
from dune_prompt.errors import ConfigError
from dune_prompt.store import metadata
from stages.evaluate.scalars import INDEX, PLANES, SCALARS
from stages.frames import FrameHeader, FrameKey, FrameWriter
from tests.campaign.two_versions import NOW, TwoVersions

CANARY = "inputs: {from_run: 1}\ncanary: {last: 1000}"


def record(*, noise: float = 10.0, hits: float = 500.0) -> dict[str, Any]:
    """A data-quality record's numbers: two elements with three planes each."""
    spread = {"median": noise, "p05": noise - 1, "p95": noise + 1}
    plane = {
        "pedestal_adc": {"median": 900.0, "p05": 1.0, "p95": 2.0},
        "rms_raw_adc": {"median": 20.0, "p05": 1.0, "p95": 2.0},
        "rms_nf_adc": spread,
        "coherent_fraction": 0.5,
        "n_dead": 4,
        "n_noisy": 2,
        "hits": hits,
        "charge_e": None,
    }
    return {"elements": [{"element": name, "planes": [{"plane": p} | plane for p in "UVW"]} for name in ("P01SU", "P02SU")]}


def test_the_sign_test_is_exact() -> None:
    assert sign_test([1.0] * 5) == 2 / 32
    assert sign_test([1.0] * 6) == 2 / 64
    assert sign_test([1.0, -1.0, 0.0]) == 1.0
    assert sign_test([]) == 1.0
    assert sign_test([1.0] * 9 + [-1.0]) == pytest.approx(2 * 11 / 1024)
    # Many files: the normal approximation with its continuity correction, an independent computation.
    normal = 2 * NormalDist(500, 1000**0.5 / 2).cdf(460.5)
    assert sign_test([1.0] * 540 + [-1.0] * 460) == pytest.approx(normal, rel=0.02)
    assert 0 < sign_test([1.0] * 1500 + [-1.0] * 500) < 1e-100


@given(st.lists(st.floats(-10, 10)))
def test_the_sign_test_does_not_care_which_version_is_called_the_old_one(differences: list[float]) -> None:
    assert sign_test(differences) == sign_test([-difference for difference in differences]) <= 1.0


def test_five_files_say_nothing_and_twenty_do() -> None:
    few = judged([line("noise", "ADC", [(10.0, 12.0)] * 5)], 0.05)[0]
    many = judged([line("noise", "ADC", [(10.0, 12.0)] * 20)], 0.05)[0]
    mixed = judged([line("noise", "ADC", [(10.0, 12.0), (10.0, 9.0), (10.0, 11.5)] * 4)], 0.05)[0]
    assert (few.answer, many.answer, mixed.answer) == ("too few files", "differs", "may differ")
    assert (many.old, many.new, many.difference, many.relative) == (10.0, 12.0, 2.0, pytest.approx(0.2))


def test_a_difference_below_the_tolerance_is_none_however_sure() -> None:
    assert judged([line("noise", "ADC", [(10.0, 10.2)] * 100)], 0.05)[0].answer == "alike"


def test_among_many_quantities_one_that_looks_different_by_chance_does_not_count() -> None:
    chance = line("hits U", "", [(10.0, 12.0)] * 8 + [(10.0, 9.0)])
    others = [line(f"other {i}", "", [(10.0, 10.0)] * 9) for i in range(29)]
    assert judged([chance], 0.05)[0].answer == "differs"
    assert judged([chance, *others], 0.05)[0].answer == "may differ"


def test_what_befalls_files_is_compared_file_by_file() -> None:
    worse = share("failed: memory", [(False, True)] * 12 + [(False, False)] * 88)
    assert (worse.old, worse.new, worse.relative, worse.p) == (0.0, 0.12, None, 2 / 2**12)
    assert judged([worse], 0.05)[0].answer == "differs"
    assert judged([share("parked", [(True, True)] * 10)], 0.05)[0].answer == "alike"


def test_two_versions_are_compared_on_the_files_both_have_processed(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(12)
        house.take_in()
        house.process("v1", dids[:10], record=record(noise=10.0), wall=100.0, cpu=80.0)
        house.process("v2", dids[2:], record=record(noise=12.0), wall=50.0, cpu=80.0)
        found = ask(house)
        assert (found.old, found.new, found.files) == ("v1", "v2", 8)
        assert by_name(found, "RMS filtered U").answer == "may differ"
        assert (by_name(found, "wall time").old, by_name(found, "wall time").new) == (100.0, 50.0)
        assert by_name(found, "CPU time").answer == "alike"
        assert by_name(found, "memory").old == 1000.0
        assert by_name(found, "dead channels V").old == 8.0
        assert not any(item.what.startswith("charge") for item in found.lines)


def test_enough_files_give_a_verdict_in_words(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(16)
        house.take_in()
        house.process("v1", dids, record=record(noise=10.0))
        house.process("v2", dids, record=record(noise=12.0))
        assert ask(house).verdict == (
            "prompt v2 beside v1, 16 files processed by both. Differs by more than 5%: RMS filtered U (+20.0%), RMS filtered V (+20.0%), "
            "RMS filtered W (+20.0%). Alike in 21 of 24 quantities."
        )
        assert ask(house, tolerance=0.3).verdict.endswith("processed by both. Alike in 24 of 24 quantities.")


def test_failures_are_compared_by_class(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(8)
        house.take_in()
        house.process("v1", dids)
        for did in dids[:6]:
            house.end(house.begin("v2", did), error_class="memory")
        house.process("v2", dids[6:])
        found = ask(house)
        memory = by_name(found, "failed: memory")
        assert (memory.files, memory.old, memory.new, memory.answer) == (8, 0.0, 0.75, "may differ")
        assert "failed: memory (0.0% -> 75.0% of files)" in found.verdict


def test_what_failed_tries_cost_is_not_what_the_version_costs(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(1)
        house.take_in()
        house.process("v1", dids, wall=100.0)
        house.end(house.begin("v2", dids[0]), error_class="memory", wall=1000.0)
        with house.writing() as connection:
            (task,) = (item for item in house.tasks("v2"))
            ledger_tasks.apply(connection, [Move(task, TaskState.READY)], NOW)
        house.process("v2", dids, wall=50.0)
        found = ask(house)
        assert by_name(found, "wall time").new == 50.0
        assert by_name(found, "failed: memory").new == 1.0


def test_the_numbers_of_uploaded_records_are_taken_where_there_are_any(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(7)
        house.take_in()
        house.process("v1", dids, record=record(noise=10.0))
        house.process("v2", dids)
        for did in dids:
            upload(house, "v2", did, record(noise=15.0))
        assert by_name(ask(house), "RMS filtered W").new == 15.0


def test_a_record_that_cannot_be_read_is_left_out_and_the_number_of_files_says_so(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(7)
        house.take_in()
        house.process("v1", dids, record=record())
        house.process("v2", dids[:6], record=record())
        house.process("v2", dids[6:])
        found = ask(house)
        assert (found.files, by_name(found, "hits U").files, by_name(found, "CPU time").files) == (7, 6, 7)


def test_without_a_common_file_there_is_nothing_to_say(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        house.arrive(2)
        house.take_in()
        assert ask(house).verdict == "prompt v2 beside v1, 0 files processed by both: nothing to compare yet"


def test_a_version_is_not_compared_with_a_dropped_one_unless_asked(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v1="canary: {last: 5}", v2=CANARY) as house:
        drop(house, DropArguments(campaign="prompt", version="v1"), NOW)
        with pytest.raises(ConfigError, match="prompt v2: there is no version before it to compare it with"):
            ask(house)
        assert ask(house, "v1").old == "v1"


def test_the_charge_of_a_few_files_is_compared_pixel_by_pixel(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(4)
        house.take_in()
        for version in ("v1", "v2"):
            house.process(version, dids, record=record())
        charge = {"v1": np.zeros((800, 50), np.float32)}
        charge["v1"][:, 10:20] = 1000
        charge["v2"] = charge["v1"].copy()
        charge["v2"][::2, 10:15] = 0
        for version, rows in charge.items():
            for path in house.values(sa.select(file_table.c.path).where(file_table.c.name.like(f"%_{version}_gauss.npz"))):
                with FrameWriter(Path(path)) as file:
                    channels = np.arange(2560, 3360, dtype=np.int32)
                    file.write(FrameHeader(FrameKey("gauss1", 1), channels, 50, 0.0, 500.0), [rows])
        found = ask(house, frames=3)
        pixels = by_name(found, "charge pixel by pixel U")
        assert (pixels.files, pixels.old) == (3, 1.0)
        assert pixels.new == pytest.approx(np.corrcoef(charge["v1"].ravel(), charge["v2"].ravel())[0, 1])
        assert by_name(found, "charge in frames U").relative == pytest.approx(-0.25)
        assert not any(item.what.startswith("charge") for item in ask(house).lines)


def test_a_frame_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(2)
        house.take_in()
        for version in ("v1", "v2"):
            house.process(version, dids, record=record())  # ten bytes each: no frame file
        assert not any(item.what.startswith("charge") for item in ask(house, frames=3).lines)


def ask(house: TwoVersions, old: str | None = None, **more: Any) -> Comparison:
    with house.installation.store.read() as connection:
        return compare(connection, "prompt", "v2", old, **more)


def by_name(found: Comparison, what: str) -> Line:
    return next(item for item in found.lines if item.what == what)


def upload(house: TwoVersions, version: str, did: str, content: dict[str, Any]) -> None:
    """The dashboard has received the record of a file. Its table is written by name, as it is read."""
    elements = content["elements"]
    block = np.full((len(elements), len(PLANES), len(SCALARS)), np.nan, np.float32)
    for row, element in enumerate(elements):
        for plane in element["planes"]:
            for key, value in plane.items():
                if key in INDEX:
                    block[row, PLANES.index(plane["plane"]), INDEX[key]] = value["median"] if isinstance(value, dict) else value
    values = {
        "campaign": "prompt",
        "version": version,
        "input_did": did,
        "stage": "evaluate",
        "run": 1,
        "detector": "pdhd",
        "attempt": "a" * 26,
        "shown": True,
        "made_at": NOW,
        "received_at": NOW,
        "folder": "dqm",
        "payload": "numpy",
        "notes": "[]",
        "pictures_missing": "[]",
        "elements": json.dumps([f"E{row}" for row in range(len(elements))]),
        "scalars": block.tobytes(),
    }
    with house.writing() as connection:
        connection.execute(sa.insert(sa.table("dqm_result", *(sa.column(name) for name in values))).values(**values))


def test_the_columns_that_are_read_are_those_the_dashboard_has() -> None:
    from campaign.versions import comparison
    from dashboard.dqm.tables import result_table

    assert result_table.name in metadata.tables
    assert {column.name for column in comparison._dqm.columns} <= {column.name for column in result_table.columns}
