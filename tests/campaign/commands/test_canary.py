"""A version is tried beside another, then promoted or dropped."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign.commands.canary import DropArguments, PromoteArguments, drop, promote
from campaign.versions.canary import in_fraction
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.journal.tables import obligation_table
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.records import MadeBy
from tests.campaign.two_versions import NOW, TwoVersions

CANARY = "inputs: {from_run: 1}\ncanary: {fraction: 50%}"
V2 = PromoteArguments(campaign="prompt", version="v2", by="ann")


def test_a_canary_is_given_its_fraction_beside_the_other_version(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(20)
        house.take_in()
        assert house.inputs("v1") == set(dids)
        assert house.inputs("v2") == {did for did in dids if in_fraction(did, 0.5)}
        assert 0 < len(house.inputs("v2")) < 20


def test_promoted_it_has_all_that_comes_and_what_the_other_has_not_begun(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(20)
        house.take_in()
        house.process("v1", dids[:5])
        job = house.begin("v1", dids[5])
        tried = house.inputs("v2")
        rows = promote(house, V2, NOW + 10)
        assert [(row["version"], row["role"], row["inputs_taken_over"], row["inputs_given_over"]) for row in rows] == [
            ("v2", "promoted", 14, 0),
            ("v1", "superseded", 0, 14),
        ]
        assert house.inputs("v2") == tried | set(dids[6:])
        assert house.states("v1") == ["done"] * 5 + ["running"] + ["waived"] * 14
        house.declare(house.end(job))
        new = house.arrive(4, first=20, at=NOW + 20)
        house.take_in(NOW + 20)
        assert set(new) <= house.inputs("v2")
        assert not set(new) & house.inputs("v1")


def test_what_was_kept_for_the_other_version_is_kept_for_the_promoted_one(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(10)
        house.take_in()
        house.process("v1", dids[:2])
        promote(house, V2, NOW + 10)
        assert house.kept("v1") == set()
        assert set(dids[2:]) <= house.kept("v2")
        why = sa.select(obligation_table.c.waived_by, obligation_table.c.waived_why).where(obligation_table.c.waived_by.is_not(None))
        assert set(house.rows(why)) == {("ann", "v2 was promoted and takes it over")}


def test_what_the_promoted_version_does_not_cover_stays_with_the_other(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2="inputs: {from_run: 2}\ncanary: {last: 1}") as house:
        old = house.arrive(2, run=1)
        house.arrive(3, run=2)
        house.take_in()
        promote(house, V2, NOW + 10)
        assert {task.input_did for task in house.tasks("v1") if task.state == "ready"} == set(old)
        assert house.kept("v1") == set(old)


def test_promoting_again_finishes_what_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(10)
        house.take_in()
        with monkeypatch.context() as patch:
            patch.setattr(EmbeddedCatalog, "children_of", away)
            with pytest.raises(TransientError):
                promote(house, V2, NOW + 10)
        assert house.states("v1") == ["ready"] * 10
        rows = promote(house, V2, NOW + 20)
        assert rows[0]["inputs_taken_over"] == 10
        assert house.inputs("v2") == set(dids)
        before = house.tasks()
        assert promote(house, V2, NOW + 30)[0]["inputs_taken_over"] == 0
        assert house.tasks() == before


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        house.arrive(10)
        house.take_in()
        before = house.tasks()
        assert promote(house, V2.model_copy(update={"dry_run": True}), NOW)[0]["inputs_taken_over"] == 10
        assert drop(house, DropArguments(campaign="prompt", version="v2", dry_run=True), NOW)[0]["inputs_waived"] == len(house.inputs("v2"))
        assert house.tasks() == before


def test_files_never_lose_what_keeps_them_by_a_promotion(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        path = tmp_path / "campaigns" / "v2.yaml"
        path.write_text(path.read_text().replace("required: true", "required: false"))
    refused = pytest.raises(ConfigError, match="version v1 is `required`, v2 is not: files would leave the buffer unprocessed")
    with TwoVersions.open(tmp_path) as house, refused:
        promote(house, V2, NOW)


def test_a_full_version_is_neither_promoted_nor_dropped(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        with pytest.raises(ConfigError, match="prompt v1 is no canary: processes all its inputs"):
            promote(house, PromoteArguments(campaign="prompt", version="v1"), NOW)
        with pytest.raises(ConfigError, match="prompt v1 is no canary"):
            drop(house, DropArguments(campaign="prompt", version="v1"), NOW)


def test_dropped_it_takes_nothing_more_and_keeps_no_file(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        house.arrive(20)
        house.take_in()
        tried = sorted(house.inputs("v2"))
        house.process("v2", tried[:2])
        house.begin("v2", tried[2])
        (row,) = drop(house, DropArguments(campaign="prompt", version="v2", by="ann"), NOW + 5)
        assert (row["inputs_waived"], row["jobs_going_on"], row["retired"]) == (len(tried) - 3, 1, "kept")
        assert house.kept("v2") == {tried[2]}
        house.arrive(10, first=20)
        house.take_in()
        assert house.inputs("v2") == set(tried)
        assert len(house.inputs("v1")) == 30
        with pytest.raises(ConfigError, match="v2 is no canary: was tried and given up"):
            promote(house, V2, NOW + 6)


def test_what_a_dropped_version_made_is_retired_when_asked(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=CANARY) as house:
        dids = house.arrive(10)
        house.take_in()
        tried = sorted(house.inputs("v2"))
        house.process("v1", dids)
        house.process("v2", tried[:2])
        job = house.begin("v2", tried[2])
        asked = DropArguments(campaign="prompt", version="v2", retire=True)
        assert drop(house, asked, NOW)[0]["retired"] == "4 files, more when its jobs have ended: call it again"
        house.declare(house.end(job))
        assert drop(house, asked, NOW)[0]["retired"] == "2 files"
        assert drop(house, asked, NOW)[0]["retired"] == "0 files"
        assert house.catalog.children_of(dids, MadeBy("prompt", "v2", "evaluate")) == {}
        assert len(house.catalog.children_of(dids, MadeBy("prompt", "v1", "evaluate"))) == 10


def away(*_: object, **__: object) -> None:
    raise TransientError("the catalogue is away")
