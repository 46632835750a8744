"""Rucio: copies wherever they are, on disk or on tape, and what is read back from tape."""

from __future__ import annotations

import pytest

from declare_daemon.catalogs import Found, Recall
from declare_daemon.catalogs.rucio import RucioCatalog
from dune_prompt.errors import ConfigError, TransientError
from tests.declare_daemon.catalogs.rucio_world import EOS, FAR, NEAR, SCOPE, World, catalog, dataset_in, needs_rucio, proxy, shared, world
from tests.servers.proxy import FaultProxy

__all__ = ["catalog", "proxy", "shared", "world"]  # fixtures

pytestmark = needs_rucio

TAPE = "TAPE"


@pytest.fixture(scope="module")
def tape(shared: World) -> str:
    """A storage element of tapes, from which files can go NEAR."""
    shared.server.add_rse(TAPE, shared.folder / TAPE)
    shared.server.change_rse(TAPE, rse_type="TAPE")
    shared.server.connect(TAPE, NEAR)
    return TAPE


def on(world: World, rse: str, *dids: str) -> None:
    """Somebody else's copies at a storage element."""
    files = [dict(zip(("scope", "name"), did.split(":"), strict=True)) | {"bytes": 5, "adler32": "0000000a"} for did in dids]
    world.server.add_replicas(rse, files)


def recall_of(world: World, *dids: str) -> Recall:
    return Recall(world.did("recall"), dids, NEAR, 3600.0, "test")


def rules_on(world: World, dataset: str) -> int:
    return len(world.rules(dataset))


def test_copies_are_found_our_own_first_and_tape_last(world: World, catalog: RucioCatalog, tape: str) -> None:
    replica = world.replica()
    on(world, FAR, replica.did)
    on(world, tape, replica.did)
    catalog.add([replica], dataset_in(world, catalog))
    found = catalog.find([replica.did, world.did("unknown")])
    assert found.keys() == {replica.did}
    assert [(copy.rse, copy.tape) for copy in found[replica.did]] == [(NEAR, False), (FAR, False), (TAPE, True)]
    assert found[replica.did][0].place == replica.path


def test_an_xrootd_copy_is_told_by_its_address(world: World, catalog: RucioCatalog) -> None:
    did = world.did()
    scope, name = did.split(":")
    pfn = f"root://eos.example:1094//eos/np04/{name}"
    world.server.add_replicas(EOS, [{"scope": scope, "name": name, "bytes": 5, "adler32": "0000000a", "pfn": pfn}])
    assert catalog.find([did]) == {did: (Found(EOS, pfn),)}


def test_copies_that_are_not_available_are_not_found(world: World, catalog: RucioCatalog) -> None:
    did = world.did()
    on(world, FAR, did)
    world.server.set_replica_state(FAR, did, "U")
    assert catalog.find([did]) == {}


def test_files_are_read_back_from_tape_by_one_rule(world: World, catalog: RucioCatalog, tape: str) -> None:
    dids = [world.did() for _ in range(3)]
    on(world, tape, *dids)
    recall = recall_of(world, *dids)
    assert catalog.recalled(recall) is None
    asked = catalog.recall(recall)
    assert asked.state == "REPLICATING"
    assert world.attached(recall.dataset) == sorted(did.split(":")[1] for did in dids)
    assert [(rule[0], rule[-1]) for rule in world.rules(recall.dataset)] == [(NEAR, True)]
    assert all(copy.tape for copies in catalog.find(dids).values() for copy in copies)
    world.server.tick("submitter", "poller", "finisher")
    done = catalog.recalled(recall)
    assert done is not None
    assert (done.id, done.state) == (asked.id, "OK")
    assert {copies[0].rse for copies in catalog.find(dids).values()} == {NEAR}


def test_a_recall_asked_for_again_is_found_again(world: World, catalog: RucioCatalog, tape: str) -> None:
    did = world.did()
    on(world, tape, did)
    recall = recall_of(world, did)
    assert catalog.recall(recall).id == catalog.recall(recall).id
    assert rules_on(world, recall.dataset) == 1


@pytest.mark.parametrize("path", ["/dids/", "/dids/attachments", "/rules"])
def test_a_recall_whose_answers_are_lost_is_completed_by_asking_again(world: World, proxy: FaultProxy, tape: str, path: str) -> None:
    catalog = world.catalog(url=proxy.url)
    did = world.did()
    on(world, tape, did)
    recall = recall_of(world, did)
    proxy.drop(after=True, method="POST", path=path)
    with pytest.raises(TransientError):
        catalog.recall(recall)
    assert catalog.recall(recall).state in ("REPLICATING", "OK")
    assert rules_on(world, recall.dataset) == 1
    assert world.attached(recall.dataset) == [did.split(":")[1]]


def test_a_recall_to_nowhere_names_the_setting_to_change(world: World, catalog: RucioCatalog, tape: str) -> None:
    did = world.did()
    on(world, tape, did)
    with pytest.raises(ConfigError, match="NOWHERE"):
        catalog.recall(Recall(f"{SCOPE}:recall_nowhere", (did,), "NOWHERE", 3600.0))
