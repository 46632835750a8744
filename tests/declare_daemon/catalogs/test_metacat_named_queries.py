"""Named queries in a real MetaCat: made once, renewed by whoever made them, and usable in others' queries."""

from __future__ import annotations

import pytest

from declare_daemon.catalogs.metacat import MetacatCatalog
from declare_daemon.catalogs.metacat_queries import undone_of
from dune_prompt.errors import ConfigError, ConflictError, TransientError
from tests.declare_daemon.catalogs.metacat_world import MADE_BY, World, catalog, child, ns, raw, world

__all__ = ["catalog", "ns", "world"]  # fixtures

CREATE = "/app/data/create_named_query"


def test_a_named_query_is_found_as_it_was_made_and_drains_by_itself(world: World, ns: str, catalog: MetacatCatalog) -> None:
    text = undone_of([f"{ns}:run_*"], ['name ~ "^raw[0-9]+[.]hdf5$"'], MADE_BY)
    assert catalog.named_queries.text(f"{ns}:open-v1.2") is None
    assert catalog.named_queries.define(f"{ns}:open-v1.2", text) == "all"
    assert catalog.named_queries.text(f"{ns}:open-v1.2") == text
    catalog.declare([raw(ns, 0), raw(ns, 1)], f"{ns}:run_1")
    assert catalog.count(f"files selected by {ns}:open-v1.2") == 2
    catalog.declare([child(raw(ns, 0))], f"{ns}:run_1")
    assert catalog.count(f"files selected by {ns}:open-v1.2") == 1


def test_naming_it_again_writes_nothing_and_another_text_renews_it(world: World, ns: str, catalog: MetacatCatalog) -> None:
    catalog.named_queries.define(f"{ns}:open", f"files from {ns}:run_1")
    world.server.forget()
    assert catalog.named_queries.define(f"{ns}:open", f"files from {ns}:run_1", replace=True) == "nothing"
    assert not world.asked("app/create_named_query")
    with pytest.raises(ConflictError):
        catalog.named_queries.define(f"{ns}:open", f"files from {ns}:run_2")
    assert catalog.named_queries.define(f"{ns}:open", f"files from {ns}:run_2", replace=True) == "change"
    assert catalog.named_queries.text(f"{ns}:open") == f"files from {ns}:run_2"


def test_a_query_somebody_else_made_is_left_as_it_is(world: World, ns: str, catalog: MetacatCatalog) -> None:
    world.server.execute("insert into queries(namespace, name, source, creator) values (%s, 'open', 'files', 'somebody')", (ns,))
    with pytest.raises(ConflictError, match="of somebody has another text"):
        catalog.named_queries.define(f"{ns}:open", f"files from {ns}:run_1", replace=True)
    assert catalog.named_queries.text(f"{ns}:open") == "files"


def test_a_lost_answer_is_found_out_by_looking_again(world: World, ns: str, catalog: MetacatCatalog) -> None:
    world.proxy.drop(after=True, method="POST", path=CREATE)
    with pytest.raises(TransientError, match="away"):
        catalog.named_queries.define(f"{ns}:open", f"files from {ns}:run_1")
    assert catalog.named_queries.define(f"{ns}:open", f"files from {ns}:run_1") == "nothing"


def test_a_namespace_of_others_or_none_is_a_wrong_setting(world: World, catalog: MetacatCatalog) -> None:
    world.server.add_namespace("theirs", owner="somebody")
    with pytest.raises(ConfigError, match="dunepro may not"):
        catalog.named_queries.define("theirs:open", "files")
    with pytest.raises(ConfigError, match="namespace nowhere does not exist"):
        catalog.named_queries.define("nowhere:open", "files")
