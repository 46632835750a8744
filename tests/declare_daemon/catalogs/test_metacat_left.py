"""What is left to do of MetaCat's datasets: one query about all of a dataset, and small ones about what joined since."""

from __future__ import annotations

import pytest

from declare_daemon.catalogs.metacat import MARGIN_S, MetacatCatalog
from dune_prompt.errors import ConfigError, DataError, TransientError
from tests.declare_daemon.catalogs.metacat_world import MADE_BY, World, catalog, child, ns, raw, world

__all__ = ["catalog", "ns", "world"]  # fixtures

LOOK, QUERY = "app/files", "app/query"


def make_old(world: World, ns: str) -> None:
    """Everything of the namespace was declared a long time ago."""
    world.server.execute(
        "update files set created_timestamp = created_timestamp - %s * interval '1 second' where namespace = %s", (2 * MARGIN_S, ns)
    )


def test_datasets_are_listed_by_a_pattern_with_the_run_open(world: World, catalog: MetacatCatalog, ns: str) -> None:
    for name in ("run_2", "run_2_reco", "runX3"):
        world.server.add_dataset(f"{ns}:{name}")
    assert catalog.datasets(f"{ns}:run_*") == [f"{ns}:run_1", f"{ns}:run_2", f"{ns}:run_2_reco"]
    assert catalog.datasets(f"{ns}:run_*_reco") == [f"{ns}:run_2_reco"]
    assert catalog.datasets(f"{ns}:run_2") == [f"{ns}:run_2"]
    assert catalog.datasets(f"{ns}:run_9") == []


@pytest.mark.parametrize("pattern", ['ns:run_*" or "1', "ns:run_*;", "ns:*_*"])
def test_a_pattern_that_is_none_is_refused_before_it_is_asked(world: World, catalog: MetacatCatalog, pattern: str) -> None:
    with pytest.raises((ConfigError, DataError)):
        catalog.datasets(pattern)
    assert world.asked(QUERY) == []


def test_all_that_is_left_comes_with_its_metadata_in_one_query(world: World, catalog: MetacatCatalog, ns: str) -> None:
    catalog.declare([raw(ns, number) for number in range(3)], f"{ns}:run_1")
    catalog.declare([child(raw(ns, 1))], f"{ns}:run_1")
    make_old(world, ns)
    world.server.forget()
    left = catalog.left(f"{ns}:run_1", MADE_BY)
    assert left is not None
    raws = {raw(ns, 0).did, raw(ns, 2).did}
    assert (left.dids & {raw(ns, number).did for number in range(3)}, left.whole) == (raws, True)
    entry = left.entries[raw(ns, 0).did]
    assert (entry.size_bytes, entry.adler32, entry.metadata) == (5, "0000000a", {"core.runs": [1]})
    assert entry.declared_at is not None
    assert len(world.asked(QUERY)) == 2  # what is left, and how much of it is new
    assert world.asked(LOOK) == []


def test_when_nothing_joined_only_the_number_of_files_is_asked(world: World, catalog: MetacatCatalog, ns: str) -> None:
    catalog.declare([raw(ns)], f"{ns}:run_1")
    left = catalog.left(f"{ns}:run_1", MADE_BY)
    assert left is not None
    world.server.forget()
    assert catalog.left(f"{ns}:run_1", MADE_BY, left.mark) is None
    assert [asked.endpoint for asked in world.server.log] == ["app/dataset"]


def test_of_a_growing_dataset_only_what_joined_is_told(world: World, catalog: MetacatCatalog, ns: str) -> None:
    dataset = f"{ns}:run_1"
    catalog.declare([raw(ns, number) for number in range(3)], dataset)
    make_old(world, ns)
    mark = None
    for number in range(3, 7):
        left = catalog.left(dataset, MADE_BY, mark)
        assert left is not None
        assert left.whole is (mark is None)
        if mark is not None:
            assert raw(ns, 0).did not in left.dids
            assert (raw(ns, number - 1).did in left.dids) is (number != 6)
        mark = left.mark
        catalog.declare([raw(ns, number)], dataset)
        if number == 5:
            world.server.add_dataset(f"{ns}:evaluated")
            catalog.declare([child(raw(ns, number))], f"{ns}:evaluated")


def test_a_file_of_long_ago_that_joins_a_dataset_later_is_not_missed(world: World, catalog: MetacatCatalog, ns: str) -> None:
    world.server.add_dataset(f"{ns}:other")
    catalog.declare([raw(ns, 0)], f"{ns}:other")
    catalog.declare([raw(ns, 1)], f"{ns}:run_1")
    make_old(world, ns)
    first = catalog.left(f"{ns}:run_1", MADE_BY)
    assert first is not None
    catalog.declare([raw(ns, 0)], f"{ns}:run_1")
    second = catalog.left(f"{ns}:run_1", MADE_BY, first.mark)
    assert second is not None
    assert (second.dids, second.whole) == ({raw(ns, 0).did, raw(ns, 1).did}, True)


def test_a_retired_file_leaves_and_is_not_left(catalog: MetacatCatalog, ns: str) -> None:
    catalog.declare([raw(ns, 0), raw(ns, 1)], f"{ns}:run_1")
    first = catalog.left(f"{ns}:run_1", MADE_BY)
    assert first is not None
    catalog.retire([raw(ns, 0).did])
    second = catalog.left(f"{ns}:run_1", MADE_BY, first.mark)
    assert second is not None
    assert second.dids == {raw(ns, 1).did}


def test_known_files_are_told_without_asking_for_their_metadata(world: World, catalog: MetacatCatalog, ns: str) -> None:
    catalog.declare([raw(ns, number) for number in range(3)], f"{ns}:run_1")
    known = {raw(ns, 0).did, raw(ns, 1).did}
    left = catalog.left(f"{ns}:run_1", MADE_BY, known=lambda: known)
    assert left is not None
    assert left.dids == known | {raw(ns, 2).did}
    assert left.entries[raw(ns, 2).did].metadata == {"core.runs": [1]}
    assert world.asked(LOOK)[-1] == 1


def test_nothing_is_left_of_an_unknown_dataset_until_there_is_one(world: World, catalog: MetacatCatalog, ns: str) -> None:
    left = catalog.left(f"{ns}:run_7", MADE_BY)
    assert left is not None
    assert left.dids == frozenset()
    world.server.add_dataset(f"{ns}:run_7")
    catalog.declare([raw(ns)], f"{ns}:run_7")
    again = catalog.left(f"{ns}:run_7", MADE_BY, left.mark)
    assert again is not None
    assert again.dids == {raw(ns).did}


def test_an_outage_says_nothing_of_what_is_left(world: World, ns: str) -> None:
    catalog = world.open()
    with world.proxy.refusing(), pytest.raises(TransientError):
        catalog.left(f"{ns}:run_1", MADE_BY)
    catalog.close()
