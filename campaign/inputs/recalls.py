"""The ledger of what is read back from tape: written down before it is asked for, bounded, and counted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from campaign.draining.tables import recall_file_table, recall_table
from campaign.ledger.tables import campaign_table
from campaign.ledger.tasks import chunks
from declare_daemon.catalogs import Recall

# Written down, and not yet taken by the catalogue; all other states are the catalogue's own, or:
ASKING, DONE, LOST = "ASKING", "OK", "GONE"


@dataclass(frozen=True, slots=True)
class RecallRow:
    """Files of a run that are read back together. `rule` is the catalogue's, None until it has taken it."""

    id: str
    campaign_id: int
    run: int
    dataset: str
    rse: str
    lifetime_s: float
    rule: str | None
    state: str
    message: str | None
    asked_at: float
    ended_at: float | None

    @property
    def sentence(self) -> str:
        """How far it is, in words."""
        said = "is being asked for" if self.rule is None else f"rule {self.rule} is {self.state}"
        return f"read back from tape to {self.rse} with others of run {self.run}: {said}" + (f" ({self.message})" if self.message else "")


@dataclass(frozen=True, slots=True)
class RecallFile:
    """A file of a recall; `there_at`: since when a copy is on disk."""

    did: str
    size_bytes: int
    there_at: float | None


@dataclass(frozen=True, slots=True)
class Use:
    """What a campaign's version has asked back from tape: in all, and what of it is still on its way."""

    bytes_asked: int = 0
    files_coming: int = 0


@dataclass(frozen=True, slots=True)
class RecallStatus:
    """What a campaign's version reads back from tape, in numbers."""

    campaign: str
    version: str
    files_asked: int
    files_read_back: int
    bytes_asked: int
    bytes_read_back: int
    rules_open: int
    trouble: str | None


_COLUMNS = [recall_table.c[item.name] for item in fields(RecallRow)]
_OPEN = recall_table.c.ended_at.is_(None)


def begin(connection: sa.Connection, row: RecallRow, files: Mapping[str, int]) -> None:
    """Write down that these files (DID -> bytes) are to be read back."""
    connection.execute(sa.insert(recall_table).values({item.name: getattr(row, item.name) for item in fields(RecallRow)}))
    rows = [{"recall_id": row.id, "did": did, "size_bytes": size_bytes} for did, size_bytes in files.items()]
    connection.execute(sa.insert(recall_file_table), rows)


def update(connection: sa.Connection, recall_id: str, **values: Any) -> None:
    """Set columns of a recall."""
    connection.execute(sa.update(recall_table).where(recall_table.c.id == recall_id).values(**values))


def are_there(connection: sa.Connection, recall_id: str, dids: Collection[str], now: float) -> None:
    """Copies of these files are on disk."""
    c = recall_file_table.c
    for part in chunks(sorted(dids)):
        mine = (c.recall_id == recall_id, c.did.in_(part), c.there_at.is_(None))
        connection.execute(sa.update(recall_file_table).where(*mine).values(there_at=now))


def open_recalls(connection: sa.Connection) -> list[RecallRow]:
    """Those that are not over, oldest first."""
    query = sa.select(*_COLUMNS).where(_OPEN).order_by(recall_table.c.id)
    return [RecallRow(**row._mapping) for row in connection.execute(query)]


def files_of(connection: sa.Connection, recall_id: str) -> list[RecallFile]:
    c = recall_file_table.c
    query = sa.select(c.did, c.size_bytes, c.there_at).where(c.recall_id == recall_id).order_by(c.did)
    return [RecallFile(**row._mapping) for row in connection.execute(query)]


def coming(connection: sa.Connection, dids: Iterable[str]) -> dict[str, RecallRow]:
    """Which of these files are on their way from tape, whoever asked for them."""
    c = recall_file_table.c
    query = sa.select(c.did, *_COLUMNS).join(recall_table, recall_table.c.id == c.recall_id).where(_OPEN, c.there_at.is_(None))
    found = {}
    for part in chunks(sorted(set(dids))):
        for row in connection.execute(query.where(c.did.in_(part))).mappings():
            found[row["did"]] = RecallRow(**{item.name: row[item.name] for item in fields(RecallRow)})
    return found


def use_of(connection: sa.Connection, campaign_id: int) -> Use:
    """What a campaign's version has asked back so far."""
    c = recall_file_table.c
    on_its_way = sa.case((sa.and_(c.there_at.is_(None), _OPEN), 1), else_=0)
    query = sa.select(_whole(sa.func.coalesce(sa.func.sum(c.size_bytes), 0)), _whole(sa.func.coalesce(sa.func.sum(on_its_way), 0)))
    query = query.select_from(recall_file_table.join(recall_table, recall_table.c.id == c.recall_id))
    bytes_asked, files_coming = connection.execute(query.where(recall_table.c.campaign_id == campaign_id)).one()
    return Use(int(bytes_asked), int(files_coming))


def as_asked(row: RecallRow, files: Sequence[RecallFile]) -> Recall:
    """A recall as the catalogue is asked for it."""
    return Recall(row.dataset, tuple(file.did for file in files), row.rse, row.lifetime_s, f"dune-prompt: inputs of run {row.run}")


def statuses(connection: sa.Connection) -> list[RecallStatus]:
    """What every campaign's version reads back from tape; those that never did are absent."""
    c, r = recall_file_table.c, recall_table.c
    there = c.there_at.is_not(None)
    query = sa.select(
        campaign_table.c.name,
        campaign_table.c.version,
        sa.func.count(),
        sa.func.sum(sa.case((there, 1), else_=0)),
        _whole(sa.func.sum(c.size_bytes)),
        _whole(sa.func.sum(sa.case((there, c.size_bytes), else_=0))),
        sa.func.count(sa.distinct(sa.case((_OPEN, r.id)))),
        sa.func.max(sa.case((_OPEN, r.message))),
    ).select_from(recall_file_table.join(recall_table, r.id == c.recall_id).join(campaign_table, campaign_table.c.id == r.campaign_id))
    query = query.group_by(campaign_table.c.id, campaign_table.c.name, campaign_table.c.version).order_by(campaign_table.c.id)
    return [RecallStatus(*row) for row in connection.execute(query)]


def _whole(total: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """PostgreSQL sums whole numbers up to decimal ones."""
    return sa.cast(total, sa.BigInteger)
