"""Paths of deterministic storage elements, and which PFN of Rucio is which place of the daemon."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declare_daemon.catalogs.rucio_rows import BELIEVED_S, MARGIN_S, WHOLE_AGAIN_S, ReplicaRows
from declare_daemon.catalogs.rucio_storage import StorageElement, below, join, normal
from declare_daemon.storage.lfn2pfn import relative_path
from dune_prompt.errors import ConfigError

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}", fullmatch=True)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
prefixes = st.one_of(
    st.builds("/{}".format, paths),
    st.builds("root://{}:{}//{}".format, names.map(str.lower), st.integers(1, 65535), paths),
)


def description(scheme: str = "file", host: str = "localhost", port: int = 0, prefix: str = "/eos/np04/", **change: Any) -> dict[str, Any]:
    """What Rucio answers to `GET /rses/<rse>`."""
    domains = {"lan": {"read": 1, "write": 1}, "wan": {"read": 1, "write": 1}}
    protocol = {"scheme": scheme, "hostname": host, "port": port, "prefix": prefix, "domains": domains}
    values = {"rse": "EOS", "deterministic": True, "lfn2pfn_algorithm": "hash", "protocols": [protocol], "availability_write": True}
    return values | change


def test_the_hash_path_is_the_one_seen_at_dunes_storage_elements() -> None:
    assert relative_path("hash", "test", "1gbtestfilea.20220131") == "test/c5/2e/1gbtestfilea.20220131"


def test_scopes_of_users_become_folders() -> None:
    assert relative_path("identity", "user.jdoe", "a.root") == "user/jdoe/a.root"
    assert relative_path("hash", "user.jdoe", "a.root").startswith("user/jdoe/")
    assert relative_path("identity", "hd-protodune.x", "a.root") == "hd-protodune.x/a.root"


def test_an_algorithm_of_a_policy_package_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'dune'.*hash, identity"):
        relative_path("dune", "ns", "a")


@pytest.mark.parametrize(
    ("address", "spelled"),
    [
        ("/eos//np04/a/", "/eos/np04/a"),
        ("/eos/./np04/a", "/eos/np04/a"),
        ("file:///eos/np04/a", "/eos/np04/a"),
        ("file://localhost/eos/np04/a", "/eos/np04/a"),
        ("file://localhost:0/eos/np04/a", "/eos/np04/a"),
        ("root://EOS.cern.ch//eos/np04/a", "root://eos.cern.ch:1094//eos/np04/a"),
        ("root://eos.cern.ch:1094/eos//np04/a", "root://eos.cern.ch:1094//eos/np04/a"),
        ("xroot://eos.cern.ch//eos/np04/a", "root://eos.cern.ch:1094//eos/np04/a"),
        ("davs://dcache:2880/pnfs//a", "davs://dcache:2880/pnfs/a"),
    ],
)
def test_a_place_has_one_spelling(address: str, spelled: str) -> None:
    assert normal(address) == spelled == normal(spelled)


@pytest.mark.parametrize("address", ["eos/np04/a", "", "/eos/np04/../secret", "root://host", "root://host//eos/../a"])
def test_what_is_no_absolute_place_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="neither"):
        normal(address)


def test_a_folder_whose_name_only_begins_alike_is_outside() -> None:
    assert below("/eos/np04", "/eos/np04x/a") is None
    assert below("/eos/np04", "/eos/np04") is None
    assert below("/", "/eos/a") == "eos/a"


@given(prefixes, paths)
def test_what_is_joined_lies_below(prefix: str, path: str) -> None:
    assert below(normal(prefix), normal(join(prefix, path))) == path


@given(st.booleans(), prefixes, prefixes, names, paths)
def test_a_place_becomes_a_pfn_and_the_same_place_again(rooted: bool, prefix: str, place: str, name: str, path: str) -> None:
    folder = "/" + prefix.split("//")[-1].lstrip("/")
    protocol = ("root", "eos.cern.ch", 1094, f"/{folder}/") if rooted else ("file", "localhost", 0, folder)
    element = StorageElement.of(description(*protocol, deterministic=False), place)
    where = join(normal(place), path)
    pfn = element.pfn_to_name(f"ns:{name}", where)
    assert pfn is not None
    assert pfn.startswith("root://eos.cern.ch:1094//" if rooted else "file://localhost/")
    assert element.place_of([pfn]) == where


@given(names, names, prefixes)
def test_a_deterministic_element_takes_files_at_their_path_and_is_told_no_pfn(scope: str, name: str, place: str) -> None:
    element = StorageElement.of(description(), place)
    did = f"{scope}:{name}"
    assert element.pfn_to_name(did, element.place_for(did)) is None
    assert element.place_of([element.pfn_for(did)]) == element.place_for(did)
    with pytest.raises(ConfigError, match="wants it at"):
        element.pfn_to_name(did, join(normal(place), "elsewhere/x"))


def test_without_place_url_the_first_protocol_for_writing_that_we_speak_is_the_way() -> None:
    read_only = {"scheme": "file", "hostname": "localhost", "port": 0, "prefix": "/ro", "domains": {"wan": {"read": 1, "write": 0}}}
    davs = {"scheme": "davs", "hostname": "d", "port": 1, "prefix": "/d", "domains": {"wan": {"read": 1, "write": 1}}}
    root = {"scheme": "root", "hostname": "r", "port": 1094, "prefix": "//eos", "domains": {"wan": {"read": 1, "write": 2}}}
    element = StorageElement.of(description(protocols=[read_only, root, davs]))
    assert (element.pfn_prefix, element.place_prefix) == ("root://r:1094//eos", "root://r:1094//eos")
    by_folder = StorageElement.of(description(protocols=[read_only, root, davs]), "/mnt/eos")
    assert (by_folder.pfn_prefix, by_folder.place_prefix) == ("davs://d:1/d", "/mnt/eos")
    with pytest.raises(ConfigError, match="place_url"):
        StorageElement.of(description(protocols=[davs]))
    with pytest.raises(ConfigError, match="no protocol for writing"):
        StorageElement.of(description(protocols=[read_only]))


def test_of_several_pfns_the_one_we_can_reach_counts() -> None:
    element = StorageElement.of(description())
    assert element.place_of(["davs://host/eos/np04/a", "file://localhost/eos/np04//a"]) == "/eos/np04/a"
    assert element.place_of(["davs://host/eos/np04/a"]) == "davs://host/eos/np04/a"
    assert element.place_of([]) == ""


# -- rows of replicas ------------------------------------------------------------------------------------------------------


class Server:
    """What the dataset's list at a storage element holds, and what was asked of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rows: dict[str, tuple[int, str]] = {}
        self.asked: list[bool] = []
        self.compared = ReplicaRows(self.ask, lambda: self.now)

    def ask(self, dataset: str, rse: str, changed_after: float | None) -> dict[str, tuple[int, str]]:
        self.asked.append(changed_after is None)
        return dict(self.rows)

    def agreeing(self, *dids: str) -> set[str]:
        return self.compared.agreeing("ns:ds", "EOS", dict.fromkeys(dids, (1, "a")))


def test_a_row_with_other_values_does_not_agree_until_it_is_entered_anew() -> None:
    server = Server()
    server.rows = {"ns:a": (1, "a"), "ns:b": (2, "a")}
    assert server.agreeing("ns:a", "ns:b", "ns:c") == {"ns:a"}
    server.rows["ns:b"] = (1, "a")
    assert server.agreeing("ns:b") == {"ns:b"}


def test_a_dataset_is_listed_once_and_then_only_its_changes() -> None:
    server = Server()
    server.rows = {"ns:a": (1, "a")}
    for _ in range(3):
        server.agreeing("ns:a")
    assert server.asked == [True]
    server.rows["ns:b"] = (1, "a")
    assert server.agreeing("ns:b") == {"ns:b"}
    assert server.asked == [True, False]
    assert server.agreeing("ns:old") == set()
    server.now = WHOLE_AGAIN_S + 1
    server.agreeing("ns:old")
    assert server.asked == [True, False, False, False, True]


def test_what_was_seen_is_not_believed_for_ever() -> None:
    server = Server()
    server.rows = {"ns:a": (1, "a")}
    server.agreeing("ns:a")
    server.rows["ns:a"] = (2, "a")
    server.now = BELIEVED_S + 1
    assert server.agreeing("ns:a") == set()
    assert MARGIN_S < BELIEVED_S
