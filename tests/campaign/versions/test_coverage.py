"""What a version covers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.commands.canary import PromoteArguments, promote
from campaign.definition import Campaign
from campaign.ledger import versions as ledger_versions
from campaign.ledger.versions import Exclusion, Redo
from campaign.versions import coverage
from campaign.versions.canary import in_fraction
from campaign.versions.coverage import Coverage
from campaign.versions.roles import Role
from tests.campaign.two_versions import NOW, TwoVersions


def settings(**more: object) -> Campaign:
    content = {
        "campaign": "prompt",
        "detector": "pdhd",
        "stream": "physics",
        "version": "v2",
        "outputs": {"namespace": "reco", "data_tier": "decoded-raw"},
    }
    return Campaign.model_validate(content | more)


EXCLUDED = {7: Exclusion(7, "", NOW, "ann", "beam was off")}
REDONE = {3: Redo(2, 3, NOW, "bob", False, None, None)}


@pytest.mark.parametrize(
    ("covers", "run", "expected", "words"),
    [
        (Coverage(settings()), 5, True, "the inputs of version v2 cover it"),
        (Coverage(settings(inputs={"from_run": 6})), 5, False, "run 5 is before inputs.from_run (6)"),
        (Coverage(settings(inputs={"to_run": 4})), 5, False, "run 5 is after inputs.to_run (4)"),
        (Coverage(settings(inputs={"exclude_runs": [5]})), 5, False, "run 5 is in inputs.exclude_runs"),
        (Coverage(settings(inputs={"where": {"beam": 1}})), 5, False, "inputs.where wants beam to be 1, it is None"),
        (Coverage(settings(), excluded=EXCLUDED), 7, False, "run 7 is excluded by ann: beam was off"),
        (Coverage(settings(inputs={"from_run": 6}), redone=REDONE), 3, True, "bob asked for run 3 to be processed again by version v2"),
        (Coverage(settings(), replaced={5: "v3"}), 5, False, "version v3 processes run 5 again and takes the place of version v2"),
        (Coverage(settings(), role=Role.DROPPED, redone=REDONE), 3, False, "version v2 was dropped"),
        (Coverage(settings(), excluded={3: EXCLUDED[7]}, redone=REDONE), 3, False, "run 3 is excluded by ann: beam was off"),
    ],
)
def test_a_file_is_covered_or_not_with_the_reason_in_words(covers: Coverage, run: int, expected: bool, words: str) -> None:
    assert covers.covers(run, "raw:a.hdf5", {}) is expected
    assert covers.reason(run, "raw:a.hdf5", {}) == words


def test_promotion_divides_the_files_by_when_they_came() -> None:
    old = Coverage(settings(version="v1"), role=Role.SUPERSEDED, since=100.0)
    new = Coverage(settings(), role=Role.PROMOTED, since=100.0)
    for arrived in (99.0, 100.0, 101.0, None):
        assert old.covers(1, "raw:a", {}, arrived) is not new.covers(1, "raw:a", {}, arrived)
    assert new.covers(1, "raw:a", {})
    assert old.covers(1, "raw:a", {}, 99.0)


@given(st.text(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_fraction_holds_all_files_of_a_smaller_one(did: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert in_fraction(did, small) <= in_fraction(did, large)
    assert not in_fraction(did, 0.0)
    assert in_fraction(did, 1.0)


def test_a_fraction_is_about_that_fraction_and_the_same_in_every_process() -> None:
    dids = [f"hd-protodune:np04hd_raw_run{run:06d}_{i:04d}_dataflow0.hdf5" for run in (28000, 28001) for i in range(5000)]
    chosen = [did for did in dids if in_fraction(did, 0.1)]
    assert 900 < len(chosen) < 1100
    assert in_fraction("raw:raw_run000001_0000.hdf5", 0.5) is False
    assert in_fraction("raw:raw_run000001_0002.hdf5", 0.5) is True


def test_a_canary_by_number_is_given_the_newest_files_when_it_begins(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2="inputs: {from_run: 2}\ncanary: {last: 3}") as house:
        house.arrive(4, run=1, at=NOW - 20)
        before = house.arrive(4, run=2, at=NOW - 10)
        house.arrive(2, run=2, first=4, at=NOW + 10)
        assert covered(house, "v2") == set(before[1:])
        house.take_in()
        assert house.inputs("v2") == set(before[1:])
        assert len(house.inputs("v1")) == 10


def test_a_canary_by_number_in_an_empty_buffer_is_given_the_files_that_come_next(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2="inputs: {from_run: 1, where: {beam: positive}}\ncanary: {last: 3}") as house:
        before = house.arrive(1, run=1, at=NOW - 10, metadata={"beam": "positive"})
        house.arrive(2, run=1, first=1, at=NOW + 5)
        after = house.arrive(4, run=2, at=NOW + 10, metadata={"beam": "positive"})
        assert covered(house, "v2") == {*before, *after[:2]}


def test_the_file_says_whether_a_version_begins_as_a_canary_and_the_ledger_what_became_of_it(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2="inputs: {from_run: 1}\ncanary: {fraction: 50%}") as house:
        assert roles(house) == {"v1": Role.FULL, "v2": Role.CANARY}
        promote(house, PromoteArguments(campaign="prompt", version="v2"), NOW + 5)
        assert roles(house) == {"v1": Role.SUPERSEDED, "v2": Role.PROMOTED}
        assert [item.since for item in load(house).values()] == [NOW + 5, NOW + 5]
    with TwoVersions.open(tmp_path, v2="inputs: {from_run: 1}") as house:
        assert roles(house) == {"v1": Role.SUPERSEDED, "v2": Role.PROMOTED}


def roles(house: TwoVersions) -> dict[str, Role]:
    with house.installation.store.read() as connection:
        return {item.version: item.role for item in ledger_versions.versions(connection)}


def load(house: TwoVersions) -> Mapping[int, Coverage]:
    with house.installation.store.read() as connection:
        return coverage.load(connection, house.installation.campaigns)


def covered(house: TwoVersions, version: str) -> set[str]:
    from declare_daemon.journal import all_of_stream

    with house.installation.store.read() as connection:
        files = all_of_stream(connection, "physics", 0, 1000)
    mine = load(house)[house.version(version).id]
    return {str(file.did) for file in files if mine.covers_file(file)}
