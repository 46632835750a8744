"""What the catalogues keep of a campaign under a name, for POMS and for people, and whether they agree with the ledger on what is done.

SAM has a dataset definition of a version's open inputs, which POMS takes as the dataset of the first stage, and for each launch one of the
children it made, which POMS takes as the dataset of the stages that depend on it. MetaCat has the open inputs as a named query, to be used
as `files selected by namespace:name`. All of them drain, or fill, by themselves as files are declared: nothing here has to be repeated
for that, only when the campaign file changes.

A definition says what catalogues can be asked for: runs, names of files, metadata. Decisions about single files and runs (canaries, runs
excluded later, waivers) are the ledger's; the engine hands out no such file even though a definition lists it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.definition import FINAL_STAGE, Campaign, CampaignFile
from campaign.draining.agreement import Difference, compare, done_in
from campaign.layout import CHAIN
from campaign.ledger.tables import campaign_table, task_table
from campaign.states import TaskState
from declare_daemon.catalogs import Catalogs
from declare_daemon.catalogs.metacat import MetacatCatalog
from declare_daemon.catalogs.metacat_queries import undone_of, value
from declare_daemon.catalogs.protocol import NamedQueries
from declare_daemon.catalogs.sam import NAMES_IN_QUERY, SamCatalog
from declare_daemon.catalogs.sam_dims import ANYWHERE, made, quoted, selection, undone
from declare_daemon.catalogs.sam_metadata import APPLICATION, FIELDS, RUN_TYPE, parameter
from declare_daemon.root_attributes import RUN_TYPES
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.records import MadeBy
from dune_prompt.settings import Site
from dune_prompt.store import Store

# A name no file has: the input of a launch that had none.
NO_FILE = "dune-prompt.no-input"

_RUN_TYPE_OF = {"pdhd": RUN_TYPES["np04hd"], "pdvd": RUN_TYPES["np02vd"]}
_KEY = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)
_MADE = {"all": "made", "change": "renewed", "nothing": "as it was"}
_FOUND = {"all": "missing", "change": "to be renewed", "nothing": "as it should be"}


@dataclass(frozen=True, slots=True)
class SamDefinition:
    """A dataset definition of SAM: its name, and its query in SAM's language of dimensions."""

    name: str
    dimensions: str


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query of MetaCat under the name `namespace:name`."""

    namespace: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """What one catalogue keeps of a version: under which name, which text, what was (or is to be) done about it, and how many files the
    text finds now."""

    catalog: str
    name: str
    text: str
    state: str
    files: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many inputs of a version were compared, where ledger and catalogues differ, and which catalogues did not answer, with why."""

    inputs: int
    differences: tuple[Difference, ...]
    away: Mapping[str, str]


def definition_name(settings: Campaign) -> str:
    """What the open inputs of a version are called, in SAM and in MetaCat."""
    made_by = settings.made_by
    return f"{made_by.campaign}_{made_by.version}_{made_by.stage}_open"


def sam_of(catalogs: Catalogs) -> SamCatalog | None:
    """SAM, if the site lists it."""
    return next((catalog.metadata for catalog in catalogs.all if isinstance(catalog.metadata, SamCatalog)), None)


# -- open inputs -------------------------------------------------------------------------------------------------------------


def open_inputs(site: Site, settings: Campaign) -> SamDefinition:
    """The definition of the files a version covers and has not processed.

    Raises:
        ConfigError: the campaign's `where` or the stream's asks for something that SAM cannot be asked for.
    """
    covered = _covered(site, settings)
    inputs = settings.inputs
    terms = [f"( {' or '.join(map(selection, covered.datasets))} )"]
    if covered.names is not None:
        terms.append(f"file_name like {quoted(covered.names.replace('*', '%').replace('?', '_'))}")
    if inputs.from_run is not None:
        terms.append(f"run_number >= {inputs.from_run}")
    if inputs.to_run is not None:
        # SAM's run numbers go on behind the point, with the subrun.
        terms.append(f"run_number < {inputs.to_run + 1}")
    if inputs.exclude_runs:
        terms.append(f"not run_number {','.join(map(str, sorted(set(inputs.exclude_runs))))}")
    terms += [_sam_term(key, wanted) for key, wanted in sorted(covered.where.items())]
    files = f"( {' and '.join(terms)} )"
    return SamDefinition(definition_name(settings), f"{undone(files, settings.made_by)} {ANYWHERE}")


def open_query(site: Site, settings: Campaign) -> NamedQuery:
    """The same files as a query of MetaCat, in the namespace of the campaign's outputs.

    Raises:
        ConfigError: the campaign's `where` or the stream's asks for something that MetaCat cannot be asked for.
    """
    covered = _covered(site, settings)
    inputs = settings.inputs
    conditions = []
    if covered.names is not None:
        conditions.append(f'name ~ "^{_as_regexp(covered.names)}$"')
    if inputs.from_run is not None:
        conditions.append(f"core.runs[0] >= {inputs.from_run}")
    if inputs.to_run is not None:
        conditions.append(f"core.runs[0] <= {inputs.to_run}")
    conditions += [f"core.runs[0] != {run}" for run in sorted(set(inputs.exclude_runs))]
    conditions += [_mql_condition(key, wanted) for key, wanted in sorted(covered.where.items())]
    text = undone_of(covered.datasets, conditions, settings.made_by)
    return NamedQuery(settings.outputs.namespace, definition_name(settings), text)


@dataclass(frozen=True, slots=True)
class _Covered:
    """The datasets a version's inputs are in, what their names look like (shell wildcards; None: anything), and metadata they have."""

    datasets: tuple[str, ...]
    names: str | None
    where: Mapping[str, Any]


def _covered(site: Site, settings: Campaign) -> _Covered:
    inputs = settings.inputs
    if inputs.datasets:
        return _Covered(inputs.datasets, None, inputs.where)
    stream = site.stream(settings.stream)
    if stream is None:
        raise ConfigError(f"campaign {settings.campaign}: stream: {settings.stream!r} is not in the site file")
    run_type = _RUN_TYPE_OF[settings.detector]
    # A catalogue knows no choice between letters, so the name is not asked for then.
    names = stream.pattern if re.fullmatch(r"[A-Za-z0-9_.*?-]+", stream.pattern) else None
    return _Covered((f"{run_type}:{run_type}_*",), names, {**stream.where, **inputs.where})


def _spellings(key: str, wanted: Any) -> list[str]:
    """How a value may be written that a file has to have; truth is written in several ways."""
    if not _KEY.fullmatch(key) or not isinstance(wanted, str | int | float):
        raise ConfigError(f"where: catalogues cannot be asked for {key} = {wanted!r}: a key with a category, and a text or a number")
    return [str(wanted), str(wanted).lower()] if isinstance(wanted, bool) else [str(wanted)]


def _sam_term(key: str, wanted: Any) -> str:
    values = _spellings(key, wanted)
    if isinstance(wanted, bool):
        values.append(f"json:{values[-1]}")
    if key in FIELDS or key == RUN_TYPE:
        dimension = key.removeprefix("core.")
    elif key in APPLICATION:
        dimension = {"name": "application"}.get(APPLICATION[key], APPLICATION[key])
    else:
        dimension = parameter(key).lower()
    return f"{dimension} {','.join(map(quoted, values))}"


def _mql_condition(key: str, wanted: Any) -> str:
    values = _spellings(key, wanted)
    if isinstance(wanted, bool):
        return f"({' or '.join(f'{key} = {text}' for text in (*map(value, values), values[-1]))})"
    return f"{key} = {value(wanted) if isinstance(wanted, str) else wanted}"


def _as_regexp(pattern: str) -> str:
    """A name with shell wildcards as MetaCat's regular expressions have it, without backslashes."""
    return "".join({"*": ".*", "?": ".", ".": "[.]"}.get(letter, letter) for letter in pattern)


# -- upkeep ------------------------------------------------------------------------------------------------------------------


def upkeep(site: Site, file: CampaignFile, catalogs: Catalogs, *, change: bool = True) -> list[Row]:
    """Have SAM and MetaCat know the open inputs of a version by name; with `change` off only look. Repeating it changes nothing.

    All catalogues are asked before anything is changed in one, and each has then shown that it understands its text.

    Raises:
        TransientError: a catalogue is away; none was changed, unless it went away in between, which the next time puts right.
        ConflictError: a name is taken by a definition that is not ours; nothing was changed.
        ConfigError: the site lists neither SAM nor MetaCat, or one of them takes no such definition.
    """
    kept = list(_kept(site, file.settings, catalogs))
    if not kept:
        raise ConfigError(f"site {site.site}: catalogs: lists neither sam nor metacat, and only these keep definitions")
    lacking = [item.queries.missing(item.name, item.text, replace=True) for item in kept]
    files = [item.catalog.count(item.text) for item in kept]
    if change:
        for item in kept:
            item.queries.define(item.name, item.text, replace=True)
    words = _MADE if change else _FOUND
    return [
        Row(item.catalog.name, item.name, item.text, words[missing], found)
        for item, missing, found in zip(kept, lacking, files, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A query that a catalogue keeps under a name."""

    catalog: SamCatalog | MetacatCatalog
    queries: NamedQueries
    name: str
    text: str


def _kept(site: Site, settings: Campaign, catalogs: Catalogs) -> Iterator[_Kept]:
    for catalog in catalogs.all:
        match catalog.metadata:
            case SamCatalog() as sam:
                definition = open_inputs(site, settings)
                yield _Kept(sam, sam.definitions, definition.name, definition.dimensions)
            case MetacatCatalog() as metacat:
                query = open_query(site, settings)
                yield _Kept(metacat, metacat.named_queries, f"{query.namespace}:{query.name}", query.text)


# -- what dependent stages of POMS get -----------------------------------------------------------------------------------------


def depends_definition(task_id: int, made_by: MadeBy, inputs: Sequence[str]) -> SamDefinition:
    """The definition POMS expects for the stages that depend on launch `task_id`: the children that (campaign, version, stage) has made of
    these `inputs` (names of files), as they are declared, wherever they are.

    A launch without inputs gets one that finds nothing: POMS starts its dependents all the same.

    Raises:
        ConfigError: a name that SAM cannot be asked for.
    """
    names = sorted(set(inputs)) or [NO_FILE]
    parts = [names[start : start + NAMES_IN_QUERY] for start in range(0, len(names), NAMES_IN_QUERY)]
    files = " or ".join(f"file_name {','.join(map(quoted, part))}" for part in parts)
    return SamDefinition(f"poms_depends_{task_id}_1", f"ischildof:( {files} {ANYWHERE} ) and {made(made_by)} {ANYWHERE}")


# -- agreement -----------------------------------------------------------------------------------------------------------------


def agreement(store: Store, settings: Campaign, catalogs: Catalogs) -> Agreement:
    """Whether ledger and metadata catalogues say the same inputs of a version are done.

    Inputs that are on their way from one to the other (reported, or moved while the catalogues were asked) and waived ones are left out.
    A catalogue that is away says nothing, which is no difference.
    """
    before = _final_tasks(store, settings)
    dids = sorted(before)
    answers: dict[str, frozenset[str]] = {}
    away: dict[str, str] = {}
    for catalog in (item.metadata for item in catalogs.all if item.metadata is not None):
        try:
            answers[catalog.name] = done_in(catalog, dids, settings.made_by)
        except TransientError as error:
            away[catalog.name] = str(error)
    after = _final_tasks(store, settings)
    steady = [did for did in dids if after.get(did) == before[did]]
    done = {did for did in steady if before[did] is TaskState.DONE}
    return Agreement(len(steady), tuple(compare(done, answers, steady)), away)


def _final_tasks(store: Store, settings: Campaign) -> dict[str, TaskState]:
    """The inputs of a version, each with the state of the task that makes its final child."""
    c, of = task_table.c, campaign_table.c
    query = sa.select(c.input_did, c.state).join(campaign_table, of.id == c.campaign_id)
    query = query.where(of.name == settings.campaign, of.version == settings.version, c.step.in_((CHAIN, FINAL_STAGE)))
    query = query.where(c.state.not_in((TaskState.REPORTED, TaskState.WAIVED)))
    with store.read() as connection:
        return {did: TaskState(state) for did, state in connection.execute(query)}
