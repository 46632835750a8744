"""The embedded catalogue keeps what MetaCat and Rucio keep, by the same rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from declare_daemon.catalogs import Found, Replica, open_catalogs
from declare_daemon.catalogs.embedded import SCHEMA, EmbeddedCatalog
from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError
from dune_prompt.records import FileRecord, MadeBy
from dune_prompt.settings import Site

DATASET = "ns:run_1"
MADE_BY = MadeBy("pdhd-prompt", "v1", "evaluate")


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    catalog = EmbeddedCatalog.at(tmp_path / "catalog.sqlite")
    catalog.ensure_dataset(DATASET)
    yield catalog
    catalog.close()


def raw(number: int = 0, **change: Any) -> FileRecord:
    values: dict[str, Any] = {
        "namespace": "ns",
        "name": f"raw{number}",
        "size_bytes": 5,
        "adler32": "0000000a",
        "metadata": {"core.runs": [1]},
    }
    return FileRecord(**values | change)


def child(of: FileRecord, stage: str = "evaluate", version: str = "v1", **change: Any) -> FileRecord:
    metadata = {"dune.campaign": "pdhd-prompt", "core.application.version": version, "core.application.name": stage}
    return raw(name=f"{of.name}_{stage}_{version}", metadata=metadata, parents=(of.did,), **change)


def test_a_declared_file_is_found_with_its_metadata(catalog: EmbeddedCatalog) -> None:
    catalog.declare([raw()], DATASET)
    entry = catalog.look([raw().did, "ns:unknown"], with_metadata=True)
    assert entry.keys() == {raw().did}
    assert entry[raw().did].agrees_with(raw())
    assert entry[raw().did].metadata == {"core.runs": [1]}


def test_declaring_the_same_again_changes_nothing_and_may_join_another_dataset(catalog: EmbeddedCatalog) -> None:
    catalog.ensure_dataset("ns:other")
    for dataset in (DATASET, DATASET, "ns:other"):
        catalog.declare([raw()], dataset)
    assert catalog.undone("ns:other", MADE_BY) == catalog.undone(DATASET, MADE_BY) == [raw().did]


def test_another_content_under_a_name_is_a_conflict_naming_both_and_nothing_is_written(catalog: EmbeddedCatalog) -> None:
    catalog.declare([raw()], DATASET)
    with pytest.raises(ConflictError, match=r"size 5, adler32 0000000a.*size 6, adler32 0000000b"):
        catalog.declare([raw(1), raw(size_bytes=6, adler32="0000000b")], DATASET)
    assert catalog.look([raw(1).did]) == {}


def test_a_retired_name_stays_taken(catalog: EmbeddedCatalog) -> None:
    catalog.declare([raw()], DATASET)
    catalog.retire([raw().did, "ns:unknown"])
    assert catalog.look([raw().did])[raw().did].retired
    assert catalog.undone(DATASET, MADE_BY) == []
    with pytest.raises(ConflictError, match="retired"):
        catalog.declare([raw()], DATASET)


def test_an_unknown_parent_is_bad_data_and_nothing_is_written(catalog: EmbeddedCatalog) -> None:
    with pytest.raises(DataError, match=r"ns:raw0.*is not declared"):
        catalog.declare([raw(1), child(raw())], DATASET)
    assert catalog.look([raw(1).did]) == {}


def test_a_parent_may_be_declared_in_the_same_batch(catalog: EmbeddedCatalog) -> None:
    catalog.declare([child(raw()), raw()], DATASET)
    assert catalog.children_of([raw().did], MADE_BY) == {raw().did: (child(raw()).did,)}


def test_a_missing_dataset_is_not_the_files_fault(catalog: EmbeddedCatalog) -> None:
    with pytest.raises(TransientError, match="ns:none is missing"):
        catalog.declare([raw()], "ns:none")
    assert catalog.look([raw().did]) == {}


def test_only_children_of_this_campaign_version_and_stage_count(catalog: EmbeddedCatalog) -> None:
    catalog.declare([raw(0), raw(1)], DATASET)
    catalog.declare([child(raw(0), "nf_sp"), child(raw(0), version="v0"), child(raw(1))], DATASET)
    in_run = catalog.undone(DATASET, MADE_BY)
    assert raw(0).did in in_run
    assert raw(1).did not in in_run
    assert catalog.children_of([raw(0).did, raw(1).did], MADE_BY) == {raw(1).did: (child(raw(1)).did,)}


def test_retiring_a_child_makes_its_parent_undone_again(catalog: EmbeddedCatalog) -> None:
    catalog.ensure_dataset("ns:reco")
    catalog.declare([raw()], DATASET)
    catalog.declare([child(raw())], "ns:reco")
    assert catalog.undone(DATASET, MADE_BY) == []
    catalog.retire([child(raw()).did])
    assert catalog.undone(DATASET, MADE_BY) == [raw().did]


def test_a_replica_is_where_it_was_said_last(catalog: EmbeddedCatalog) -> None:
    catalog.declare([raw()], DATASET)
    for path in ("/buffer/raw0", "/processed/raw0"):
        catalog.add([Replica(raw().did, 5, "0000000a", path)], DATASET)
    assert catalog.places([raw().did]) == {raw().did: "/processed/raw0"}
    copies = catalog.copies([raw().did, "ns:unknown"], DATASET)
    assert copies.keys() == {raw().did}
    assert copies[raw().did].complete


def test_a_replica_of_other_content_is_a_conflict_and_of_an_unknown_file_bad_data(catalog: EmbeddedCatalog) -> None:
    catalog.declare([raw()], DATASET)
    with pytest.raises(ConflictError, match="the replica /x has size 6"):
        catalog.add([Replica(raw().did, 6, "0000000a", "/x")], DATASET)
    with pytest.raises(DataError, match="not declared"):
        catalog.add([Replica("ns:unknown", 5, "0000000a", "/x")], DATASET)


def test_large_questions_are_answered_whole(catalog: EmbeddedCatalog) -> None:
    records = [raw(number) for number in range(1201)]
    catalog.declare(records, DATASET)
    assert len(catalog.look([record.did for record in records])) == len(catalog.undone(DATASET, MADE_BY)) == 1201
    catalog.declare([child(record) for record in records], DATASET)
    assert len(catalog.children_of([record.did for record in records], MADE_BY)) == 1201


def test_a_catalogue_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    catalog = EmbeddedCatalog.at(tmp_path / "catalog.sqlite")
    with catalog._database.write() as connection:
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA + 1}")
    catalog.close()
    with pytest.raises(ConfigError, match="newer dune-prompt"):
        EmbeddedCatalog.at(tmp_path / "catalog.sqlite")


def test_the_catalogues_of_a_site_open_in_its_order(tmp_path: Path, new_stream: Any) -> None:
    site = Site(site="x", workspace=tmp_path, buffer={"path": str(tmp_path)}, streams=(new_stream(),))
    catalogs = open_catalogs(site)
    assert [(catalog.kind, catalog.name) for catalog in catalogs.all] == [("embedded", "embedded")]
    assert catalogs.truth.look(["ns:x"]) == {}
    catalogs.close()


class AgainstAModel(RuleBasedStateMachine):
    """The catalogue answers as a dictionary would."""

    files = Bundle("files")

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.catalog = EmbeddedCatalog.at(Path(self.folder.name) / "catalog.sqlite")
        self.catalog.ensure_dataset(DATASET)
        self.known: dict[str, FileRecord] = {}
        self.retired: set[str] = set()

    @rule(target=files, number=st.integers(0, 4), size=st.integers(5, 6), parent=st.none() | st.integers(0, 5))
    def declare(self, number: int, size: int, parent: int | None) -> str:
        record = raw(number, size_bytes=size) if parent is None else child(raw(parent), size_bytes=size)
        there = self.known.get(record.did)
        try:
            self.catalog.declare([record], DATASET)
        except ConflictError:
            assert there is not None
            assert there.size_bytes != size or record.did in self.retired
        except DataError:
            assert raw(parent or 0).did not in self.known
        else:
            assert there is None or there.size_bytes == size
            self.known.setdefault(record.did, record)
        return record.did

    @rule(did=files)
    def retire(self, did: str) -> None:
        self.catalog.retire([did])
        self.retired |= {did} & self.known.keys()

    @invariant()
    def looks_the_same(self) -> None:
        entries = self.catalog.look([raw(number).did for number in range(6)] + [child(raw(number)).did for number in range(6)])
        assert {did: (entry.size_bytes, entry.retired) for did, entry in entries.items()} == {
            did: (record.size_bytes, did in self.retired) for did, record in self.known.items()
        }

    @invariant()
    def the_undone_are_those_without_a_living_child(self) -> None:
        living = {did: record for did, record in self.known.items() if did not in self.retired}
        done = {parent for record in living.values() for parent in record.parents}
        assert self.catalog.undone(DATASET, MADE_BY) == sorted(living.keys() - done)

    def teardown(self) -> None:
        self.catalog.close()
        self.folder.cleanup()


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


def test_datasets_are_listed_by_a_pattern_with_the_run_open(catalog: EmbeddedCatalog) -> None:
    for did in ("ns:run_2", "ns:run_2_reco", "other:run_2"):
        catalog.ensure_dataset(did)
    assert catalog.datasets("ns:run_*") == ["ns:run_1", "ns:run_2", "ns:run_2_reco"]
    assert catalog.datasets("ns:run_*_reco") == ["ns:run_2_reco"]
    assert catalog.datasets("ns:run_2") == ["ns:run_2"]
    assert catalog.datasets("ns:run_3") == []


def test_what_is_left_is_told_with_metadata_and_again_only_when_something_joined(catalog: EmbeddedCatalog) -> None:
    catalog.ensure_dataset("ns:evaluated")
    catalog.declare([raw(0), raw(1), raw(2)], DATASET)
    catalog.declare([child(raw(1))], "ns:evaluated")
    first = catalog.left(DATASET, MADE_BY)
    assert first is not None
    assert (first.dids, first.whole) == ({raw(0).did, raw(2).did}, True)
    assert first.entries[raw(0).did].metadata == {"core.runs": [1]}
    assert first.entries[raw(0).did].declared_at is not None
    assert catalog.left(DATASET, MADE_BY, first.mark) is None
    catalog.declare([raw(3), raw(4)], DATASET)
    catalog.declare([child(raw(3))], "ns:evaluated")
    second = catalog.left(DATASET, MADE_BY, first.mark)
    assert second is not None
    assert (second.dids, second.whole) == ({raw(4).did}, False)
    assert catalog.left(DATASET, MADE_BY, second.mark) is None


def test_a_file_of_before_that_joins_a_dataset_later_is_not_missed(catalog: EmbeddedCatalog) -> None:
    catalog.ensure_dataset("ns:other")
    catalog.declare([raw(0)], "ns:other")
    catalog.declare([raw(1)], DATASET)
    first = catalog.left(DATASET, MADE_BY)
    assert first is not None
    catalog.declare([raw(0)], DATASET)
    second = catalog.left(DATASET, MADE_BY, first.mark)
    assert second is not None
    assert second.dids == {raw(0).did, raw(1).did}


def test_nothing_is_left_of_an_unknown_dataset(catalog: EmbeddedCatalog) -> None:
    left = catalog.left("ns:unknown", MADE_BY)
    assert left is not None
    assert left.dids == frozenset()


def test_a_catalogue_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    old = EmbeddedCatalog.at(path)
    old.ensure_dataset(DATASET)
    old.declare([raw()], DATASET)
    with old._database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE file DROP COLUMN declared_at")
        connection.exec_driver_sql("PRAGMA user_version = 1")
    old.close()
    new = EmbeddedCatalog.at(path)
    assert new.look([raw().did])[raw().did].declared_at is None
    new.declare([raw(1)], DATASET)
    assert new.look([raw(1).did])[raw(1).did].declared_at is not None
    new.close()


def test_a_copy_is_found_where_it_was_added(catalog: EmbeddedCatalog) -> None:
    catalog.declare([raw(0), raw(1)], DATASET)
    catalog.add([Replica(raw(0).did, 5, "0000000a", "/buffer/raw0")], DATASET)
    assert catalog.find([raw(0).did, raw(1).did]) == {raw(0).did: (Found("LOCAL", "/buffer/raw0"),)}
