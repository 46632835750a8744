"""MetaCat through its real client, against a server of its own database layer: what it keeps, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from declare_daemon.catalogs.metacat import MetacatCatalog
from declare_daemon.catalogs.protocol import CONFIRMED, OUTPUT_STATUS
from declare_daemon.metadata import clean_metadata
from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError
from dune_prompt.records import MadeBy
from tests.declare_daemon.catalogs.metacat_world import MADE_BY, World, catalog, child, new_namespace, ns, raw, world

__all__ = ["catalog", "ns", "world"]  # fixtures

# -- what it keeps -----------------------------------------------------------------------------------------------------


def test_a_declared_file_is_found_with_its_metadata(catalog: MetacatCatalog, ns: str) -> None:
    metadata = {"core.runs": [28049], "core.start_time": 1.5, "core.event_count": 3, "dune.workflow": {"a": {"b": [True, "x"]}}}
    catalog.declare([raw(ns, metadata=metadata)], f"{ns}:run_1")
    found = catalog.look([raw(ns).did, f"{ns}:unknown"], with_metadata=True)
    assert found.keys() == {raw(ns).did}
    entry = found[raw(ns).did]
    assert entry.agrees_with(raw(ns))
    assert entry.metadata == metadata
    assert entry.fid
    assert catalog.look([raw(ns).did])[raw(ns).did].metadata == {}


KEYS = st.from_regex(r"[a-z0-9_-]{1,8}\.[a-z0-9_-]{1,8}", fullmatch=True)
# From 1e16 the database gives a float back as the whole number its digits spell.
FLOATS = st.floats(-1e15, 1e15)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(batch=st.lists(st.dictionaries(KEYS, VALUES, max_size=5), min_size=1, max_size=30))
@settings(max_examples=15)
def test_clean_metadata_come_back_as_they_went(world: World, batch: list[dict[str, Any]]) -> None:
    namespace = new_namespace(world)
    catalog = world.open()
    catalog.ensure_dataset(f"{namespace}:all")
    cleaned = [clean_metadata(metadata, "here") for metadata in batch]
    records = [raw(namespace, number, metadata=metadata) for number, metadata in enumerate(cleaned)]
    catalog.declare(records, f"{namespace}:all")
    found = catalog.look([record.did for record in records], with_metadata=True)
    assert [found[record.did].metadata for record in records] == cleaned
    catalog.close()


def test_a_repeated_declaration_changes_nothing(catalog: MetacatCatalog, ns: str, world: World) -> None:
    records = [raw(ns), child(raw(ns))]
    catalog.declare(records, f"{ns}:run_1")
    before = world.everything()
    catalog.declare(records, f"{ns}:run_1")
    assert world.everything() == before
    assert len(before) > 4


def test_a_file_that_is_there_only_joins_the_other_dataset(catalog: MetacatCatalog, ns: str, world: World) -> None:
    catalog.ensure_dataset(f"{ns}:other")
    catalog.declare([raw(ns)], f"{ns}:run_1")
    world.server.forget()
    catalog.declare([raw(ns), raw(ns, 1)], f"{ns}:other")
    assert catalog.members(f"{ns}:run_1").keys() == {raw(ns).did}
    assert catalog.members(f"{ns}:other").keys() == {raw(ns).did, raw(ns, 1).did}
    assert (world.asked("app/declare_files"), world.asked("app/add_files")) == ([1], [1])


def test_another_content_under_a_name_is_a_conflict_naming_both_and_nothing_is_written(catalog: MetacatCatalog, ns: str) -> None:
    catalog.declare([raw(ns)], f"{ns}:run_1")
    with pytest.raises(ConflictError, match=r"size 5, adler32 0000000a.*size 6, adler32 0000000b"):
        catalog.declare([raw(ns, 1), raw(ns, size_bytes=6, adler32="0000000b")], f"{ns}:run_1")
    assert catalog.look([raw(ns, 1).did]) == {}


def test_a_retired_name_stays_taken(catalog: MetacatCatalog, ns: str) -> None:
    catalog.declare([raw(ns)], f"{ns}:run_1")
    catalog.retire([raw(ns).did, f"{ns}:unknown"])
    catalog.retire([raw(ns).did])
    assert catalog.look([raw(ns).did])[raw(ns).did].retired
    assert catalog.members(f"{ns}:run_1")[raw(ns).did].retired
    assert catalog.undone(f"{ns}:run_1", MADE_BY) == []
    with pytest.raises(ConflictError, match="retired"):
        catalog.declare([raw(ns)], f"{ns}:run_1")


def test_an_unknown_parent_is_bad_data_and_nothing_is_written(catalog: MetacatCatalog, ns: str) -> None:
    with pytest.raises(DataError, match=rf"{ns}:raw0.hdf5_evaluate_v1.2: its parent {ns}:raw0.hdf5 is not declared"):
        catalog.declare([raw(ns, 1), child(raw(ns))], f"{ns}:run_1")
    assert catalog.look([raw(ns, 1).did]) == {}


def test_parents_may_be_declared_with_their_children(catalog: MetacatCatalog, ns: str) -> None:
    catalog.declare([child(raw(ns)), raw(ns)], f"{ns}:run_1")
    assert catalog.children_of([raw(ns).did], MADE_BY) == {raw(ns).did: (child(raw(ns)).did,)}


def test_a_file_that_is_its_own_parent_is_bad_data(catalog: MetacatCatalog, ns: str) -> None:
    with pytest.raises(DataError, match="is not declared"):
        catalog.declare([raw(ns, parents=(raw(ns).did,))], f"{ns}:run_1")


def test_a_missing_dataset_is_not_the_files_fault(catalog: MetacatCatalog, ns: str) -> None:
    with pytest.raises(TransientError, match=f"dataset {ns}:none is missing"):
        catalog.declare([raw(ns)], f"{ns}:none")
    assert catalog.look([raw(ns).did]) == {}
    catalog.declare([raw(ns)], f"{ns}:run_1")
    with pytest.raises(TransientError, match=f"dataset {ns}:none is missing"):
        catalog.declare([raw(ns)], f"{ns}:none")


def test_the_id_of_an_earlier_catalogue_becomes_the_files_own(catalog: MetacatCatalog, ns: str) -> None:
    fid = f"1{ns[2:]}"
    catalog.declare([raw(ns, fid=fid)], f"{ns}:run_1")
    assert catalog.look([raw(ns).did])[raw(ns).did].fid == fid
    catalog.declare([raw(ns, fid="another")], f"{ns}:run_1")
    assert catalog.look([raw(ns).did])[raw(ns).did].fid == fid


def test_an_id_that_is_another_files_is_a_conflict_naming_both(catalog: MetacatCatalog, ns: str) -> None:
    catalog.declare([raw(ns, fid=f"2{ns[2:]}")], f"{ns}:run_1")
    with pytest.raises(ConflictError, match=rf"{ns}:raw1.hdf5: its id 2\d+ is that of {ns}:raw0.hdf5"):
        catalog.declare([raw(ns, 1, fid=f"2{ns[2:]}"), raw(ns, 2, fid=f"3{ns[2:]}")], f"{ns}:run_1")


@pytest.mark.parametrize(
    ("checksums", "adler32"),
    [
        ('{"adler32": "A"}', "0000000a"),
        ('{"ADLER32": "adler32:0000000a"}', "0000000a"),
        ('{"adler32": "0x0000000A"}', "0000000a"),
        ('{"adler32": "no idea"}', "no idea"),
        ('{"adler32": ["0000000a"]}', "['0000000a']"),
        ('{"md5": "0"}', ""),
        ("{}", ""),
    ],
)
def test_checksums_of_others_are_read_in_the_form_of_ours(
    catalog: MetacatCatalog, ns: str, world: World, checksums: str, adler32: str
) -> None:
    catalog.declare([raw(ns)], f"{ns}:run_1")
    world.server.execute("update files set checksums = %s where namespace = %s", (checksums, ns))
    assert catalog.look([raw(ns).did])[raw(ns).did].adler32 == catalog.members(f"{ns}:run_1")[raw(ns).did].adler32 == adler32


def test_a_file_without_a_size_agrees_with_none(catalog: MetacatCatalog, ns: str, world: World) -> None:
    catalog.declare([raw(ns, size_bytes=0)], f"{ns}:run_1")
    world.server.execute("update files set size = null, metadata = null, retired = null where namespace = %s", (ns,))
    assert not catalog.look([raw(ns).did], with_metadata=True)[raw(ns).did].agrees_with(raw(ns, size_bytes=0))


def test_confirming_adds_one_key_and_passes_over_the_unknown(catalog: MetacatCatalog, ns: str) -> None:
    catalog.declare([raw(ns), raw(ns, 1)], f"{ns}:run_1")
    for _ in range(2):
        catalog.confirm([raw(ns).did, f"{ns}:unknown"])
    found = catalog.look([raw(ns).did, raw(ns, 1).did], with_metadata=True)
    assert found[raw(ns).did].metadata == {"core.runs": [1], OUTPUT_STATUS: CONFIRMED}
    assert found[raw(ns, 1).did].metadata == {"core.runs": [1]}


# -- what is done ------------------------------------------------------------------------------------------------------


def test_only_children_of_this_campaign_version_and_stage_count(catalog: MetacatCatalog, ns: str) -> None:
    catalog.ensure_dataset(f"{ns}:reco")
    files = [raw(ns, number) for number in range(4)]
    catalog.declare(files, f"{ns}:run_1")
    upper = child(files[3], key="DUNE.campaign")
    others = [child(files[0], "nf_sp"), child(files[0], version="v1.1"), child(files[0], key="dune.other")]
    others = [replace(record, name=f"{record.name}_{number}") for number, record in enumerate(others)]
    catalog.declare([*others, child(files[1]), child(files[1], "nf_sp"), upper], f"{ns}:reco")
    assert catalog.undone(f"{ns}:run_1", MADE_BY) == [files[0].did, files[2].did]
    dids = [*(file.did for file in files), f"{ns}:unknown"]
    assert catalog.children_of(dids, MADE_BY) == {files[1].did: (child(files[1]).did,), files[3].did: (upper.did,)}


def test_a_child_of_several_files_counts_for_each_once(catalog: MetacatCatalog, ns: str) -> None:
    catalog.ensure_dataset(f"{ns}:reco")
    files = [raw(ns, number) for number in range(3)]
    catalog.declare(files, f"{ns}:run_1")
    merged = replace(child(files[0]), parents=tuple(file.did for file in files))
    second = replace(child(files[0]), name="second")
    catalog.declare([merged, second], f"{ns}:reco")
    one, both = (merged.did,), (merged.did, second.did)
    assert catalog.children_of([file.did for file in files], MADE_BY) == {files[0].did: both, files[1].did: one, files[2].did: one}
    assert catalog.undone(f"{ns}:run_1", MADE_BY) == []


def test_retiring_a_child_makes_its_parent_undone_again(catalog: MetacatCatalog, ns: str) -> None:
    catalog.ensure_dataset(f"{ns}:reco")
    catalog.declare([raw(ns)], f"{ns}:run_1")
    catalog.declare([child(raw(ns))], f"{ns}:reco")
    assert catalog.undone(f"{ns}:run_1", MADE_BY) == []
    catalog.retire([child(raw(ns)).did])
    assert catalog.undone(f"{ns}:run_1", MADE_BY) == [raw(ns).did]
    assert catalog.children_of([raw(ns).did], MADE_BY) == {}


def test_what_is_undone_follows_a_growing_dataset_and_an_unknown_one_has_nothing(catalog: MetacatCatalog, ns: str, world: World) -> None:
    assert catalog.undone(f"{ns}:none", MADE_BY) == []
    assert catalog.members(f"{ns}:none") == {}
    for number in range(3):
        catalog.declare([raw(ns, number)], f"{ns}:run_1")
        world.server.forget()
        assert len(catalog.undone(f"{ns}:run_1", MADE_BY)) == number + 1
        assert [asked.endpoint for asked in world.server.log] == ["app/query"]


def test_what_would_be_more_than_a_value_in_a_query_is_refused(catalog: MetacatCatalog, ns: str) -> None:
    with pytest.raises(ConfigError, match="cannot be asked for"):
        catalog.undone(f"{ns}:run_1", MadeBy("x'; drop table files; --", "v1", "evaluate"))
    with pytest.raises(DataError, match="no name of a dataset"):
        catalog.members(f"{ns}:run_1 - files")


def test_many_files_are_asked_for_five_hundred_at_a_time(catalog: MetacatCatalog, ns: str, world: World) -> None:
    catalog.ensure_dataset(f"{ns}:reco")
    files = [raw(ns, number) for number in range(1200)]
    world.server.forget()
    catalog.declare(files, f"{ns}:run_1")
    assert (world.asked("app/files"), world.asked("app/declare_files"), world.asked("app/add_files")) == ([500, 500, 200],) * 2 + ([],)
    world.server.forget()
    catalog.declare([child(file) for file in files], f"{ns}:reco")
    world.server.forget()
    assert len(catalog.children_of([file.did for file in files], MADE_BY)) == 1200
    assert world.asked("app/files") == [500, 500, 200] * 2
    assert len(catalog.members(f"{ns}:run_1")) == 1200
    world.server.forget()
    catalog.confirm([file.did for file in files])
    assert world.asked("app/update_file_meta") == [500, 500, 200]
    assert world.proxy.connections == 1


# -- what it refuses ---------------------------------------------------------------------------------------------------


def test_a_dataset_is_made_once_and_is_there_after(catalog: MetacatCatalog, ns: str) -> None:
    for _ in range(2):
        catalog.ensure_dataset(f"{ns}:new")
    catalog.declare([raw(ns)], f"{ns}:new")


def test_a_namespace_that_is_not_there_or_not_ours_is_for_a_person(catalog: MetacatCatalog, ns: str, world: World) -> None:
    world.server.add_namespace(f"{ns}-theirs", owner="somebody")
    world.server.add_dataset(f"{ns}-theirs:all")
    catalog.declare([raw(ns)], f"{ns}:run_1")
    calls: list[tuple[str, Callable[[], object]]] = [
        ("metacat namespace create", lambda: catalog.ensure_dataset(f"{ns}-none:all")),
        ("dunepro may not make the dataset", lambda: catalog.ensure_dataset(f"{ns}-theirs:new")),
        ("metacat namespace create", lambda: catalog.declare([raw(ns, 1)], f"{ns}-none:all")),
        ("metacat namespace create", lambda: catalog.declare([raw(f"{ns}-none")], f"{ns}:run_1")),
        ("dunepro may not declare", lambda: catalog.declare([raw(f"{ns}-theirs")], f"{ns}:run_1")),
        ("dunepro may not declare", lambda: catalog.declare([raw(ns, 1)], f"{ns}-theirs:all")),
        ("dunepro may not put", lambda: catalog.declare([raw(ns)], f"{ns}-theirs:all")),
    ]
    for says, call in calls:
        with pytest.raises(ConfigError, match=says):
            call()
    world.server.add_dataset(f"{ns}:frozen", frozen=True)
    with pytest.raises(ConfigError, match="frozen"):
        catalog.declare([raw(ns)], f"{ns}:frozen")


@pytest.mark.parametrize("value", ['say "x"', "two\nlines", "a\ttab"])
def test_metadata_the_server_cannot_store_are_bad_data_naming_file_and_key(catalog: MetacatCatalog, ns: str, value: str) -> None:
    with pytest.raises(DataError, match=rf"{ns}:raw1.hdf5: x.bad: MetaCat cannot store"):
        catalog.declare([raw(ns), raw(ns, 1, metadata={"x.good": 1, "x.bad": [value]})], f"{ns}:run_1")
    assert catalog.look([raw(ns).did, raw(ns, 1).did]) == {}


def test_a_key_without_a_category_is_bad_data(catalog: MetacatCatalog, ns: str) -> None:
    with pytest.raises(DataError, match=rf"{ns}:raw0.hdf5: .*nodot"):
        catalog.declare([raw(ns, metadata={"nodot": 1})], f"{ns}:run_1")


def test_names_the_server_does_not_take_are_bad_data(catalog: MetacatCatalog, ns: str) -> None:
    for call in (lambda: catalog.declare([raw(ns, name="a b")], f"{ns}:run_1"), lambda: catalog.look([f"{ns}:a+b"])):
        with pytest.raises(DataError, match="Invalid value"):
            call()


def test_a_value_that_a_category_does_not_allow_is_bad_data_naming_file_and_key(catalog: MetacatCatalog, ns: str, world: World) -> None:
    world.server.add_category(ns, {"tier": {"type": "text", "values": ["raw"]}}, owner="somebody")
    with pytest.raises(DataError, match=rf"{ns}:raw1.hdf5: .*{ns}.tier: value 'sp' is not allowed"):
        catalog.declare([raw(ns, metadata={f"{ns}.tier": "raw"}), raw(ns, 1, metadata={f"{ns}.tier": "sp"})], f"{ns}:run_1")
    assert catalog.look([raw(ns).did]) == {}
