"""The checklist a file has to pass before it leaves the buffer, as it was found; the row of it is kept for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa

from declare_daemon.journal.files import JournalFile
from declare_daemon.journal.tables import proof_table
from dune_prompt.errors import DataError

Action = Literal["move", "delete"]


@dataclass(frozen=True, slots=True)
class Check:
    """One condition: whether it holds, what was seen, and who has waived it if it does not hold by itself."""

    check: str
    ok: bool
    evidence: str
    waived_by: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The file in the buffer as it was when the checklist was made: size in bytes, time of its last change."""

    size_bytes: int
    changed_at: float


@dataclass(frozen=True, slots=True)
class Proof:
    """Why a file was safe to release. `target` is where it moves to; None: it is deleted. `ended_at`: when it had left."""

    id: int
    file_id: int
    made_at: float
    action: Action
    target: str | None
    checks: tuple[Check, ...]
    seen: Seen | None
    ended_at: float | None


def holds(checks: Sequence[Check]) -> bool:
    """Whether a file with this checklist may leave."""
    return bool(checks) and all(check.ok for check in checks)


def keep(
    connection: sa.Connection, file: JournalFile, action: Action, target: str | None, checks: Sequence[Check], seen: Seen, now: float
) -> int:
    """Store a proof; its number.

    Raises:
        DataError: the checklist does not hold.
    """
    if not holds(checks):
        raise DataError(f"{file.subject}: its checklist does not hold: {failed(checks)}")
    content = {"checks": [asdict(check) for check in checks], "seen": asdict(seen)}
    values = {"file_id": file.id, "made_at": now, "action": action, "target": target, "checks": content}
    return int(connection.execute(sa.insert(proof_table).values(values).returning(proof_table.c.id)).scalar_one())


def failed(checks: Sequence[Check]) -> str:
    """What keeps a file, in words."""
    return "; ".join(f"{check.check}: {check.evidence}" for check in checks if not check.ok)


def proofs_of(connection: sa.Connection, file_ids: Sequence[int]) -> list[Proof]:
    """The proofs of these files, oldest first."""
    query = sa.select(proof_table).where(proof_table.c.file_id.in_(file_ids)).order_by(proof_table.c.id)
    return [_proof(row._asdict()) for row in connection.execute(query)]


def by_id(connection: sa.Connection, ids: Sequence[int]) -> dict[int, Proof]:
    """Proofs by their number."""
    return {row.id: _proof(row._asdict()) for row in connection.execute(sa.select(proof_table).where(proof_table.c.id.in_(ids)))}


def end(connection: sa.Connection, ids: Sequence[int], now: float) -> None:
    """The files of these proofs have left."""
    connection.execute(sa.update(proof_table).where(proof_table.c.id.in_(ids)).values(ended_at=now))


def _proof(row: Mapping[str, Any]) -> Proof:
    content = row["checks"]
    # A release that had begun before proofs were kept has a bare list.
    checks = content if isinstance(content, list) else content["checks"]
    seen = None if isinstance(content, list) else Seen(**content["seen"])
    return Proof(
        row["id"],
        row["file_id"],
        row["made_at"],
        row["action"],
        row["target"],
        tuple(Check(**{key: item[key] for key in ("check", "ok", "evidence")}, waived_by=item.get("waived_by")) for item in checks),
        seen,
        row["ended_at"],
    )
