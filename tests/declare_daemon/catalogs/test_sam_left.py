"""What is left to do of SAM's files: a query that drains by itself, asked again only when the number of files has changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from declare_daemon.catalogs import Found, Recall, Replica
from declare_daemon.catalogs.sam import SamCatalog
from declare_daemon.catalogs.sam_dims import selection, undone
from dune_prompt.errors import ConfigError
from dune_prompt.records import FileRecord, MadeBy
from dune_prompt.settings.catalogs import SamSettings
from tests.servers.sam import SamServer

MADE_BY = MadeBy("pdhd-prompt", "v1", "evaluate")
runs = itertools.count(28000)


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamServer]:
    with SamServer(tmp_path_factory.mktemp("sam")) as sam:
        yield sam


@pytest.fixture
def catalog(sam: SamServer) -> Iterator[SamCatalog]:
    catalog = SamCatalog.open(SamSettings.model_validate({"kind": "sam", "url": sam.url, "client": "http", "location": "cern-eos:"}))
    sam.forget()
    yield catalog
    catalog.close()


class Run:
    """Raw files of a run of its own, and their children."""

    def __init__(self, raw_metadata: dict[str, Any], derived_metadata: dict[str, Any]) -> None:
        self.run, self._raw, self._derived = next(runs), raw_metadata, derived_metadata
        self.dataset = f"hd-protodune:hd-protodune_{self.run}"

    def raw(self, index: int = 0, **change: Any) -> FileRecord:
        metadata = self._raw | {"core.runs": [self.run], "core.runs_subruns": [self.run * 100000 + 1], "core.run_type": "hd-protodune"}
        values: dict[str, Any] = {"namespace": "hd-protodune", "name": f"np04hd_raw_run{self.run:06d}_{index:04d}.hdf5"}
        return FileRecord(**values | {"size_bytes": 5, "adler32": "0000000a", "metadata": metadata} | change)

    def child(self, of: FileRecord) -> FileRecord:
        made = self._derived | {"core.application.name": "evaluate", "core.application.version": "v1", "core.data_tier": "metrics"}
        return self.raw(name=f"{of.name}_evaluate", metadata=made, parents=(of.did,))


@pytest.fixture
def run(raw_metadata: dict[str, Any], derived_metadata: dict[str, Any]) -> Run:
    return Run(raw_metadata, derived_metadata)


def test_a_run_is_selected_by_our_parameter_and_by_what_others_declare() -> None:
    assert selection("hd-protodune:hd-protodune_28049") == (
        "( dune.dataset_name 'hd-protodune:hd-protodune_28049' or ( data_tier raw and run_type 'hd-protodune' and run_number 28049 ) )"
    )
    assert selection("hd-protodune:hd-protodune_*") == (
        "( dune.dataset_name like 'hd-protodune:hd-protodune_%' or ( data_tier raw and run_type 'hd-protodune' ) )"
    )
    assert selection("ours:calibration_of_may") == "dune.dataset_name 'ours:calibration_of_may'"


def test_the_query_of_what_is_undone_drains_by_itself() -> None:
    assert undone("run_number 28049", MADE_BY) == (
        "run_number 28049 minus isparentof:( DUNE.campaign 'pdhd-prompt' and version 'v1' and application 'evaluate' "
        "with availability anylocation )"
    ).replace("DUNE.campaign", "dune.campaign")


@pytest.mark.parametrize("dataset", ["ns:it's", "ns:µ"])
def test_what_cannot_be_quoted_is_not_asked_for(dataset: str) -> None:
    with pytest.raises(ConfigError, match="cannot be asked for"):
        selection(dataset)


def test_what_is_left_is_told_with_metadata_and_again_only_when_something_joined(sam: SamServer, catalog: SamCatalog, run: Run) -> None:
    catalog.declare([run.raw(0), run.raw(1), run.raw(2)], run.dataset)
    catalog.declare([run.child(run.raw(1))], "hd-protodune:evaluated")
    first = catalog.left(run.dataset, MADE_BY)
    assert first is not None
    assert first.dids == {run.raw(0).did, run.raw(2).did}
    entry = first.entries[run.raw(0).did]
    assert (entry.size_bytes, entry.metadata["core.runs"]) == (5, [run.run])
    assert entry.declared_at is not None
    sam.forget()
    assert catalog.left(run.dataset, MADE_BY, first.mark) is None
    assert sam.counts() == {"GET /files/count": 1}
    catalog.declare([run.raw(3)], run.dataset)
    sam.forget()
    second = catalog.left(run.dataset, MADE_BY, first.mark, lambda: first.dids)
    assert second is not None
    assert second.dids == first.dids | {run.raw(3).did}
    assert second.entries.keys() == {run.raw(3).did}


def test_files_that_others_declared_without_our_parameter_are_left_too(catalog: SamCatalog, run: Run) -> None:
    catalog.declare([run.raw(0)], "hd-protodune:somebody_elses")
    left = catalog.left(run.dataset, MADE_BY)
    assert left is not None
    assert left.dids == {run.raw(0).did}


def test_a_pattern_stands_for_all_runs(catalog: SamCatalog, run: Run) -> None:
    catalog.declare([run.raw(0)], run.dataset)
    pattern = f"hd-protodune:hd-protodune_{str(run.run)[:-1]}*"
    assert catalog.datasets(pattern) == [pattern]
    left = catalog.left(pattern, MADE_BY)
    assert left is not None
    assert run.raw(0).did in left.dids


def test_copies_on_tape_are_told_apart_and_come_last(catalog: SamCatalog, run: Run) -> None:
    record = run.raw()
    catalog.declare([record], run.dataset)
    catalog.add([Replica(record.did, 5, "0000000a", f"/eos/np04/{record.name}")], run.dataset)
    catalog._client.add_location(record.name, "enstore:/pnfs/dune/tape")
    assert catalog.find([record.did, run.raw(1).did]) == {
        record.did: (
            Found("cern-eos:", f"/eos/np04/{record.name}"),
            Found("enstore:", f"/pnfs/dune/tape/{record.name}", tape=True),
        )
    }


def test_sam_reads_nothing_back_from_tape(catalog: SamCatalog) -> None:
    with pytest.raises(ConfigError, match="needs Rucio"):
        catalog.recall(Recall("ns:recall", ("ns:file",), "DISK", 60.0))
