"""Keeps data-quality records: a folder of files for each attempt's, and a row that says what is in it and whether it is shown.

    <workspace>/dqm/<campaign>/<version>/run<run>/<raw stem>/<attempt>/record.json, *.png

Files come first and the row last, so that what a row names is there. No attempt's record replaces another's: they are its history.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import sqlalchemy as sa

from dashboard.dqm import shown
from dashboard.dqm.record import DqmRecord
from dashboard.dqm.rollup import make_stale
from dashboard.dqm.scalars import pack
from dashboard.dqm.tables import result_table
from dashboard.quality.tables import verdict_table
from dune_prompt.errors import TransientError
from dune_prompt.store import Store

if TYPE_CHECKING:
    from dashboard.quality.judging import Judgement

RECORD = "record.json"
FOLDER = "dqm"


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a record is kept. `created`: this attempt had none before; `shown`: it is the one of its input that counts."""

    id: int
    folder: str
    created: bool
    shown: bool
    pictures: int
    pictures_missing: list[str]


class DqmStorage:
    """The data-quality results of one workspace; `judge` gives the verdict on a record that comes in."""

    def __init__(self, store: Store, workspace: Path, judge: Callable[[DqmRecord], Judgement]) -> None:
        self._store, self._workspace, self._judge = store, workspace, judge

    def keep(self, record: DqmRecord, content: bytes, pictures: Mapping[str, BinaryIO], now: float) -> Stored:
        """Keep a record (`content` is its text) with those of its pictures that came with it. The same again changes nothing.

        Raises:
            TransientError: the disk is full or away, or the store is.
        """
        relative = PurePath(
            FOLDER, record.campaign, record.version, f"run{record.run:06d}", PurePath(record.input_name).stem, record.attempt
        )
        folder = self._workspace / relative
        try:
            same = _holds(folder / RECORD, content)
            folder.mkdir(parents=True, exist_ok=True)
            for name, picture in pictures.items():
                _write(folder / name, picture)
            if not same:
                _write(folder / RECORD, content)
        except OSError as error:
            raise TransientError(f"{folder}: cannot be written ({error.strerror})") from error
        of = shown.Input(record.campaign, record.version, record.input_did, record.stage)
        changed = not same or self._find(of, record.attempt) is None
        if changed:
            # Judged here, as no other upload should wait for it.
            judgement, values = self._judge(record), _values(record, str(relative))
        else:
            judgement, values = None, {}
        with self._store.write() as connection:
            before = shown.candidates(connection, of)
            mine = next((one for one in before if one.attempt == record.attempt), None)
            # Looked at here, because another upload of the same attempt may have brought some.
            missing = [picture.name for picture in record.pictures if not (folder / picture.name).is_file()]
            values["pictures_missing"] = missing
            result_id = _write_row(connection, of, record, mine, values, first=not before, now=now)
            if judgement is not None:
                write_verdict(connection, result_id, judgement, now)
            is_shown, other_before = not before, False
            if before:
                among = shown.candidates(connection, of)
                chosen = shown.choose(connection, of, among)
                is_shown, other_before = chosen.id == result_id, shown.show(connection, chosen, among)
            if other_before or (changed and is_shown):
                make_stale(connection, (record.campaign, record.version, record.run), record.detector, record.run_type, now)
        return Stored(
            id=result_id,
            folder=str(relative),
            created=mine is None,
            shown=is_shown,
            pictures=len(record.pictures) - len(missing),
            pictures_missing=missing,
        )

    def _find(self, of: shown.Input, attempt: str) -> shown.Candidate | None:
        with self._store.read() as connection:
            return next((one for one in shown.candidates(connection, of) if one.attempt == attempt), None)

    def file_path(self, folder: str, name: str) -> Path:
        """A file of a record, in the folder its row names; `name` has passed `check_name`."""
        return self._workspace / folder / name


# Made once: making a statement costs more than carrying it out.
_INSERT = sa.insert(result_table).returning(result_table.c.id)
_INSERT_VERDICT = sa.insert(verdict_table).returning(verdict_table.c.id)
_JUDGED = (
    sa.update(result_table)
    .where(result_table.c.id == sa.bindparam("of_id"))
    .values(flag=sa.bindparam("flag"), verdict_id=sa.bindparam("verdict_id"))
)


def write_verdict(connection: sa.Connection, result_id: int, judgement: Judgement, now: float) -> None:
    """Add a verdict on a record; it counts from now on, those before stay."""
    flag = int(judgement.flag)
    values = {
        "result_id": result_id,
        "judged_at": now,
        "limits_version": judgement.limits_version,
        "reference_id": judgement.reference_id,
        "flag": flag,
        "tiles": {element: {str(group): int(flag) for group, flag in tiles.items()} for element, tiles in judgement.tiles.items()},
        "findings": [asdict(finding) for finding in judgement.findings],
    }
    verdict_id = connection.execute(_INSERT_VERDICT, values).scalar_one()
    connection.execute(_JUDGED, {"of_id": result_id, "flag": flag, "verdict_id": verdict_id})


def _values(record: DqmRecord, folder: str) -> dict[str, Any]:
    """The columns that follow from the content of a record."""
    return {
        "run": record.run,
        "file_index": record.file_index,
        "detector": record.detector,
        "run_type": record.run_type,
        "data_at": record.start_time,
        "made_at": record.made_at,
        "folder": folder,
        "payload": record.payload,
        "notes": list(record.notes),
        "n_records": record.records.n_records if record.records else None,
        "n_used": record.records.n_used if record.records else None,
        "n_problems": record.records.n_problems if record.records else None,
        "elements": [element.element for element in record.elements],
        "scalars": pack(record),
    }


def _write_row(
    connection: sa.Connection,
    of: shown.Input,
    record: DqmRecord,
    mine: shown.Candidate | None,
    values: dict[str, Any],
    *,
    first: bool,
    now: float,
) -> int:
    """The row of the record, `mine` if it is there. The `first` record of an input is shown at once."""
    if mine is not None:
        connection.execute(sa.update(result_table).where(result_table.c.id == mine.id).values(**values))
        return mine.id
    key = {"campaign": of.campaign, "version": of.version, "input_did": of.input_did, "stage": of.stage, "attempt": record.attempt}
    return int(connection.execute(_INSERT, key | values | {"shown": first, "received_at": now}).scalar_one())


def _holds(path: Path, content: bytes) -> bool:
    """Whether the file is there with this content."""
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def _write(path: Path, content: bytes | BinaryIO) -> None:
    """Write a file in one step: a reader sees the old one or the whole new one. Two writers do not share a draft."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with draft.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                shutil.copyfileobj(content, file)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
