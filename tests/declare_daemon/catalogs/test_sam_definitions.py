"""Dataset definitions in SAM, by each of the three clients: made once, never changed, replaced by giving their name to another."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
import requests

from declare_daemon.catalogs.http import Refusal
from declare_daemon.catalogs.sam import SamCatalog
from declare_daemon.catalogs.sam_clients import _described
from declare_daemon.catalogs.sam_definitions import OURS
from dune_prompt.errors import ConfigError, ConflictError, TransientError
from tests.declare_daemon.catalogs.test_sam import Files, catalog, client, files, open_sam, own_sam, proxy, sam
from tests.servers.proxy import FaultProxy
from tests.servers.sam import API, SamServer

__all__ = ["catalog", "client", "files", "open_sam", "own_sam", "proxy", "sam"]  # fixtures

CREATE = f"{API}/definitions/create"


@pytest.fixture
def name(files: Files) -> str:
    """A name of this test only, which has the characters ours may have."""
    return f"pdhd-prompt_v1.2_open_{files.run}"


def dims_of(files: Files) -> str:
    return f"( run_number {files.run} and data_tier 'raw' ) with availability anylocation"


def names_like(sam: SamServer, name: str) -> list[str]:
    """The definitions whose names begin so, as the server has them."""
    with closing(sqlite3.connect(sam.folder / "sam.sqlite")) as database:
        rows = database.execute("SELECT name FROM definition WHERE substr(name, 1, ?) = ? ORDER BY id", (len(name), name))
        return [row[0] for row in rows]


def test_a_definition_that_is_not_there_is_none(catalog: SamCatalog, name: str) -> None:
    assert catalog.definitions.text(name) is None
    assert catalog.definitions.missing(name, "file_name x") == "all"


def test_a_definition_is_found_as_it_was_made_and_fills_by_itself(catalog: SamCatalog, files: Files, name: str) -> None:
    assert catalog.definitions.define(name, dims_of(files)) == "all"
    assert catalog.definitions.text(name) == dims_of(files)
    found = f"defname: {name} with availability anylocation"
    assert catalog.count(found) == 0
    catalog.declare([files.raw(0), files.raw(1)], files.dataset)
    assert catalog.count(found) == 2


def test_defining_the_same_again_writes_nothing(sam: SamServer, catalog: SamCatalog, files: Files, name: str) -> None:
    catalog.definitions.define(name, dims_of(files))
    sam.forget()
    assert catalog.definitions.define(name, "  ".join(dims_of(files).split(" ")), replace=True) == "nothing"
    assert not any(request.startswith(("POST /definitions", "PUT")) for request in sam.counts())


def test_other_dimensions_under_the_same_name_are_a_conflict(sam: SamServer, catalog: SamCatalog, files: Files, name: str) -> None:
    catalog.definitions.define(name, dims_of(files))
    with pytest.raises(ConflictError, match=f"{name} is ours and has other dimensions"):
        catalog.definitions.define(name, "run_number 1")
    assert catalog.definitions.text(name) == dims_of(files)
    assert names_like(sam, name) == [name]


def test_one_of_ours_is_replaced_and_what_used_it_keeps_it(sam: SamServer, catalog: SamCatalog, files: Files, name: str) -> None:
    catalog.definitions.define(name, dims_of(files))
    assert catalog.definitions.missing(name, "run_number 1", replace=True) == "change"
    assert catalog.definitions.define(name, "run_number 1", replace=True) == "change"
    assert catalog.definitions.text(name) == "run_number 1"
    old, new = names_like(sam, name)
    assert (old.startswith(f"{name}_until_"), new) == (True, name)
    assert catalog.definitions.text(old) == dims_of(files)


def test_one_of_somebody_else_is_never_replaced(sam: SamServer, catalog: SamCatalog, name: str) -> None:
    form = {"defname": name, "dims": "run_number 7", "group": "dune", "user": "schellma"}
    requests.post(f"{sam.url}/definitions/create", data=form, timeout=10).raise_for_status()
    with pytest.raises(ConflictError, match="schellma's and has other dimensions"):
        catalog.definitions.define(name, "run_number 1", replace=True)
    assert names_like(sam, name) == [name]
    assert catalog.definitions.define(name, "run_number 7") == "nothing"


def test_what_sam_does_not_understand_is_not_made_and_replaces_nothing(
    sam: SamServer, catalog: SamCatalog, files: Files, name: str
) -> None:
    catalog.definitions.define(name, dims_of(files))
    with pytest.raises(ConfigError, match="does not understand"):
        catalog.definitions.define(name, "minus minus", replace=True)
    assert catalog.definitions.text(name) == dims_of(files)
    assert names_like(sam, name) == [name]


def test_without_the_right_to_write_nothing_is_made(
    own_sam: SamServer, open_sam: Callable[..., SamCatalog], client: str, name: str
) -> None:
    own_sam.set(deny_writes=True)
    with pytest.raises(ConfigError, match="no right"):
        open_sam(own_sam.url, client).definitions.define(name, "run_number 1")
    own_sam.set(deny_writes=False)
    assert names_like(own_sam, name) == []


def test_hundreds_of_names_and_long_texts_arrive_whole(catalog: SamCatalog, name: str) -> None:
    text = "file_name " + ",".join(
        f"'np04hd_raw_run028049_{index:04d}_dataflow0_datawriter_0_20240619T110330.hdf5'" for index in range(400)
    )
    catalog.definitions.define(name, text)
    assert catalog.definitions.text(name) == text


def test_a_lost_answer_is_found_out_by_looking_again(
    sam: SamServer, proxy: FaultProxy, open_sam: Callable[..., SamCatalog], client: str, files: Files, name: str
) -> None:
    catalog = open_sam(proxy.url + API, client)
    proxy.drop(after=True, method="POST", path=CREATE)
    with pytest.raises(TransientError):
        catalog.definitions.define(name, dims_of(files))
    assert catalog.definitions.define(name, dims_of(files)) == "nothing"
    assert proxy.count("POST", CREATE) == 1


def test_a_name_taken_by_ourselves_meanwhile_is_no_conflict(
    sam: SamServer, proxy: FaultProxy, open_sam: Callable[..., SamCatalog], client: str, files: Files, name: str
) -> None:
    other, catalog = open_sam(sam.url), open_sam(proxy.url + API, client)
    proxy.call(lambda: other.definitions.define(name, dims_of(files)), method="POST", path=CREATE)
    assert catalog.definitions.define(name, dims_of(files)) == "all"
    assert names_like(sam, name) == [name]


def test_a_name_taken_by_others_meanwhile_is_one(
    sam: SamServer, proxy: FaultProxy, open_sam: Callable[..., SamCatalog], client: str, name: str
) -> None:
    other, catalog = open_sam(sam.url), open_sam(proxy.url + API, client)
    proxy.call(lambda: other.definitions.define(name, "run_number 2"), method="POST", path=CREATE)
    with pytest.raises(ConflictError, match="has other dimensions"):
        catalog.definitions.define(name, "run_number 1", replace=True)


def test_a_replacement_cut_between_its_two_steps_is_completed(
    sam: SamServer, proxy: FaultProxy, open_sam: Callable[..., SamCatalog], client: str, files: Files, name: str
) -> None:
    catalog = open_sam(proxy.url + API, client)
    catalog.definitions.define(name, dims_of(files))
    proxy.drop(method="POST", path=CREATE)
    with pytest.raises(TransientError):
        catalog.definitions.define(name, "run_number 1", replace=True)
    assert catalog.definitions.text(name) is None
    catalog.definitions.define(name, "run_number 1", replace=True)
    assert catalog.definitions.text(name) == "run_number 1"
    assert len(names_like(sam, name)) == 2


def test_a_definition_that_is_accepted_and_not_shown_is_no_success(
    open_sam: Callable[..., SamCatalog], sam: SamServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = open_sam(sam.url)
    monkeypatch.setattr(catalog._client, "define", lambda *_: None)
    with pytest.raises(TransientError, match="does not show it"):
        catalog.definitions.define(name, "run_number 1")


def test_a_sam_that_is_away_knows_no_definition_for_sure(open_sam: Callable[..., SamCatalog], client: str) -> None:
    catalog = open_sam("http://127.0.0.1:9/sam/dune/api", client)
    for ask in (lambda: catalog.definitions.text("x"), lambda: catalog.definitions.define("x", "run_number 1")):
        with pytest.raises(TransientError):
            ask()


@pytest.mark.parametrize("content", ["[]", "{}", '{"dimensions": 3}'])
def test_an_answer_that_is_no_definition_is_an_outage(
    proxy: FaultProxy, open_sam: Callable[..., SamCatalog], name: str, content: str
) -> None:
    proxy.reply(200, body=content, content_type="application/json", path=f"{API}/definitions/name")
    with pytest.raises(TransientError, match="another form than a definition"):
        open_sam(proxy.url + API).definitions.text(name)


def test_a_long_definition_that_the_command_breaks_into_lines_is_read_whole() -> None:
    form = _described(
        "Definition Name: a\n  Definition Id: 7\n  Username: u\n  Group: dune\n  Dimensions: file_name a\n    or file_name b:c\n"
    )
    assert form == {"defname": "a", "defid": "7", "username": "u", "group": "dune", "dimensions": "file_name a or file_name b:c"}


# -- what the double has of SAM ----------------------------------------------------------------------------------------------


@pytest.fixture
def http(sam: SamServer, open_sam: Callable[..., SamCatalog]) -> SamCatalog:
    return open_sam(sam.url)


def test_the_double_never_changes_the_query_of_a_name(http: SamCatalog, name: str) -> None:
    http._client.define(name, "run_number 1", OURS)
    with pytest.raises(Refusal) as refusal:
        http._client.define(name, "run_number 2", OURS)
    assert (refusal.value.status, http.definitions.text(name)) == (409, "run_number 1")


def test_the_double_has_a_definition_in_definitions_cut_as_it_says(http: SamCatalog, files: Files, name: str) -> None:
    http.declare([files.raw(index) for index in range(5)], files.dataset)
    http.definitions.define(name, f"run_number {files.run} with limit 3")
    assert http.count(f"defname: {name} with availability anylocation") == 3
    assert http.count(f"run_number {files.run} minus defname: {name} with availability anylocation") == 2


def test_the_double_compares_runs_as_numbers(http: SamCatalog, files: Files) -> None:
    http.declare([files.raw()], files.dataset)
    for condition, found in ((f">= {files.run}", 1), (f"< {files.run + 1}", 1), (f">= {files.run + 1}", 0), (f"< {files.run}", 0)):
        assert http.count(f"dune.dataset_name '{files.dataset}' and run_number {condition} with availability anylocation") == found
