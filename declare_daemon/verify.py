"""Verifies found files: their metadata are complete, their size and checksum are what was promised. What is bad is rejected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event as Flag

import sqlalchemy as sa
import structlog

from declare_daemon.arrivals import NO_STREAM
from declare_daemon.journal.files import JournalFile, due, files_by_did, files_by_id
from declare_daemon.journal.rows import insert_missing
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, intake_table, step_table
from declare_daemon.journal.writer import Journal
from declare_daemon.metadata import completed, describe, file_index
from declare_daemon.outbox import Outbox, place_of, root_of
from declare_daemon.scanner import has_sidecar
from declare_daemon.slow_work import QUICK_BYTES, SlowWork
from declare_daemon.storage import measured, name_of, sidecar_of, storage_of
from declare_daemon.verdicts import Judge, Verdicts
from dune_prompt.errors import DataError, TransientError
from dune_prompt.records import FileRecord
from dune_prompt.settings import Site, StreamSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the look into a file gave. `record` has size and checksum as measured, 0 and '' if its stream needs none."""

    record: FileRecord
    stream: StreamSettings | None = None
    place: str | None = None


def inspect_raw(site: Site, path: str, stop: Flag | None = None) -> Inspected:
    """Look at a closed file of the buffer. The bytes are read only if its stream is declared.

    Raises:
        DataError: metadata are missing or wrong, or size or checksum are not what the sidecar says.
        TransientError: the file cannot be read now.
    """
    try:
        name = name_of(path)
        described = describe(path, sidecar=sidecar_of(path) if has_sidecar(site.streams, name) else None)
        stream = site.stream_of(name, described.metadata)
        if stream is None or not stream.declare_:
            return Inspected(described.record(0, ""), stream)
        size = storage_of(path).stat(path).size_bytes
        if described.size_bytes is not None and size != described.size_bytes:
            raise DataError(f"{path}: {size} bytes, its sidecar says {described.size_bytes}")
        size, adler32 = measured(path, (size, described.adler32), stop)
    except OSError as error:
        raise TransientError(f"{error.filename or path}: {error.strerror or error}") from None
    if described.adler32 is not None and (size, adler32) != (described.size_bytes, described.adler32):
        raise DataError(
            f"{path}: {size} bytes with adler32 {adler32}, its sidecar says {described.size_bytes} bytes with {described.adler32}"
        )
    return Inspected(described.record(size, adler32), stream)


def inspect_output(file: JournalFile, place: str, stop: Flag | None = None) -> Inspected:
    """Look at an output handed over by the engine, where it was left or at its final `place`.

    Raises:
        DataError: it is at neither, or is not what its attempt reported.
        TransientError: it cannot be read now.
    """
    record = completed(file.record)
    for path in (file.path, place):
        try:
            size, adler32 = storage_of(path).adler32(path, stop)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise TransientError(f"{path}: {error.strerror}") from None
        if (size, adler32) != (record.size_bytes, record.adler32):
            raise DataError(f"{path}: {size} bytes with adler32 {adler32}, reported were {record.size_bytes} bytes with {record.adler32}")
        return Inspected(record, place=place)
    raise DataError(f"{file.path}: handed over by attempt {file.attempt}, but not there")


class Verifier:
    """Takes files from `found` to `verified`, or to where bad and foreign ones go."""

    def __init__(self, site: Site, journal: Journal, outbox: Outbox, judge: Judge, *, wake: Callable[[], None]) -> None:
        self._site, self._journal, self._outbox, self._judge = site, journal, outbox, judge
        self._stop = Flag()
        self._work: SlowWork[Inspected] = SlowWork("verify", wake=wake)
        self._started: dict[int, JournalFile] = {}

    @property
    def work(self) -> SlowWork[Inspected]:
        """The files being read."""
        return self._work

    def start(self, *, buffer: bool) -> None:
        """Begin with the files that are due; those of the buffer only if it is there."""
        c = file_table.c
        origin = () if buffer else (c.origin == "outbox",)
        for slow in (False, True):
            large = sa.func.coalesce(c.size_bytes, 0) > QUICK_BYTES
            room = self._work.room(slow=slow)
            with self._journal.read() as connection:
                limit = room + len(self._work)
                files = due(connection, FileState.FOUND, self._journal.now(), limit, large if slow else ~large, *origin)
            waiting = [file for file in files if file.id not in self._work][:room]
            roots = {
                root: self._outbox.is_there(root)
                for root in {root_of(file, self._outbox.default_root) for file in waiting if file.origin == "outbox"}
            }
            for file in waiting:
                if file.origin == "buffer" or roots[root_of(file, self._outbox.default_root)]:
                    self._started[file.id] = file
                    self._work.start(file.id, partial(self._inspect, file), slow=slow)

    def _inspect(self, file: JournalFile) -> Inspected:
        if file.origin == "outbox":
            return inspect_output(file, str(place_of(file, self._outbox.default_root)), self._stop)
        return inspect_raw(self._site, file.path, self._stop)

    def finish(self, patience_s: float) -> int:
        """Journal what is through; how many files were verified."""
        done = self._work.finished(patience_s)
        if not done:
            return 0
        now = self._journal.now()
        verdicts = self._judge.verdicts(now)
        intake: list[int] = []
        changed: list[int] = []
        with self._journal.write() as connection:
            current = files_by_id(connection, done)
            good: list[tuple[JournalFile, Inspected]] = []
            for file_id, future in done.items():
                file = current[file_id]
                # A row that changed meanwhile (the file vanished, another attempt replaced it) is looked at again.
                if file != self._started.pop(file_id):
                    continue
                try:
                    good.append((file, future.result()))
                except DataError as error:
                    verdicts.bad(file, str(error))
                except TransientError as error:
                    verdicts.wait(file, str(error))
                except Exception as error:
                    # One odd file must neither stop the others nor be called bad for a fault of ours.
                    log.exception("fault while inspecting a file", file=file.subject)
                    verdicts.wait(file, f"fault in the code: {type(error).__name__}: {error}")
            owners = files_by_did(connection, [inspected.record.did for _, inspected in good])
            for file, inspected in good:
                if self._settle(verdicts, file, inspected, owners.get(inspected.record.did), now):
                    intake.append(file.id)
                if file.adler32 not in (None, inspected.record.adler32):
                    changed.append(file.id)
            # What a catalogue has confirmed of other content says nothing about this one.
            connection.execute(sa.delete(step_table).where(step_table.c.file_id.in_(changed)))
            verdicts.write(connection)
            insert_missing(connection, intake_table, [{"file_id": file_id} for file_id in intake])
        return verdicts.count(FileState.VERIFIED)

    def _settle(self, verdicts: Verdicts, file: JournalFile, inspected: Inspected, owner: JournalFile | None, now: float) -> bool:
        """The verdict on a file that was inspected without error; whether the engine must hear of it."""
        record, stream = inspected.record, inspected.stream
        runs = record.metadata["core.runs"]
        known = {"metadata": record.metadata, "run": runs[0], "file_index": file_index(record.name)}
        if file.origin == "buffer":
            if stream is None:
                verdicts.stopped(file, FileState.UNMATCHED, NO_STREAM, **known)
                return False
            known["stream"] = stream.name
            if not stream.declare_:
                verdicts.good(file, FileState.IGNORED, **known)
                return False
        if owner is not None and owner.id != file.id:
            verdicts.stopped(file, FileState.CONFLICT, f"{record.did} is the name of {owner.path} too ({owner.origin}, {owner.state})")
            return False
        changed = file.adler32 is not None and (file.did, file.size_bytes, file.adler32) != (record.did, record.size_bytes, record.adler32)
        if changed and file.declared_at is not None:
            verdicts.stopped(
                file,
                FileState.CONFLICT,
                f"{file.did}: declared with {file.size_bytes} bytes, adler32 {file.adler32}; "
                f"now {record.did} with {record.size_bytes} bytes, adler32 {record.adler32} lies at {file.path}",
            )
            return False
        verdicts.good(
            file,
            FileState.VERIFIED,
            did=record.did,
            size_bytes=record.size_bytes,
            adler32=record.adler32,
            parents=list(record.parents),
            dataset=record.dataset,
            target=None if inspected.place == file.path else inspected.place,
            verified_at=now,
            **known,
        )
        return stream is not None and stream.process and file.verified_at is None

    def close(self) -> None:
        """Stop reading; what was not finished is found again."""
        self._stop.set()
        self._work.close()
