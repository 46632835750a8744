"""Inputs that came from a catalogue's dataset: what is kept of each, and how far each dataset was looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.draining.tables import catalog_input_table, drained_table
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import OPEN, chunks
from campaign.states import TaskState
from declare_daemon.catalogs import Entry
from declare_daemon.metadata import file_index
from dune_prompt.records import ADLER32, split_did


@dataclass(frozen=True, slots=True)
class CatalogInput:
    """A file that others declared. `adler32` is empty and `size_bytes` negative where the catalogue does not say."""

    did: str
    size_bytes: int
    adler32: str
    metadata: Mapping[str, Any]
    run: int
    file_index: int | None
    declared_at: float | None

    @property
    def name(self) -> str:
        return split_did(self.did)[1]

    @classmethod
    def of(cls, entry: Entry) -> CatalogInput:
        """From what the catalogue tells of it."""
        runs = entry.metadata.get("core.runs")
        run = runs[0] if isinstance(runs, list) and runs and isinstance(runs[0], int) else 0
        adler32 = entry.adler32 if ADLER32.fullmatch(entry.adler32) else ""
        index = file_index(split_did(entry.did)[1])
        return cls(entry.did, entry.size_bytes, adler32, entry.metadata, run, index, entry.declared_at)


@dataclass(frozen=True, slots=True)
class Drained:
    """How far a dataset was looked at: the catalogue's mark, when it was answered, when something was last found to have joined."""

    mark: str
    answered_at: float
    changed_at: float


def keep(connection: sa.Connection, inputs: Sequence[CatalogInput], dataset: str, now: float) -> None:
    """Keep what is told of inputs; those that are known stay as they are."""
    known = by_did(connection, [item.did for item in inputs])
    new = {item.did: item for item in inputs if item.did not in known}
    rows = [
        {
            "did": item.did,
            "dataset": dataset,
            "size_bytes": item.size_bytes,
            "adler32": item.adler32,
            "metadata": dict(item.metadata),
            "run": item.run,
            "file_index": item.file_index,
            "declared_at": item.declared_at,
            "found_at": now,
        }
        for item in new.values()
    ]
    if rows:
        connection.execute(sa.insert(catalog_input_table), rows)


def by_did(connection: sa.Connection, dids: Iterable[str]) -> dict[str, CatalogInput]:
    """What is kept of these inputs; unknown ones are absent."""
    c = catalog_input_table.c
    query = sa.select(c.did, c.size_bytes, c.adler32, c.metadata, c.run, c.file_index, c.declared_at)
    found = {}
    for part in chunks(sorted(set(dids))):
        for row in connection.execute(query.where(c.did.in_(part))):
            found[row.did] = CatalogInput(**row._mapping)
    return found


def dids_of(connection: sa.Connection, dataset: str) -> frozenset[str]:
    """The inputs kept that came from a dataset."""
    c = catalog_input_table.c
    return frozenset(connection.execute(sa.select(c.did).where(c.dataset == dataset)).scalars())


def waiting_of(connection: sa.Connection, campaign_id: int, dataset: str) -> frozenset[str]:
    """Those of them whose tasks nobody has begun to work on."""
    c, t = catalog_input_table.c, task_table.c
    query = sa.select(t.input_did).join(catalog_input_table, c.did == t.input_did)
    query = query.where(c.dataset == dataset, t.campaign_id == campaign_id, OPEN, t.state == TaskState.READY, t.attempts == 0)
    return frozenset(connection.execute(query).scalars())


def drained(connection: sa.Connection, campaign_id: int) -> dict[str, Drained]:
    """How far each dataset was looked at for a campaign's version."""
    c = drained_table.c
    query = sa.select(c.dataset, c.mark, c.answered_at, c.changed_at).where(c.campaign_id == campaign_id)
    return {row.dataset: Drained(row.mark, row.answered_at, row.changed_at) for row in connection.execute(query)}


def note(connection: sa.Connection, campaign_id: int, dataset: str, seen: Drained) -> None:
    """Write down how far a dataset was looked at."""
    values = {"mark": seen.mark, "answered_at": seen.answered_at, "changed_at": seen.changed_at}
    mine = (drained_table.c.campaign_id == campaign_id, drained_table.c.dataset == dataset)
    if connection.execute(sa.update(drained_table).where(*mine).values(**values)).rowcount == 0:
        connection.execute(sa.insert(drained_table).values(campaign_id=campaign_id, dataset=dataset, **values))


def forget(connection: sa.Connection, campaign_ids: Collection[int]) -> None:
    """Look at all datasets of these campaigns anew: which inputs they cover has changed."""
    connection.execute(sa.delete(drained_table).where(drained_table.c.campaign_id.in_(campaign_ids)))
