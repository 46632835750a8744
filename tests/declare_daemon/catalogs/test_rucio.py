"""Rucio: datasets with rules, files with replicas, places and copies, against a real server."""

from __future__ import annotations

from typing import Any

import pytest

from declare_daemon.catalogs import Keeping
from declare_daemon.catalogs.rucio import MISSING, NO_COPY, RucioCatalog
from declare_daemon.storage.lfn2pfn import relative_path
from dune_prompt.errors import ConfigError, ConflictError, DataError, DunePromptError, TransientError
from tests.declare_daemon.catalogs.rucio_world import (
    EOS,
    FAR,
    IDENTITY,
    LOOSE,
    NEAR,
    PROMPT,
    RULES,
    SCOPE,
    World,
    catalog,
    dataset_in,
    needs_rucio,
    proxy,
    shared,
    world,
)
from tests.servers.proxy import FaultProxy

__all__ = ["catalog", "proxy", "shared", "world"]  # fixtures

pytestmark = needs_rucio

# -- datasets and rules ----------------------------------------------------------------------------------------------------


def test_a_dataset_is_made_with_its_rules_and_making_it_again_changes_nothing(world: World) -> None:
    catalog = world.catalog(rules=RULES, activity="T0 Export")
    dataset = dataset_in(world, catalog)
    for _ in range(2):
        catalog.ensure_dataset(dataset)
    assert world.rules(dataset) == [(rse, "root", "D", 1, "T0 Export", 0) for rse in sorted(RULES)]
    assert catalog.replicas_of(dataset) == []


def test_a_rule_that_a_dataset_lacks_is_added(world: World) -> None:
    dataset = dataset_in(world, world.catalog(rules=(NEAR,)))
    world.catalog(rules=RULES).ensure_dataset(dataset)
    assert [row[0] for row in world.rules(dataset)] == sorted(RULES)


def test_the_dataset_says_by_which_rules_and_how_long_it_is_kept(world: World) -> None:
    dataset = dataset_in(world, world.catalog(rules=RULES), Keeping(rules=(NEAR,), lifetime_s=86400.0))
    assert world.rules(dataset) == [(NEAR, "root", "D", 1, "default", 1)]


def test_a_file_with_the_datasets_name_is_a_conflict(world: World, catalog: RucioCatalog) -> None:
    file = world.replica()
    catalog.add([file], dataset_in(world, catalog))
    with pytest.raises(ConflictError, match="is no dataset but a file"):
        catalog.ensure_dataset(file.did)
    with pytest.raises(ConflictError, match="is a file"):
        catalog.add([world.replica()], file.did)


def test_an_activity_that_rucio_does_not_know_is_a_wrong_setting_and_no_bad_data(world: World, catalog: RucioCatalog) -> None:
    dataset = dataset_in(world, catalog)
    with pytest.raises(ConfigError, match=r"rule NEAR of dataset .* 'Nope' is not one of"):
        world.catalog(rules=(NEAR,), activity="Nope").ensure_dataset(dataset)


@pytest.mark.parametrize(
    ("did", "change", "error"),
    [
        ("nowhere:run", {}, ConfigError),
        (f"{SCOPE}:a b", {}, DataError),
        (f"{SCOPE}:unmade", {"rules": ("NOWHERE",)}, ConfigError),
        (f"{SCOPE}:unmade", {"rules": ("NEAR||",)}, ConfigError),
    ],
)
def test_a_dataset_that_cannot_be_is_refused(world: World, did: str, change: dict[str, Any], error: type[DunePromptError]) -> None:
    with pytest.raises(error, match="making dataset"):
        world.catalog(**change).ensure_dataset(did)
    assert world.there("dids", did) == 0


# -- files -----------------------------------------------------------------------------------------------------------------


def test_files_are_entered_once_however_often_they_are_added(world: World, catalog: RucioCatalog) -> None:
    dataset, files = dataset_in(world, catalog), world.replicas(3)
    for batch in (files[:2], files, files):
        catalog.add(batch, dataset)
    assert catalog.replicas_of(dataset) == sorted(file.did for file in files)
    for file in files:
        assert (world.there("dids", file.did), world.there("replicas", file.did)) == (1, 1)
    assert len(world.attached(dataset)) == 3


def test_a_file_may_join_another_dataset(world: World, catalog: RucioCatalog) -> None:
    file = world.replica()
    datasets = [dataset_in(world, catalog) for _ in range(2)]
    for dataset in datasets:
        catalog.add([file], dataset)
        assert catalog.replicas_of(dataset) == [file.did]


@pytest.mark.parametrize("change", [{"size_bytes": 6}, {"adler32": "0000000b"}])
def test_other_content_under_a_name_is_a_conflict_that_names_the_file_and_nothing_is_written(
    world: World, catalog: RucioCatalog, change: dict[str, Any]
) -> None:
    dataset, (file, fresh) = dataset_in(world, catalog), world.replicas(2)
    catalog.add([file], dataset)
    with pytest.raises(ConflictError, match=rf"{file.did}: declared with size 5, adler32 0000000a; here size") as caught:
        catalog.add([fresh, world.replica(file.did, **change)], dataset)
    assert len(str(caught.value)) < 300
    assert world.attached(dataset) == [file.did.split(":")[1]]
    assert world.there("dids", fresh.did) == 0


def test_a_conflict_shows_before_the_first_of_several_requests(world: World, catalog: RucioCatalog) -> None:
    dataset, files = dataset_in(world, catalog), world.replicas(501)
    catalog.add(files[-1:], dataset)
    files[-1] = world.replica(files[-1].did, size_bytes=6)
    with pytest.raises(ConflictError, match=files[-1].did):
        catalog.add(files, dataset)
    assert len(world.attached(dataset)) == 1


def test_a_dataset_with_the_files_name_is_a_conflict(world: World, catalog: RucioCatalog) -> None:
    dataset = dataset_in(world, catalog)
    with pytest.raises(ConflictError, match="Rucio has a dataset of that name"):
        catalog.add([world.replica(dataset)], dataset)


def test_one_file_twice_in_a_batch_is_one_file_or_a_conflict(world: World, catalog: RucioCatalog) -> None:
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file, file], dataset)
    assert catalog.replicas_of(dataset) == [file.did]
    with pytest.raises(ConflictError, match="twice"):
        catalog.add([file, world.replica(file.did, size_bytes=6)], dataset)


@pytest.mark.parametrize("change", [{"adler32": "a"}, {"adler32": "0000000A"}, {"did": f"{SCOPE}:with blank"}])
def test_what_rucio_would_not_take_for_the_same_file_is_bad_data(world: World, catalog: RucioCatalog, change: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        catalog.add([world.replica(), world.replica(**change)], dataset_in(world, catalog))


def test_a_missing_dataset_is_asked_for_again_a_closed_one_needs_a_person(world: World, catalog: RucioCatalog) -> None:
    with pytest.raises(TransientError, match="adding 1 files"):
        catalog.add([world.replica()], world.did("run"))
    dataset = dataset_in(world, catalog)
    world.server.close_dataset(dataset)
    with pytest.raises(ConfigError, match="is closed"):
        catalog.add([world.replica()], dataset)


def test_an_unknown_storage_element_is_named(world: World) -> None:
    catalog = world.catalog(rse="NOWHERE")
    with pytest.raises(ConfigError, match="NOWHERE"):
        catalog.add([world.replica()], f"{SCOPE}:run")


def test_twelve_hundred_files_are_three_requests_each_way(world: World, proxy: FaultProxy) -> None:
    catalog = world.catalog(url=proxy.url)
    dataset, files = dataset_in(world, catalog), world.replicas(1200)
    catalog.add(files[:1], dataset)
    proxy.forget()
    catalog.add(files, dataset)
    assert proxy.count("POST", "/dids/attachments") == 3
    assert proxy.count("POST", "/dids/bulkmeta") == 3
    assert proxy.count() == 6
    proxy.forget()
    assert len(catalog.copies([file.did for file in files], dataset)) == 1200
    assert proxy.count("POST", "/replicas/list") == 4  # three for the files, one for the rows of the dataset
    assert proxy.count() == 4


def test_the_session_is_kept_from_one_call_to_the_next(world: World, proxy: FaultProxy) -> None:
    catalog = world.catalog(url=proxy.url)
    dataset = dataset_in(world, catalog)
    catalog.add(world.replicas(2), dataset)
    proxy.forget()
    catalog.add(world.replicas(2), dataset)
    catalog.ping()
    assert (proxy.count(), proxy.connections) == (2, 0)


# -- where files lie -------------------------------------------------------------------------------------------------------


def test_without_place_the_catalogue_asks_for_no_copies(catalog: RucioCatalog, world: World) -> None:
    assert catalog.places_for([world.did()]) == {}


@pytest.mark.parametrize(
    ("rse", "where"), [(NEAR, relative_path("hash", SCOPE, "raw")), (IDENTITY, f"{SCOPE}/raw"), (LOOSE, f"{SCOPE}/raw")]
)
def test_copies_are_placed_where_the_storage_element_wants_them(world: World, rse: str, where: str) -> None:
    did = f"{SCOPE}:raw"
    assert world.catalog(rse=rse, place=True).places_for([did]) == {did: f"{world.folder}/{rse}/{where}"}
    assert world.catalog(place=True).places_for([did], Keeping(rse=rse)) == {did: f"{world.folder}/{rse}/{where}"}
    mounted = world.catalog(rse=rse, place=True, place_url="/mnt/eos")
    assert mounted.places_for([did]) == {did: f"/mnt/eos/{where}"}


@pytest.mark.parametrize("rse", [NEAR, IDENTITY, LOOSE, EOS])
@pytest.mark.parametrize("place_url", [None, "/mnt/eos", "root://door.example:2094//np04"])
def test_a_file_is_known_at_the_place_it_was_put(world: World, rse: str, place_url: str | None) -> None:
    catalog = world.catalog(rse=rse, place=True, place_url=place_url)
    dataset, did = dataset_in(world, catalog), world.did()
    place = catalog.places_for([did])[did]
    catalog.add([world.replica(did, path=place)], dataset)
    assert catalog.copies([did], dataset)[did].places == {rse: place}


def test_a_deterministic_element_refuses_a_file_elsewhere(world: World, catalog: RucioCatalog) -> None:
    with pytest.raises(ConfigError, match="set `place: true`"):
        catalog.add([world.replica(path="/data/buffer/raw.hdf5")], dataset_in(world, catalog))


def test_a_loose_element_takes_a_file_anywhere_below_its_prefix_and_nowhere_else(world: World) -> None:
    catalog = world.catalog(rse=LOOSE)
    dataset, file = dataset_in(world, catalog), world.replica(path=f"{world.folder}/{LOOSE}/run 1/raw.hdf5".replace(" ", "_"))
    catalog.add([file], dataset)
    assert catalog.copies([file.did], dataset)[file.did].places == {LOOSE: file.path}
    with pytest.raises(ConfigError, match="outside of LOOSE"):
        catalog.add([world.replica(path="/data/buffer/raw.hdf5")], dataset)


# -- copies ----------------------------------------------------------------------------------------------------------------


def test_unknown_files_are_absent_and_known_ones_have_their_content(world: World, catalog: RucioCatalog) -> None:
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    found = catalog.copies([file.did, world.did(), file.did], dataset)
    assert found.keys() == {file.did}
    assert (found[file.did].size_bytes, found[file.did].adler32) == (5, "0000000a")
    assert found[file.did].complete
    assert catalog.copies([], dataset) == {}


def test_a_rule_to_another_element_is_kept_when_its_transfer_is_done(world: World) -> None:
    catalog = world.catalog(rules=RULES)
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    # The server has not looked at the new file yet and says OK, but there is no copy.
    assert catalog.copies([file.did], dataset)[file.did].rules == {NEAR: "OK", FAR: NO_COPY}
    world.server.tick("evaluator")
    assert catalog.copies([file.did], dataset)[file.did].rules == {NEAR: "OK", FAR: "REPLICATING"}
    world.server.tick("submitter", "poller", "finisher")
    copies = catalog.copies([file.did], dataset)[file.did]
    assert copies.rules == {NEAR: "OK", FAR: "OK"}
    assert copies.complete
    assert copies.places.keys() == {NEAR, FAR}


@pytest.mark.parametrize(("state", "word"), [("S", "STUCK"), ("U", "SUSPENDED"), ("R", "REPLICATING")])
def test_a_rule_that_is_not_satisfied_says_why(world: World, state: str, word: str) -> None:
    catalog = world.catalog(rules=(NEAR,))
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    world.server.set_rule_state(dataset, state)
    copies = catalog.copies([file.did], dataset)[file.did]
    assert copies.rules == {NEAR: word}
    assert not copies.complete


def test_a_rule_that_is_missing_or_of_another_account_is_missing(world: World, catalog: RucioCatalog) -> None:
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    asking = world.catalog(rules=(NEAR,))
    assert asking.copies([file.did], dataset)[file.did].rules == {NEAR: MISSING}
    assert asking.copies([file.did], world.did("run"))[file.did].rules == {NEAR: MISSING}
    prompt = world.catalog(rules=(NEAR,), login=PROMPT)
    asking.ensure_dataset(dataset)
    assert asking.copies([file.did], dataset)[file.did].rules == {NEAR: "OK"}
    assert prompt.copies([file.did], dataset)[file.did].rules == {NEAR: MISSING}


def test_a_copy_that_is_not_available_is_none(world: World) -> None:
    catalog = world.catalog(rules=(NEAR,))
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    assert catalog.copies([file.did], dataset)[file.did].complete
    world.server.set_replica_state(NEAR, file.did, "U")
    copies = catalog.copies([file.did], dataset)[file.did]
    assert (copies.places, copies.rules) == ({}, {NEAR: NO_COPY})


@pytest.mark.parametrize("change", [{"bytes": 7}, {"adler32": "0000000b"}])
def test_a_replica_of_another_size_or_checksum_is_no_copy_though_rucio_calls_it_available(world: World, change: dict[str, Any]) -> None:
    catalog = world.catalog()
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    scope, _, name = file.did.partition(":")
    world.server.add_replicas(FAR, [{"scope": scope, "name": name, "bytes": 5, "adler32": "0000000a"} | change])
    assert catalog.copies([file.did], dataset)[file.did].places.keys() == {NEAR}


def test_a_cache_is_no_copy(world: World) -> None:
    catalog = world.catalog()
    dataset, file = dataset_in(world, catalog), world.replica()
    catalog.add([file], dataset)
    world.server.change_rse(NEAR, volatile=True)
    try:
        assert catalog.copies([file.did], dataset)[file.did].places == {}
    finally:
        world.server.change_rse(NEAR, volatile=False)


def test_an_unknown_dataset_has_no_files(world: World, catalog: RucioCatalog) -> None:
    assert catalog.replicas_of(world.did("run")) == []
