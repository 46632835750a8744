"""What SAM and MetaCat keep of a campaign under a name: it drains by itself, is made once, and agrees with the ledger on what is done."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from campaign.definition import Campaign, CampaignFile
from campaign.draining.agreement import Difference
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tasks import NewTask
from campaign.poms.definitions import SamDefinition, agreement, definition_name, depends_definition, open_inputs, open_query, sam_of, upkeep
from campaign.states import TaskState
from declare_daemon.catalogs import Catalogs, OpenCatalog
from declare_daemon.catalogs.metacat import MetacatCatalog
from declare_daemon.catalogs.metacat_answers import Refusal
from declare_daemon.catalogs.sam import SamCatalog
from dune_prompt.cli import main
from dune_prompt.errors import ConfigError, ConflictError, TransientError
from dune_prompt.records import FileRecord, MadeBy
from dune_prompt.settings import Site, load_site
from dune_prompt.settings.catalogs import SamSettings
from tests.campaign.draining.installation import NOW, ScriptedCatalog, Small
from tests.declare_daemon.catalogs.metacat_world import World, catalog, ns, world
from tests.servers.sam import SamServer
from tests.servers.samweb_parts.dims import parse

__all__ = ["catalog", "ns", "world"]  # fixtures

SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "raw_*.hdf5", where: {dune.daq_test: false}, process: true, lifetime: 1h}
  - {name: strange, pattern: "raw_[ab]*.hdf5", process: true}
"""
NAMESPACE, DERIVED = "hd-protodune", "hd-protodune-det-reco"
RAW_SET, DERIVED_SET = f"{NAMESPACE}:hd-protodune_28049", f"{DERIVED}:evaluated"
MADE_BY = MadeBy("test-prompt", "v1", "evaluate")
numbers = itertools.count()


def settings(inputs: dict[str, Any] | None = None, **change: Any) -> Campaign:
    content = {"campaign": "test-prompt", "detector": "pdhd", "stream": "physics", "version": "v1", "inputs": inputs or {}}
    return Campaign.model_validate(content | {"outputs": {"namespace": DERIVED, "data_tier": "metrics"}} | change)


def file_of(campaign: Campaign) -> CampaignFile:
    return CampaignFile(Path("test.yaml"), campaign, "0" * 64)


def raw(index: int = 0, *, run: int = 28049, name: str = "", namespace: str = NAMESPACE, **metadata: Any) -> FileRecord:
    given = {"core.file_type": "detector", "core.file_format": "hdf5", "core.data_tier": "raw", "core.run_type": NAMESPACE}
    given |= {"core.runs": [run], "core.runs_subruns": [run * 100_000 + 1], "dune.daq_test": "False"} | metadata
    return FileRecord(namespace, name or f"raw_run{run:06d}_{index:04d}.hdf5", 1000, "00000001", given)


def child(of: FileRecord, made_by: MadeBy = MADE_BY) -> FileRecord:
    given = {"core.file_type": "detector", "core.file_format": "json", "core.data_tier": "metrics", "core.runs": of.metadata["core.runs"]}
    application = {"family": "dune-prompt", "name": made_by.stage, "version": made_by.version}
    given |= {f"core.application.{part}": value for part, value in application.items()} | {"dune.campaign": made_by.campaign}
    namespace = DERIVED if of.namespace == NAMESPACE else of.namespace
    return FileRecord(namespace, f"{of.name}_{made_by.stage}_{made_by.version}", 10, "00000002", given, (of.did,))


def one_of_each_run(namespace: str = NAMESPACE) -> dict[int, FileRecord]:
    """A raw file of each of three runs, which differ in their metadata; `COVERED` says which of them a version covers."""
    cosmics: dict[str, Any] = {"core.data_stream": "cosmics", "dune.daq_test": False}
    metadata: dict[int, dict[str, Any]] = {28049: {}, 28050: cosmics, 28051: {"beam.momentum": 1}}
    return {run: raw(run=run, namespace=namespace, **given) for run, given in metadata.items()}


# `inputs` of a version, and the runs it covers then.
COVERED: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [28049, 28050, 28051]),
    ({"from_run": 28050}, [28050, 28051]),
    ({"to_run": 28050}, [28049, 28050]),
    ({"exclude_runs": [28049, 28051]}, [28050]),
    ({"where": {"core.data_stream": "cosmics"}}, [28050]),
    ({"where": {"beam.momentum": 1}}, [28051]),
    ({"where": {"dune.daq_test": True}}, []),
    ({"where": {"dune.daq_test": False}}, [28049, 28050, 28051]),
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    path = tmp_path / "only" / "site.yaml"
    path.parent.mkdir()
    path.write_text(SITE)
    return load_site(path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SamServer]:
    with SamServer(tmp_path / "sam") as server:
        yield server


@pytest.fixture
def sam(server: SamServer) -> Iterator[SamCatalog]:
    sam = SamCatalog.open(SamSettings.model_validate({"kind": "sam", "url": server.url, "client": "http", "timeout": "5s"}))
    yield sam
    sam.close()


@dataclass
class QueriesInMemory:
    """MetaCat's client, as far as named queries go: who may write, what it says of names, and files it pretends to find."""

    user: str = "dunepro"
    queries: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    namespaces: set[str] = field(default_factory=lambda: {DERIVED})
    writes: int = 0
    away: bool = False

    def _ask(self) -> None:
        if self.away:
            raise requests.ConnectionError("nobody there")

    def ensure_token(self) -> None:
        self._ask()

    def get_named_query(self, namespace: str, name: str) -> dict[str, Any]:
        self._ask()
        if (namespace, name) not in self.queries:
            raise Refusal(404, "Query not found")
        return self.queries[namespace, name]

    def create_named_query(self, namespace: str, name: str, source: str, *, update: bool) -> None:
        self._ask()
        if namespace not in self.namespaces:
            raise Refusal(404, f"Namespace {namespace} does not exist")
        if (namespace, name) in self.queries and not update:
            raise Refusal(409, "Query already exists")
        self.writes += 1
        self.queries[namespace, name] = {"namespace": namespace, "name": name, "source": source, "creator": self.user}

    def query(self, text: str, *, summary: str) -> Iterator[dict[str, int]]:
        self._ask()
        yield {summary: len(text)}

    def close(self) -> None: ...


@pytest.fixture
def queries() -> QueriesInMemory:
    return QueriesInMemory()


@pytest.fixture
def metacat(queries: QueriesInMemory) -> MetacatCatalog:
    return MetacatCatalog(queries)  # type: ignore[arg-type]


@pytest.fixture
def both(sam: SamCatalog, metacat: MetacatCatalog) -> Catalogs:
    return Catalogs((OpenCatalog("sam", sam, None), OpenCatalog("metacat", metacat, None)))


def writes(server: SamServer) -> int:
    return sum(number for request, number in server.counts().items() if request.startswith(("POST /definitions", "PUT /definitions")))


def listed(sam: SamCatalog, definition: SamDefinition) -> list[str]:
    """The files of a definition SAM knows."""
    return sorted(sam._query(f"defname: {definition.name} with availability anylocation"))


# -- open inputs in SAM ------------------------------------------------------------------------------------------------------


def test_the_open_inputs_of_a_stream_are_asked_for_by_run_type_name_and_metadata(site: Site) -> None:
    definition = open_inputs(site, settings())
    assert definition.name == "test-prompt_v1_evaluate_open" == definition_name(settings())
    assert definition.dimensions == (
        "( ( ( dune.dataset_name like 'hd-protodune:hd-protodune_%' or ( data_tier raw and run_type 'hd-protodune' ) ) ) "
        "and file_name like 'raw_%.hdf5' and dune.daq_test 'False','false','json:false' ) "
        "minus isparentof:( dune.campaign 'test-prompt' and version 'v1' and application 'evaluate' with availability anylocation ) "
        "with availability anylocation"
    )


def test_the_other_detector_has_another_run_type(site: Site) -> None:
    assert "run_type 'vd-protodune'" in open_inputs(site, settings(detector="pdvd")).dimensions


def test_a_definition_drains_as_children_are_declared(site: Site, sam: SamCatalog, both: Catalogs) -> None:
    inputs = [raw(index) for index in range(4)]
    sam.declare(inputs, RAW_SET)
    (row, _) = upkeep(site, file_of(settings()), both)
    definition = open_inputs(site, settings())
    assert (row.catalog, row.name, row.text, row.state, row.files) == ("sam", definition.name, definition.dimensions, "made", 4)
    sam.declare([child(inputs[0]), child(inputs[1], MadeBy("test-prompt", "v2", "evaluate"))], DERIVED_SET)
    assert listed(sam, definition) == [file.name for file in inputs[1:]]
    sam.declare([child(file) for file in inputs[1:]], DERIVED_SET)
    assert listed(sam, definition) == []
    sam.declare([late := raw(9)], RAW_SET)
    assert listed(sam, definition) == [late.name]


def test_a_retired_child_opens_its_input_again(site: Site, sam: SamCatalog, both: Catalogs) -> None:
    sam.declare([raw()], RAW_SET)
    sam.declare([child(raw())], DERIVED_SET)
    upkeep(site, file_of(settings()), both)
    assert listed(sam, open_inputs(site, settings())) == []
    sam.retire([child(raw()).did])
    assert listed(sam, open_inputs(site, settings())) == [raw().name]


@pytest.mark.parametrize(
    ("inputs", "runs"),
    [
        *COVERED,
        ({"datasets": ["hd-protodune:hd-protodune_28050", "hd-protodune:hd-protodune_28051"]}, [28050, 28051]),
        ({"datasets": ["hd-protodune:hd-protodune_*"], "to_run": 28049}, [28049]),
    ],
)
def test_only_what_the_version_covers_is_listed(site: Site, sam: SamCatalog, inputs: dict[str, Any], runs: list[int]) -> None:
    files = one_of_each_run()
    for run, file in files.items():
        sam.declare([file], f"{NAMESPACE}:{NAMESPACE}_{run}")
    definition = open_inputs(site, settings(inputs))
    sam.definitions.define(definition.name, definition.dimensions)
    assert listed(sam, definition) == [files[run].name for run in runs]


def test_files_of_other_streams_are_not_listed(site: Site, sam: SamCatalog) -> None:
    others = [raw(name="tp_run028049.hdf5"), raw(1, **{"dune.daq_test": "True"}), raw(2, **{"dune.daq_test": True})]
    sam.declare([*others, raw(3), raw(4, **{"dune.daq_test": False})], RAW_SET)
    assert sam.count(open_inputs(site, settings()).dimensions) == 2


def test_a_pattern_catalogues_have_no_words_for_is_not_asked_for(site: Site) -> None:
    assert "file_name" not in open_inputs(site, settings(stream="strange")).dimensions
    assert "name ~" not in open_query(site, settings(stream="strange")).text


@pytest.mark.parametrize("where", [{"core.events": [1]}, {"nocategory": 1}, {"dune.x y": 1}, {"dune.campaign": "it's"}])
def test_what_catalogues_cannot_be_asked_for_is_a_wrong_setting(site: Site, where: dict[str, Any]) -> None:
    for text in (open_inputs, open_query):
        with pytest.raises(ConfigError, match="cannot be asked for"):
            text(site, settings({"where": where}))


# -- upkeep ------------------------------------------------------------------------------------------------------------------


def test_repeated_upkeep_changes_nothing(site: Site, server: SamServer, queries: QueriesInMemory, both: Catalogs) -> None:
    first = upkeep(site, file_of(settings()), both)
    assert [(row.catalog, row.state) for row in first] == [("sam", "made"), ("metacat", "made")]
    assert (writes(server), queries.writes) == (1, 1)
    again = upkeep(site, file_of(settings()), both)
    assert [(row.catalog, row.state) for row in again] == [("sam", "as it was"), ("metacat", "as it was")]
    assert (writes(server), queries.writes) == (1, 1)


def test_looking_only_changes_nothing(site: Site, server: SamServer, queries: QueriesInMemory, both: Catalogs) -> None:
    assert {row.state for row in upkeep(site, file_of(settings()), both, change=False)} == {"missing"}
    assert (writes(server), queries.writes) == (0, 0)
    upkeep(site, file_of(settings()), both)
    assert {row.state for row in upkeep(site, file_of(settings()), both, change=False)} == {"as it should be"}
    other = file_of(settings({"to_run": 3}))
    assert {row.state for row in upkeep(site, other, both, change=False)} == {"to be renewed"}
    assert (writes(server), queries.writes) == (1, 1)


def test_other_inputs_of_the_version_renew_both(site: Site, sam: SamCatalog, queries: QueriesInMemory, both: Catalogs) -> None:
    upkeep(site, file_of(settings()), both)
    changed = settings({"from_run": 28050})
    assert [row.state for row in upkeep(site, file_of(changed), both)] == ["renewed", "renewed"]
    assert sam.definitions.text(definition_name(changed)) == open_inputs(site, changed).dimensions
    assert queries.queries[DERIVED, definition_name(changed)]["source"] == open_query(site, changed).text


def test_a_definition_of_somebody_else_under_our_name_stops_it_before_anything_is_changed(
    site: Site, server: SamServer, queries: QueriesInMemory, both: Catalogs
) -> None:
    form = {"defname": definition_name(settings()), "dims": "run_number 1", "group": "dune", "user": "schellma"}
    requests.post(f"{server.url}/definitions/create", data=form, timeout=10).raise_for_status()
    with pytest.raises(ConflictError, match="schellma"):
        upkeep(site, file_of(settings()), both)
    assert (writes(server), queries.writes) == (1, 0)


def test_with_sam_away_metacat_is_not_changed(site: Site, server: SamServer, queries: QueriesInMemory, both: Catalogs) -> None:
    server.kill()
    with pytest.raises(TransientError, match="SAM"):
        upkeep(site, file_of(settings()), both)
    assert queries.writes == 0
    server.start()
    assert [row.state for row in upkeep(site, file_of(settings()), both)] == ["made", "made"]


def test_with_metacat_away_sam_is_not_changed(site: Site, server: SamServer, queries: QueriesInMemory, both: Catalogs) -> None:
    queries.away = True
    with pytest.raises(TransientError, match="metacat"):
        upkeep(site, file_of(settings()), both)
    assert writes(server) == 0


def test_a_site_without_these_catalogues_has_nothing_to_keep(site: Site) -> None:
    only = Catalogs((OpenCatalog("embedded", ScriptedCatalog(name="embedded"), None),))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="neither sam nor metacat"):
        upkeep(site, file_of(settings()), only)
    assert sam_of(only) is None


# -- named queries of MetaCat ------------------------------------------------------------------------------------------------


def test_a_query_of_somebody_else_is_never_replaced(queries: QueriesInMemory, metacat: MetacatCatalog) -> None:
    queries.queries[DERIVED, "open"] = {"source": "files", "creator": "schellma"}
    with pytest.raises(ConflictError, match="of schellma has another text"):
        metacat.named_queries.define(f"{DERIVED}:open", "files from a:b", replace=True)
    assert metacat.named_queries.define(f"{DERIVED}:open", "files") == "nothing"
    assert queries.writes == 0


def test_our_query_is_replaced_only_when_that_is_asked_for(metacat: MetacatCatalog) -> None:
    assert metacat.named_queries.text(f"{DERIVED}:open") is None
    metacat.named_queries.define(f"{DERIVED}:open", "files from a:b")
    with pytest.raises(ConflictError):
        metacat.named_queries.define(f"{DERIVED}:open", "files from a:c")
    assert metacat.named_queries.define(f"{DERIVED}:open", "files from a:c", replace=True) == "change"
    assert metacat.named_queries.text(f"{DERIVED}:open") == "files from a:c"


def test_a_query_named_by_ourselves_meanwhile_is_no_conflict(
    queries: QueriesInMemory, metacat: MetacatCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = queries.create_named_query

    def twice(*arguments: Any, **options: Any) -> None:
        create(*arguments, **options)
        create(*arguments, **options)

    monkeypatch.setattr(queries, "create_named_query", twice)
    assert metacat.named_queries.define(f"{DERIVED}:open", "files") == "all"


def test_a_query_in_a_namespace_that_is_not_there_is_a_wrong_setting(metacat: MetacatCatalog) -> None:
    with pytest.raises(ConfigError, match="namespace nowhere does not exist"):
        metacat.named_queries.define("nowhere:open", "files")


@pytest.mark.parametrize("answer", [{}, {"source": None}, [], None])
def test_a_query_without_a_text_is_an_outage_or_none(
    queries: QueriesInMemory, metacat: MetacatCatalog, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(queries, "get_named_query", lambda *_: answer)
    if answer is None:
        assert metacat.named_queries.text(f"{DERIVED}:open") is None
    else:
        with pytest.raises(TransientError, match="no clear answer"):
            metacat.named_queries.text(f"{DERIVED}:open")


@pytest.mark.parametrize(("inputs", "runs"), COVERED)
def test_the_query_drains_in_a_real_metacat_and_finds_what_the_version_covers(
    world: World, ns: str, catalog: MetacatCatalog, site: Site, inputs: dict[str, Any], runs: list[int]
) -> None:
    files = one_of_each_run(ns)
    for run, file in files.items():
        world.server.add_dataset(f"{ns}:raw_{run}")
        catalog.declare([file], f"{ns}:raw_{run}")
    for datasets in ([f"{ns}:raw_*"], [f"{ns}:raw_{run}" for run in files]):
        query = open_query(site, settings(inputs | {"datasets": datasets}))
        assert catalog.count(query.text) == len(runs)
    made = [child(files[run]) for run in runs[:1]]
    catalog.declare(made, f"{ns}:run_1")
    assert catalog.count(query.text) == len(runs) - len(made)


def test_the_query_of_a_stream_finds_its_files_in_a_real_metacat(world: World, ns: str, catalog: MetacatCatalog, site: Site) -> None:
    others = [raw(name="tp_run028049.hdf5", namespace=ns), raw(1, namespace=ns, **{"dune.daq_test": "true"})]
    catalog.declare([*others, raw(2, namespace=ns)], f"{ns}:run_1")
    text = open_query(site, settings()).text
    assert "datasets matching hd-protodune:hd-protodune_%" in text
    assert catalog.count(text.replace("hd-protodune:hd-protodune_%", f"{ns}:run_%")) == 1


# -- what dependent stages get -------------------------------------------------------------------------------------------------


def test_dependents_get_exactly_the_children_of_the_slice(sam: SamCatalog) -> None:
    stage = MadeBy("test-prompt", "v1", "nf_sp")
    inputs = [raw(index) for index in range(6)]
    sam.declare(inputs, RAW_SET)
    definition = depends_definition(17, stage, [file.name for file in inputs[:4]])
    sam.definitions.define(definition.name, definition.dimensions)
    assert (definition.name, listed(sam, definition)) == ("poms_depends_17_1", [])
    wanted = [child(file, stage) for file in inputs[:3]]
    others = [child(inputs[0]), child(inputs[1], MadeBy("test-prompt", "v2", "nf_sp")), child(inputs[4], stage)]
    sam.declare([*wanted, *others], DERIVED_SET)
    assert listed(sam, definition) == [file.name for file in wanted]
    sam.retire([wanted[0].did])
    assert listed(sam, definition) == [file.name for file in wanted[1:]]


def test_the_same_slice_has_the_same_definition_in_whatever_order() -> None:
    assert depends_definition(1, MADE_BY, ["b", "a", "b"]) == depends_definition(1, MADE_BY, ["a", "b"])


@pytest.mark.parametrize("number", [1, 100, 101, 800])
def test_the_definition_of_a_large_slice_is_legal_and_finds_all(sam: SamCatalog, number: int) -> None:
    names = [f"np04hd_raw_run028049_{index:04d}_dataflow0_datawriter_0_20240619T110330.hdf5" for index in range(number)]
    definition = depends_definition(1, MADE_BY, names)
    parse(definition.dimensions)
    inputs = [raw(name=names[0]), raw(name=names[-1])][: min(number, 2)]
    sam.declare(inputs, RAW_SET)
    sam.declare([child(file) for file in inputs], DERIVED_SET)
    sam.definitions.define(definition.name, definition.dimensions)
    assert len(listed(sam, definition)) == len(inputs)


def test_a_launch_without_inputs_has_a_definition_that_finds_nothing(sam: SamCatalog) -> None:
    sam.declare([raw()], RAW_SET)
    sam.declare([child(raw())], DERIVED_SET)
    definition = depends_definition(1, MADE_BY, [])
    sam.definitions.define(definition.name, definition.dimensions)
    assert listed(sam, definition) == []


def test_a_name_with_a_quote_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be asked for"):
        depends_definition(1, MADE_BY, ["x' or file_name 'y"])


# -- agreement -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, server: SamServer) -> Iterator[Small]:
    site = f"{SITE}catalogs: [{{kind: sam, url: '{server.url}', client: http, timeout: 5s}}]\n"
    small = Small.at(tmp_path, site=site, layout="staged")
    yield small
    small.close()


def put(small: Small, files: Sequence[FileRecord], state: TaskState) -> None:
    """Tasks of these inputs, the final ones in this state; the earlier ones are done."""
    steps = (("nf_sp", TaskState.DONE), ("declare", TaskState.DONE), ("evaluate", state))
    values: dict[str, Any] = {"campaign_id": small.campaign.id, "run": 28049, "file_index": None, "size_bytes": 1000, "deadline": NOW}
    values |= {"allowed_failures": 4, "closed_at": NOW, "declared_at": NOW}
    tasks = [NewTask(**values, input_did=file.did, step=step, state=at) for file in files for step, at in steps]
    with small.installation.store.write() as connection:
        ledger_tasks.create(connection, tasks, NOW)


def agreed(small: Small, *catalogs: Any) -> Any:
    opened = Catalogs(tuple(OpenCatalog(catalog.name, catalog, None) for catalog in catalogs))
    return agreement(small.installation.store, small.campaign.settings, opened)


def test_a_planted_difference_is_found_and_says_who_says_what(small: Small, sam: SamCatalog) -> None:
    done, stray, lost, waiting = (raw(index) for index in range(4))
    put(small, [done, lost], TaskState.DONE)
    put(small, [stray, waiting], TaskState.READY)
    sam.declare([done, stray, lost, waiting], RAW_SET)
    sam.declare([child(done), child(stray)], DERIVED_SET)
    answer = agreed(small, sam, ScriptedCatalog(done={done.did, stray.did, lost.did}))
    assert answer.inputs == 4
    assert answer.differences == (
        Difference(stray.did, ("sam", "metacat"), ("ledger",)),
        Difference(lost.did, ("ledger", "metacat"), ("sam",)),
    )


def test_where_all_say_the_same_there_is_no_difference(small: Small, sam: SamCatalog) -> None:
    put(small, [raw(0)], TaskState.DONE)
    put(small, [raw(1)], TaskState.PARKED)
    sam.declare([raw(0), raw(1)], RAW_SET)
    sam.declare([child(raw(0)), child(raw(1), MadeBy("test-prompt", "v2", "evaluate"))], DERIVED_SET)
    answer = agreed(small, sam, ScriptedCatalog(done={raw(0).did}))
    assert (answer.inputs, answer.differences, answer.away) == (2, (), {})


@pytest.mark.parametrize("state", [TaskState.REPORTED, TaskState.WAIVED])
def test_what_is_on_its_way_or_waived_is_not_compared(small: Small, state: TaskState) -> None:
    put(small, [raw()], state)
    assert agreed(small, ScriptedCatalog(done={raw().did})).inputs == 0


def test_what_is_done_while_the_catalogues_are_asked_is_no_difference(small: Small) -> None:
    put(small, [raw(0), raw(1)], TaskState.RUNNING)

    class Meanwhile(ScriptedCatalog):
        def children_of(self, dids: Sequence[str], made_by: MadeBy) -> dict[str, tuple[str, ...]]:
            with small.installation.store.write() as connection:
                task = next(task for task in ledger_tasks.select(connection) if (task.input_did, task.step) == (raw(0).did, "evaluate"))
                ledger_tasks.apply(connection, [ledger_tasks.Move(task, TaskState.DONE)], NOW)
            return super().children_of(dids, made_by)

    answer = agreed(small, Meanwhile(done={raw(0).did}))
    assert (answer.inputs, answer.differences) == (1, ())


def test_a_catalogue_that_is_away_says_nothing(small: Small) -> None:
    put(small, [raw()], TaskState.DONE)
    answer = agreed(small, ScriptedCatalog(name="sam", error=TransientError("SAM is away")), ScriptedCatalog(done={raw().did}))
    assert (answer.differences, answer.away) == ((), {"sam": "SAM is away"})


# -- the command line ------------------------------------------------------------------------------------------------------------


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(small: Small, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["campaign", "definitions", "--site", str(small.folder / "site.yaml"), *words])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_the_command_makes_and_shows_the_definitions(server: SamServer, sam: SamCatalog, run: Command) -> None:
    sam.declare([raw(0), raw(1)], RAW_SET)
    code, out, _ = run("test-prompt", "--dry-run")
    assert (code, out.splitlines()[1].split()) == (0, ["v1", "sam", "test-prompt_v1_evaluate_open", "missing", "2"])
    assert writes(server) == 0
    code, out, _ = run("test-prompt", "--json")
    (row,) = json.loads(out)
    assert (code, row["state"], row["files"]) == (0, "made", 2)
    assert sam.definitions.text(row["name"]) == row["text"]
    assert row["text"] in run("test-prompt")[1]
    assert writes(server) == 1


def test_a_check_that_finds_a_difference_ends_with_40(small: Small, server: SamServer, sam: SamCatalog, run: Command) -> None:
    put(small, [raw()], TaskState.DONE)
    code, out, err = run("test-prompt", "--check", "--json")
    assert (code, json.loads(out)) == (40, [{"version": "v1", "did": raw().did, "done_in": "ledger", "not_done_in": "sam"}])
    assert "1 of 1 inputs" in err
    sam.declare([raw()], RAW_SET)
    sam.declare([child(raw())], DERIVED_SET)
    assert run("test-prompt", "--check") == (0, "all agree on what is done of 1 inputs\n", "")
    assert writes(server) == 0


def test_a_check_that_could_not_ask_is_no_agreement(small: Small, server: SamServer, run: Command) -> None:
    put(small, [raw()], TaskState.DONE)
    server.kill()
    code, _, err = run("test-prompt", "--check")
    assert code == 20
    assert "not all could be asked" in err


def test_an_unknown_campaign_is_named_with_those_there_are(run: Command) -> None:
    code, _, err = run("other")
    assert code == 30
    assert "no file of campaign other; there are: test-prompt" in err
