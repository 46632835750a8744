"""Keeps records and pictures: files in the workspace, written whole, and one row that says which attempt's folder counts.

    <workspace>/dqm/<campaign>/<version>/run<run>/<raw stem>/<attempt>/record.json, *.png

Files come first and the row last, so that what a row names is there. A newer attempt has a folder of its own: its row replaces the
older in one transaction, and only then the older folder goes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import sqlalchemy as sa

from dashboard.dqm.record import DqmRecord
from dashboard.dqm.summary import summarise
from dashboard.dqm.tables import dqm_table
from dune_prompt.errors import ConflictError, TransientError
from dune_prompt.store import Store

RECORD = "record.json"
FOLDER = "dqm"
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a record is kept. `created`: its row is new, or another attempt's before; `pictures_missing` were not uploaded so far."""

    id: int
    folder: str
    created: bool
    pictures: int
    pictures_missing: list[str]


class DqmStorage:
    """The data-quality results of one workspace."""

    def __init__(self, store: Store, workspace: Path) -> None:
        self._store, self._workspace = store, workspace

    def keep(self, record: DqmRecord, content: bytes, pictures: Mapping[str, BinaryIO], now: float) -> Stored:
        """Keep a record (`content` is its text) with those of its pictures that came with it. The same again changes nothing.

        Raises:
            ConflictError: a newer attempt's record is kept already.
            TransientError: the disk is full or away, or the store is.
        """
        with self._store.read() as connection:
            _refuse_older(record, _row_of(connection, record))
        relative = PurePath(
            FOLDER, record.campaign, record.version, f"run{record.run:06d}", PurePath(record.input_name).stem, record.attempt
        )
        folder = self._workspace / relative
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, picture in pictures.items():
                _write(folder / name, picture)
            _write(folder / RECORD, content)
        except OSError as error:
            raise TransientError(f"{folder}: cannot be written ({error.strerror})") from error
        try:
            with self._store.write() as connection:
                before = _row_of(connection, record)
                _refuse_older(record, before)
                # Looked at here, because another upload of the same attempt may have brought some.
                missing = [picture.name for picture in record.pictures if not (folder / picture.name).is_file()]
                record_id = _write_row(connection, record, before, str(relative), summarise(record, missing), now)
        except ConflictError:
            self._remove(str(relative))
            raise
        if before is not None and before.folder != str(relative):
            self._remove(before.folder)
        return Stored(
            id=record_id,
            folder=str(relative),
            created=before is None or before.attempt != record.attempt,
            pictures=len(record.pictures) - len(missing),
            pictures_missing=missing,
        )

    def _remove(self, relative: str) -> None:
        """Remove the folder of a replaced attempt; one that cannot be removed only takes space."""
        folder = self._workspace / relative
        if folder.is_relative_to(self._workspace / FOLDER):
            shutil.rmtree(folder, ignore_errors=True)

    def file_path(self, folder: str, name: str) -> Path:
        """A file of a record, in the folder its row names; `name` has passed `check_name`."""
        return self._workspace / folder / name


def _row_of(connection: sa.Connection, record: DqmRecord) -> Any:
    d = dqm_table.c
    key = (d.campaign == record.campaign, d.version == record.version, d.input_did == record.input_did)
    return connection.execute(sa.select(d.id, d.attempt, d.made_at, d.folder).where(*key)).one_or_none()


def _refuse_older(record: DqmRecord, known: Any) -> None:
    """Attempt ids are ULIDs, whose order is that of time; a record made by hand has none and is ordered by when it was made."""
    if known is None or known.attempt == record.attempt:
        return
    by_id = ULID.fullmatch(known.attempt) and ULID.fullmatch(record.attempt)
    if (record.attempt < known.attempt) if by_id else (record.made_at < known.made_at):
        raise ConflictError(f"{record.input_did}: the record of the newer attempt {known.attempt} is kept; this one is of {record.attempt}")


def _write_row(connection: sa.Connection, record: DqmRecord, before: Any, folder: str, summary: dict[str, Any], now: float) -> int:
    values = {
        "run": record.run,
        "file_index": record.file_index,
        "detector": record.detector,
        "attempt": record.attempt,
        "made_at": record.made_at,
        "summary": summary,
        "folder": folder,
    }
    if before is not None:
        if before.attempt != record.attempt:
            values["received_at"] = now
        connection.execute(sa.update(dqm_table).where(dqm_table.c.id == before.id).values(**values))
        return int(before.id)
    key = {"campaign": record.campaign, "version": record.version, "input_did": record.input_did}
    statement = sa.insert(dqm_table).values(**key, **values, received_at=now).returning(dqm_table.c.id)
    return int(connection.execute(statement).scalar_one())


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
