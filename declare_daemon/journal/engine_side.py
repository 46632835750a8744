"""What the engine does with the journal, in its own transactions: take raw files in, hand outputs over, keep obligations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.catalogs.protocol import AS_CONFIGURED, Keeping
from declare_daemon.journal.datasets import keep
from declare_daemon.journal.files import BATCH, ROOM, Change, JournalFile, change, fetch, files_by_did, files_by_name, select_files
from declare_daemon.journal.rows import batches, insert_missing
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, intake_table, obligation_table, step_table
from dune_prompt.errors import ConflictError
from dune_prompt.records import FileRecord
from dune_prompt.store import Event, record_events

USABLE = (FileState.VERIFIED.value, FileState.DECLARED.value)
KNOWN = (*USABLE, FileState.LEAVING.value, FileState.LEFT.value)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """An output of a committed attempt: `record` is its sidecar, `path` where it lies now (sidecar beside it), `keeping` how its dataset
    is to be kept."""

    record: FileRecord
    path: str
    attempt: str
    keeping: Keeping = AS_CONFIGURED


def hand_over(connection: sa.Connection, outputs: Sequence[HandedOver], now: float) -> None:
    """Give outputs to the daemon, which verifies, places and declares them. Handing over the same attempt again does nothing.

    An output that was quarantined makes room for that of another attempt.

    Raises:
        ConflictError: another attempt handed over a file of that name, or the same attempt one of other content; nothing is written.
    """
    unique: dict[str, HandedOver] = {}
    for output in outputs:
        if unique.setdefault(output.record.name, output) != output:
            raise ConflictError(f"{output.record.did}: two outputs of that name are handed over at once")
    known = files_by_name(connection, "outbox", unique)
    owners = files_by_did(connection, [output.record.did for output in unique.values()])
    new: list[HandedOver] = []
    replaced: list[Change] = []
    for name, output in unique.items():
        owner = owners.get(output.record.did)
        if owner is not None and owner.origin != "outbox":
            raise ConflictError(
                f"{output.record.did}: attempt {output.attempt} made a file of the name of one in the buffer ({owner.path})"
            )
        file = known.get(name)
        if file is None:
            new.append(output)
        elif file.attempt == output.attempt:
            if (file.did, file.size_bytes, file.adler32) != (output.record.did, output.record.size_bytes, output.record.adler32):
                raise ConflictError(f"{output.record.did}: attempt {output.attempt} handed it over before with other size or checksum")
        elif file.state is FileState.QUARANTINED:
            replaced.append(Change(file, FileState.FOUND, _values(output, now), f"handed over by attempt {output.attempt}"))
        else:
            raise ConflictError(
                f"{output.record.did}: handed over by attempt {file.attempt} already ({file.state}), now again by attempt {output.attempt}"
            )
    if new:
        rows = [{"origin": "outbox", "name": output.record.name, "state": FileState.FOUND.value, **_values(output, now)} for output in new]
        connection.execute(sa.insert(file_table), rows)
        record_events(
            connection,
            [
                Event(now, ROOM, item.record.did, None, FileState.FOUND.value, None, f"handed over by attempt {item.attempt}")
                for item in new
            ],
        )
    keep(connection, {item.record.dataset: item.keeping for item in unique.values() if item.record.dataset is not None})
    # What a catalogue has confirmed of the replaced file says nothing about the new one.
    connection.execute(sa.delete(step_table).where(step_table.c.file_id.in_([item.file.id for item in replaced])))
    change(connection, replaced, now)


def _values(output: HandedOver, now: float) -> dict[str, object]:
    record = output.record
    runs = record.metadata.get("core.runs")
    return {
        "path": output.path,
        "target": None,
        "reason": None,
        "tries": 0,
        "next_try": 0.0,
        "did": record.did,
        "size_bytes": record.size_bytes,
        "adler32": record.adler32,
        "metadata": record.metadata,
        "parents": list(record.parents),
        "dataset": record.dataset,
        "run": runs[0] if isinstance(runs, list) and runs and isinstance(runs[0], int) else None,
        "attempt": output.attempt,
        "closed_at": now,
        "found_at": now,
        "verified_at": None,
        "declared_at": None,
    }


# Asked in every step of the engine, so made once.
_TO_TAKE_IN = (
    select_files()
    .join(intake_table, intake_table.c.file_id == file_table.c.id)
    .where(file_table.c.stream == sa.bindparam("stream"), file_table.c.state.in_(USABLE))
    .order_by(intake_table.c.file_id)
    .limit(sa.bindparam("most"))
)


def take_in(connection: sa.Connection, stream: str, limit: int) -> list[JournalFile]:
    """Raw files of `stream` the engine has not taken in yet, verified or declared, oldest first.

    Call `taken_in` in the transaction that makes their tasks.
    """
    return fetch(connection, _TO_TAKE_IN, {"stream": stream, "most": limit})


def taken_in(connection: sa.Connection, file_ids: Iterable[int]) -> None:
    """The engine has made tasks for these files; ids that are not waiting are fine."""
    for batch in batches(file_ids, BATCH):
        connection.execute(sa.delete(intake_table).where(intake_table.c.file_id.in_(batch)))


def all_of_stream(connection: sa.Connection, stream: str, after_id: int, limit: int) -> list[JournalFile]:
    """The raw files of `stream` with an id above `after_id`, in order of id: for a campaign that is added later.

    Files that left the buffer are among them; `path` says where they are.
    """
    c = file_table.c
    query = select_files().where(c.stream == stream, c.id > after_id, c.state.in_(KNOWN), c.origin == "buffer")
    return fetch(connection, query.order_by(c.id).limit(limit))


def file_obligations(connection: sa.Connection, obligations: Sequence[tuple[str, str, str, str]]) -> None:
    """File reasons to keep a raw file, each `(did, campaign, version, child)`; those filed before are left as they are."""
    keys = ("did", "campaign", "version", "child")
    insert_missing(connection, obligation_table, [dict(zip(keys, item, strict=True)) for item in obligations])


def meet_obligations(connection: sa.Connection, met: Sequence[tuple[str, str, str]], now: float) -> None:
    """Each `(did, campaign, version)` of `met` has its child declared; the time of the first call stays."""
    c = obligation_table.c
    if met:
        open_ = sa.update(obligation_table).where(*_one_obligation(), c.met_at.is_(None))
        connection.execute(open_.values(met_at=now), _keys(met))


def waive_obligations(connection: sa.Connection, waived: Sequence[tuple[str, str, str]], by: str, why: str, now: float) -> None:
    """An operator (`by`) lets files go without the child of `(did, campaign, version)`; `why` is kept with it."""
    c = obligation_table.c
    open_ = sa.update(obligation_table).where(*_one_obligation(), c.met_at.is_(None), c.waived_by.is_(None))
    if waived:
        connection.execute(open_.values(waived_by=by, waived_why=why), _keys(waived))
        record_events(connection, [Event(now, ROOM, did, None, "waived", by, f"{name} {version}: {why}") for did, name, version in waived])


def _one_obligation() -> tuple[sa.ColumnElement[bool], ...]:
    c = obligation_table.c
    return c.did == sa.bindparam("this_did"), c.campaign == sa.bindparam("this_campaign"), c.version == sa.bindparam("this_version")


def _keys(items: Sequence[tuple[str, str, str]]) -> list[dict[str, str]]:
    return [dict(zip(("this_did", "this_campaign", "this_version"), item, strict=True)) for item in items]
