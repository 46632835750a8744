"""The MetaCat server of our tests misleads its client where the real one does: what the catalogue is written around is there.

Each of these was seen with MetaCat 4.1. Here the client is used as it comes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from metacat.webapi import MetaCatClient
from metacat.webapi.webapi import (
    AlreadyExistsError,
    BadRequestError,
    InvalidMetadataError,
    NotFoundError,
    PermissionDeniedError,
    WebAPIError,
)

from declare_daemon.catalogs.metacat_client import NO_LIBRARY
from tests.servers.metacat import MetacatServer
from tests.servers.postgres import Postgres

numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetacatServer]:
    folder = tmp_path_factory.mktemp("metacat")
    with Postgres(folder / "postgres") as postgres, MetacatServer(folder / "server", postgres) as server:
        server.add_user("dunepro")
        server.add_user("somebody")
        yield server


@pytest.fixture
def ns(server: MetacatServer) -> str:
    namespace = f"ns{next(numbers)}"
    server.add_namespace(namespace, owner="dunepro")
    server.add_dataset(f"{namespace}:all")
    return namespace


@pytest.fixture
def client(server: MetacatServer) -> Any:
    return client_of(server, server.token("dunepro"))


def client_of(server: MetacatServer, token: str | None) -> Any:
    return MetaCatClient(server.url, server.auth_url, token=token, token_library=NO_LIBRARY, timeout=20)


def file(ns: str, name: str = "a", **change: Any) -> dict[str, Any]:
    return {"namespace": ns, "name": name, "size": 5, "checksums": {"adler32": "0000000a"}, "metadata": {"x.y": 1}} | change


def names(found: Any) -> list[str]:
    return sorted(item["name"] for item in found)


def test_a_dry_run_of_one_file_declares_it(client: Any, ns: str) -> None:
    client.declare_file(f"{ns}:a", dataset_did=f"{ns}:all", dry_run=True)
    assert client.get_file(did=f"{ns}:a") is not None


def test_a_dry_run_of_many_does_not_but_its_success_is_an_error_to_the_client(client: Any, ns: str) -> None:
    client.declare_files(f"{ns}:all", [file(ns)])
    # It does not see that the name is taken either.
    with pytest.raises(WebAPIError) as error:
        client.declare_files(f"{ns}:all", [file(ns), file(ns, "b")], dry_run=True)
    assert error.value.StatusCode == 202
    with pytest.raises(AttributeError):
        str(error.value)
    assert client.get_file(did=f"{ns}:b") is None


@pytest.mark.parametrize("value", ['"', "\n", "\t"])
def test_a_quote_a_line_or_a_tab_in_metadata_is_an_error_of_the_server(client: Any, ns: str, value: str) -> None:
    with pytest.raises(WebAPIError) as error:
        client.declare_files(f"{ns}:all", [file(ns, metadata={"x.y": f"a{value}b"})])
    assert error.value.StatusCode == 500


@pytest.mark.parametrize(("value", "stored"), [("a\\b", "a\x08"), ("µs", "u00b5s")])
def test_a_backslash_and_letters_beyond_ascii_become_something_else(client: Any, ns: str, value: str, stored: str) -> None:
    client.declare_files(f"{ns}:all", [file(ns, metadata={"x.y": value})])
    assert client.get_file(did=f"{ns}:a")["metadata"]["x.y"] == stored
    client.update_file(did=f"{ns}:a", metadata={"x.y": value})
    assert client.get_file(did=f"{ns}:a")["metadata"]["x.y"] == value


@pytest.mark.parametrize("name", ["a b", "a+b", "a:b", "ä"])
def test_a_name_may_hold_few_characters(client: Any, ns: str, name: str) -> None:
    with pytest.raises(BadRequestError, match="Invalid value for name"):
        client.declare_files(f"{ns}:all", [file(ns, name)])


def test_the_status_of_a_name_that_is_taken_is_also_that_of_a_parent_that_is_unknown(client: Any, ns: str) -> None:
    client.declare_files(f"{ns}:all", [file(ns)])
    with pytest.raises(AlreadyExistsError, match=rf"already exist:\n  {ns}:a$"):
        client.declare_files(f"{ns}:all", [file(ns), file(ns, "b")])
    with pytest.raises(AlreadyExistsError, match="Integrity error"):
        client.declare_files(f"{ns}:all", [file(ns, "b", parents=[{"fid": "unknown"}])])
    with pytest.raises(InvalidMetadataError, match=f"Can not get file id for parent: {ns}:unknown"):
        client.declare_files(f"{ns}:all", [file(ns, "b", parents=[{"did": f"{ns}:unknown"}])])
    assert names(client.query(f"files from {ns}:all")) == ["a"]


def test_updating_what_is_there_overwrites_it_and_leaves_it_out_of_the_dataset(client: Any, ns: str) -> None:
    client.create_dataset(f"{ns}:other")
    client.declare_files(f"{ns}:all", [file(ns)])
    client.declare_files(f"{ns}:other", [file(ns, size=6)], as_required="update")
    assert client.get_file(did=f"{ns}:a")["size"] == 6
    assert names(client.query(f"files from {ns}:other")) == []


def test_a_file_without_the_key_metadata_is_an_error_of_the_server(client: Any, ns: str) -> None:
    bare = file(ns)
    del bare["metadata"]
    with pytest.raises(WebAPIError) as error:
        client.post_json(f"data/declare_files?dataset={ns}:all", [bare])
    assert error.value.StatusCode == 500


def test_adding_unknown_files_to_a_dataset_says_nothing_and_the_count_goes_wrong(client: Any, ns: str) -> None:
    client.create_dataset(f"{ns}:other")
    client.declare_files(f"{ns}:all", [file(ns)])
    both = [{"did": f"{ns}:a"}, {"did": f"{ns}:unknown"}]
    assert [client.add_files(f"{ns}:other", both), client.add_files(f"{ns}:other", both)] == [1, 0]
    client.add_files(f"{ns}:other", [{"did": f"{ns}:a"}])
    client.retire_file(f"{ns}:a")
    assert client.get_dataset(f"{ns}:other")["file_count"] == 1
    assert client.get_dataset(f"{ns}:other", exact_file_count=True)["file_count"] == 0


def test_queries_give_children_and_parents_twice_but_their_difference_is_right(client: Any, ns: str) -> None:
    client.declare_files(f"{ns}:all", [file(ns, "a"), file(ns, "b"), file(ns, "c")])
    client.create_dataset(f"{ns}:reco")
    above = [{"did": f"{ns}:a"}, {"did": f"{ns}:b"}]
    client.declare_files(f"{ns}:reco", [file(ns, "x", parents=above), file(ns, "y", parents=above)])
    assert names(client.query(f"children(files from {ns}:all)")) == ["x", "x", "y", "y"]
    assert names(client.query(f"parents(files from {ns}:reco)")) == ["a", "a", "b", "b"]
    assert next(client.query(f"parents(files from {ns}:reco)", summary="count"))["count"] == 4
    assert names(client.query(f"files from {ns}:all - parents(files from {ns}:reco)")) == ["c"]


def test_a_retired_file_keeps_its_name_and_is_hidden_from_queries_only(client: Any, ns: str) -> None:
    client.declare_files(f"{ns}:all", [file(ns, "a"), file(ns, "b", parents=[])])
    client.declare_files(f"{ns}:all", [file(ns, "c", parents=[{"did": f"{ns}:b"}])])
    client.retire_file(f"{ns}:c")
    assert client.get_file(did=f"{ns}:c")["retired"]
    assert names(client.get_files([{"did": f"{ns}:c"}])) == ["c"]
    assert names(client.query(f"files from {ns}:all")) == ["a", "b"]
    assert names(client.query(f"files from {ns}:all - parents(children(files from {ns}:all))")) == ["a", "b"]
    assert names(client.query(f"files from {ns}:all", include_retired_files=True)) == ["a", "b", "c"]
    with pytest.raises(AlreadyExistsError):
        client.declare_files(f"{ns}:all", [file(ns, "c")])


def test_checksums_are_looked_at(client: Any, ns: str) -> None:
    for wrong in ("a", "0000000A", "adler32:0000000a"):
        with pytest.raises(InvalidMetadataError, match="checksum adler32"):
            client.declare_files(f"{ns}:all", [file(ns, checksums={"adler32": wrong})])


def test_who_is_unknown_gets_401_or_403_and_who_is_not_the_owner_403(server: MetacatServer, ns: str) -> None:
    client = client_of(server, server.token("dunepro"))
    client.declare_files(f"{ns}:all", [file(ns)])
    server.expire_tokens()
    for unknown in (client, client_of(server, None)):
        with pytest.raises(WebAPIError, match=r"Token (expired|not found)") as error:
            unknown.declare_files(f"{ns}:all", [file(ns, "b")])
        assert error.value.StatusCode == 401
        with pytest.raises(PermissionDeniedError, match="authentication failed"):
            unknown.add_files(f"{ns}:all", [{"did": f"{ns}:a"}])
        for write in (lambda: unknown.retire_file(f"{ns}:a"), lambda: unknown.update_file_meta({"x.y": 2}, dids=[f"{ns}:a"])):  # noqa: B023
            with pytest.raises(PermissionDeniedError, match="Authentication required"):
                write()
        assert names(unknown.get_files([{"did": f"{ns}:a"}])) == ["a"]
    stranger = client_of(server, server.token("somebody"))
    with pytest.raises(PermissionDeniedError, match="denied"):
        stranger.declare_files(f"{ns}:all", [file(ns, "b")])
    with pytest.raises(PermissionDeniedError):
        stranger.create_dataset(f"{ns}:new")


def test_a_token_of_the_wrong_server_or_of_yesterday_is_none(server: MetacatServer, ns: str) -> None:
    yesterday = client_of(server, None)
    with pytest.raises(WebAPIError, match="Token expired"):
        yesterday.send_request("post", "data/declare_files", headers={"Authorization": f"bearer {server.token('dunepro', lifetime_s=-1)}"})
    with pytest.raises(WebAPIError, match="Dataset not specified"):
        yesterday.send_request("post", "data/declare_files", headers={"Authorization": f"bearer {server.token('dunepro')}"})


def test_what_is_not_there_is_told_apart(client: Any, ns: str) -> None:
    with pytest.raises(NotFoundError, match="Namespace not found"):
        client.create_dataset(f"{ns}-none:x")
    with pytest.raises(NotFoundError, match=f"Namespace {ns}-none does not exist"):
        client.declare_files(f"{ns}-none:x", [file(ns)])
    with pytest.raises(BadRequestError, match=f"Dataset {ns}:none does not exist"):
        client.declare_files(f"{ns}:none", [file(ns)])
    with pytest.raises(NotFoundError, match="Dataset not found"):
        client.add_files(f"{ns}:none", [{"did": f"{ns}:a"}])
    assert list(client.query(f"files from {ns}:none")) == []
    with pytest.raises(BadRequestError, match="MQL"):
        list(client.query("files frm x:y"))


def test_a_transaction_the_database_does_not_finish_leaves_nothing(server: MetacatServer, client: Any, ns: str) -> None:
    server.postgres.kill()
    with pytest.raises(WebAPIError):
        client.declare_files(f"{ns}:all", [file(ns)])
    server.postgres.start()
    assert client.get_files([{"did": f"{ns}:a"}]) == []
    client.declare_files(f"{ns}:all", [file(ns)])
    assert names(client.query(f"files from {ns}:all")) == ["a"]
