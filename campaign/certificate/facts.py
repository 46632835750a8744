"""Collects what ledger and journal know of a run. Only reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, campaign_table, task_table
from campaign.ledger.tasks import chunks
from campaign.ledger.versions import Exclusion, Redo
from campaign.states import TaskState
from campaign.versions.coverage import Coverage
from campaign.versions.roles import Role
from campaign.why.covered import coverages
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table, step_table, waiver_table
from declare_daemon.registration.steps import METADATA, REPLICA
from dune_prompt.settings import Site
from dune_prompt.store import event_table

# States of files that have been checked: size and checksum agreed with what was promised.
CHECKED = frozenset({FileState.VERIFIED, FileState.DECLARED, FileState.LEAVING, FileState.LEFT})
EVERYWHERE = frozenset({FileState.DECLARED, FileState.LEAVING, FileState.LEFT})
# A file that was stopped before its metadata were read has no run in the journal; its name tells it.
_STOPPED = (FileState.FOUND, FileState.UNMATCHED, FileState.REJECTED, FileState.QUARANTINED, FileState.RETURNING, FileState.CONFLICT)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A raw file or an output as the journal knows it. `declared_in` are the catalogues that have confirmed it, `waived` those a person
    answers for. Of outputs: attempt, and what their metadata say of who made them."""

    id: int
    name: str
    did: str | None
    state: FileState
    reason: str | None
    stream: str | None
    size_bytes: int | None
    adler32: str | None
    verified_at: float | None
    closed_at: float | None
    found_at: float
    left_at: float | None
    declared_in: frozenset[str] = frozenset()
    waived: tuple[tuple[str, str, str], ...] = ()
    attempt: str | None = None
    campaign: str | None = None
    version: str | None = None
    campaign_file: str | None = None
    code_version: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checked(self) -> bool:
        """Whether its checksum was compared with what was promised, and agreed."""
        return self.state in CHECKED or (self.state is FileState.GONE and self.verified_at is not None)


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """One campaign's version and the run. `tasks` and `attempts` are rows; `waived_by`: for each waived task who, and why.

    `covered` are the DIDs of the run's files that the version means to process, `excluded` and `redo` what people decided about the run.
    """

    row: Any
    role: Role
    tasks: Sequence[Any]
    attempts: Sequence[Any]
    waived_by: Mapping[int, tuple[str | None, str | None]]
    covered: frozenset[str]
    excluded: Exclusion | None
    redo: Redo | None
    outputs: Sequence[KnownFile]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All that is known of a run."""

    site: str
    run: int
    catalogs: tuple[str, ...]
    raw: Sequence[KnownFile]
    campaigns: Sequence[CampaignFacts]

    @property
    def known(self) -> bool:
        return bool(self.raw) or any(item.tasks for item in self.campaigns)


def collect(connection: sa.Connection, site: Site, run: int) -> RunFacts:
    """Everything the certificate of `run` is made of."""
    kinds = tuple(settings.kind for settings in site.catalogs)
    rows = connection.execute(sa.select(campaign_table).order_by(campaign_table.c.name, campaign_table.c.version)).all()
    covers = coverages(connection, {row.id: row for row in rows})
    with_metadata = any(item.settings.inputs.where for item in covers.values())
    raw = [*_files(connection, run, "buffer", with_metadata=with_metadata), *files_without_run(connection, run)]
    outputs = _files(connection, run, "outbox")
    tasks = _by_campaign(connection.execute(sa.select(task_table).where(task_table.c.run == run)).all())
    attempts = _attempts(connection, run)
    made_by = {attempt.id: attempt.campaign_id for attempt in attempts}
    campaigns = []
    for row in rows:
        mine, cover = tasks.get(row.id, []), covers[row.id]
        campaigns.append(
            CampaignFacts(
                row=row,
                role=cover.role,
                tasks=mine,
                attempts=[attempt for attempt in attempts if attempt.campaign_id == row.id],
                waived_by=_waivers(connection, [task.id for task in mine if task.state == TaskState.WAIVED]),
                covered=_covered(raw, row.stream, cover, run),
                excluded=cover.excluded.get(run),
                redo=cover.redone.get(run),
                outputs=[item for item in outputs if _is_of(item, row, made_by)],
            )
        )
    concerned = [item for item in campaigns if item.tasks or item.covered or (item.excluded and _usable(raw, item.row.stream))]
    return RunFacts(site.site, run, kinds, sorted(raw, key=lambda file: file.name), concerned)


def _by_campaign(rows: Sequence[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.campaign_id].append(row)
    return found


def _attempts(connection: sa.Connection, run: int) -> Sequence[Any]:
    a, t = attempt_table.c, task_table.c
    columns = (a.id, a.task_id, a.state, a.host, a.cpu_s, a.rss_bytes, t.campaign_id)
    return connection.execute(sa.select(*columns).join_from(attempt_table, task_table).where(t.run == run)).all()


def _waivers(connection: sa.Connection, task_ids: Sequence[int]) -> dict[int, tuple[str | None, str | None]]:
    e = event_table.c
    found: dict[int, tuple[str | None, str | None]] = {}
    for part in chunks(task_ids):
        subjects = [f"task:{task_id}" for task_id in part]
        waived = sa.select(e.subject, e.by, e.message).where(e.subject.in_(subjects), e.after == TaskState.WAIVED)
        found |= {int(row.subject.partition(":")[2]): (row.by, row.message) for row in connection.execute(waived.order_by(e.id))}
    return found


# Which catalogue step says that a file is declared: Rucio has no metadata, there it is the copy that is registered.
def _says_declared(kind: str) -> str:
    return REPLICA if kind == "rucio" else METADATA


_COLUMNS = ("id", "name", "did", "state", "reason", "stream", "size_bytes", "adler32", "verified_at", "closed_at", "found_at", "left_at")


def _files(connection: sa.Connection, run: int, origin: str, *, with_metadata: bool = False) -> list[KnownFile]:
    c = file_table.c
    made_by = _made_by() if origin == "outbox" else []
    columns = [*(c[name] for name in _COLUMNS), *made_by, *([c.metadata] if with_metadata else [])]
    mine = (c.run == run, c.origin == origin)
    files = connection.execute(sa.select(*columns).where(*mine)).mappings().all()
    declared: dict[int, set[str]] = defaultdict(set)
    s, w = step_table.c, waiver_table.c
    steps = sa.select(s.file_id, s.catalog, s.step).join_from(step_table, file_table, s.file_id == c.id).where(*mine)
    for file_id, catalog, step in connection.execute(steps.where(s.step.in_((METADATA, REPLICA)))):
        if step == _says_declared(catalog):
            declared[file_id].add(catalog)
    waived: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    waivers = sa.select(w.file_id, w.catalog, w.by, w.why).join_from(waiver_table, file_table, w.file_id == c.id).where(*mine)
    for row in connection.execute(waivers):
        waived[row.file_id].append((row.catalog, row.by, row.why))
    return [_known(row, frozenset(declared[row["id"]]), tuple(sorted(waived[row["id"]]))) for row in files]


def _made_by() -> list[sa.ColumnElement[Any]]:
    c = file_table.c
    return [
        c.attempt,
        c.metadata["dune.campaign"].as_string().label("campaign"),
        c.metadata["core.application.version"].as_string().label("version"),
        c.metadata[("dune.workflow", "campaign_file_sha256")].as_string().label("campaign_file"),
        c.metadata[("dune.workflow", "code_version")].as_string().label("code_version"),
    ]


def _known(row: Mapping[Any, Any], declared_in: frozenset[str] = frozenset(), waived: tuple[tuple[str, str, str], ...] = ()) -> KnownFile:
    values = dict(row)
    values["state"] = FileState(values["state"])
    values["metadata"] = values.get("metadata") or {}
    return KnownFile(**values, declared_in=declared_in, waived=waived)


def files_without_run(connection: sa.Connection, run: int) -> list[KnownFile]:
    """Raw files of the run by their names, that were stopped before their metadata told the journal."""
    c = file_table.c
    named = sa.select(*(c[name] for name in _COLUMNS)).where(
        c.state.in_([state.value for state in _STOPPED]),
        c.origin == "buffer",
        c.run.is_(None),
        c.name.contains(f"_run{run:06d}_", autoescape=True),
    )
    return [_known(row) for row in connection.execute(named).mappings()]


def _usable(raw: Sequence[KnownFile], stream: str) -> frozenset[str]:
    return frozenset(file.did for file in raw if file.did is not None and file.stream == stream and file.state in CHECKED)


def _covered(raw: Sequence[KnownFile], stream: str, cover: Coverage, run: int) -> frozenset[str]:
    usable = _usable(raw, stream)
    mine = [file for file in raw if file.did in usable]
    return frozenset(file.did for file in mine if file.did and cover.covers(run, file.did, file.metadata, file.found_at))


def _is_of(output: KnownFile, row: Any, made_by: Mapping[str, int]) -> bool:
    """Whether the campaign's version made the output: by its attempt, or when the ledger has lost that, by its metadata."""
    if output.attempt and (campaign_id := made_by.get(output.attempt)) is not None:
        return bool(campaign_id == row.id)
    return bool((output.campaign, output.version) == (row.name, row.version))
