"""What is asked of one catalogue about a batch of files: look, compare, write, look. In the catalogue's thread, without the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from declare_daemon.catalogs.protocol import Catalog, Keeping, MetadataCatalog, Replica, ReplicaCatalog, disagreements
from declare_daemon.journal.files import JournalFile
from declare_daemon.registration.steps import CONFIRM, METADATA, PLACE, REPLICA, Step
from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Files of one dataset for one step."""

    dataset: str
    keeping: Keeping
    files: Sequence[JournalFile]


@dataclass(slots=True)
class Answer:
    """What came of the batches given to a catalogue. `error` ended it early; files that are nowhere here were not reached."""

    confirmed: list[JournalFile] = field(default_factory=list)
    conflicts: list[tuple[JournalFile, str]] = field(default_factory=list)
    bad: list[tuple[JournalFile, str]] = field(default_factory=list)
    wait: list[tuple[JournalFile, str]] = field(default_factory=list)
    fids: dict[int, str] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)
    error: Exception | None = None


class Caller:
    """Calls one catalogue for the registrar. Datasets that are there are remembered until a call fails."""

    def __init__(self, catalog: str) -> None:
        self._catalog = catalog
        self._ensured: set[tuple[str, str]] = set()

    def work(self, step: Step, batches: Sequence[Batch], *, ping: bool) -> Answer:
        """Do `step` for all batches, as far as the catalogue answers; with `ping` it is asked first whether it is there at all."""
        answer = Answer()
        try:
            if ping:
                _part(step).ping()
            for batch in batches:
                self._batch(step, batch, answer)
        except (TransientError, ConfigError, ConflictError) as error:
            # Without rights, or with a dataset of another kind, nothing goes on either, and the files are not to blame.
            answer.error = error
            self._ensured.clear()
        except Exception as error:
            # A fault of ours must neither stop the daemon nor be blamed on a file.
            log.exception("fault while calling a catalogue", catalog=self._catalog, step=step.kind)
            answer.error = TransientError(f"fault in the code: {type(error).__name__}: {error}")
            self._ensured.clear()
        return answer

    def _batch(self, step: Step, batch: Batch, answer: Answer) -> None:
        if step.kind == PLACE:
            self._place(step, batch, answer)
            return
        if step.kind == CONFIRM:
            _metadata(step).confirm([file.record.did for file in batch.files])
            answer.confirmed += batch.files
            return
        try:
            if (batch.dataset, step.kind) not in self._ensured:
                _part(step).ensure_dataset(batch.dataset, batch.keeping)
                self._ensured.add((batch.dataset, step.kind))
        except DataError as wrong_name:
            answer.bad += [(file, f"{self._catalog}: dataset {batch.dataset}: {wrong_name}") for file in batch.files]
            return
        agreeing = self._agreeing(step, batch.files, answer)
        refused = write_in_halves(step, agreeing, batch)
        for file in agreeing:
            error = refused.get(file.id)
            if isinstance(error, ConflictError):
                answer.conflicts.append((file, f"{self._catalog}: {error}"))
            elif error is not None:
                answer.bad.append((file, f"{self._catalog}: {error}"))
        self._look_back(step, [file for file in agreeing if file.id not in refused], batch, answer)

    def _place(self, step: Step, batch: Batch, answer: Answer) -> None:
        places = _replicas(step).places_for([file.record.did for file in batch.files], batch.keeping)
        for file in batch.files:
            if (place := places.get(file.record.did)) is not None:
                answer.places[file.id] = place
            answer.confirmed.append(file)

    def _agreeing(self, step: Step, files: Sequence[JournalFile], answer: Answer) -> list[JournalFile]:
        """The files the catalogue does not have, or has with the same content; the others are conflicts."""
        if step.metadata is None or not files:
            return list(files)
        other = disagreements(step.metadata.look([file.record.did for file in files]), [file.record for file in files])
        answer.conflicts += [(file, f"{self._catalog}: {other[file.record.did]}") for file in files if file.record.did in other]
        return [file for file in files if file.record.did not in other]

    def _look_back(self, step: Step, files: list[JournalFile], batch: Batch, answer: Answer) -> None:
        """Confirm what the catalogue shows now, and nothing else."""
        if not files:
            return
        dids = [file.record.did for file in files]
        if step.metadata is not None:
            entries = step.metadata.look(dids)
            other = disagreements(entries, [file.record for file in files])
            shown = set(entries)
            answer.fids |= {file.id: fid for file in files if file.record.did in entries and (fid := entries[file.record.did].fid)}
        else:
            copies = _replicas(step).copies(dids, batch.dataset, batch.keeping, closely=False)
            shown = {did for did, found in copies.items() if found.places}
            content = {file.record.did: (file.size_bytes, file.adler32) for file in files}
            other = {
                did: f"{did}: registered with size {found.size_bytes}, adler32 {found.adler32}"
                for did, found in copies.items()
                if (found.size_bytes, found.adler32) != content[did]
            }
        for file in files:
            did = file.record.did
            if did in other:
                answer.conflicts.append((file, f"{self._catalog}: {other[did]}"))
            elif did not in shown:
                answer.wait.append((file, f"{self._catalog}: accepted {did} but does not show it"))
            else:
                answer.confirmed.append(file)


def _metadata(step: Step) -> MetadataCatalog:
    if step.metadata is None:
        raise TypeError(f"{step.catalog} keeps no metadata")
    return step.metadata


def _replicas(step: Step) -> ReplicaCatalog:
    if step.replicas is None:
        raise TypeError(f"{step.catalog} keeps no replicas")
    return step.replicas


def _part(step: Step) -> Catalog:
    return step.metadata or _replicas(step)


def replica_of(file: JournalFile) -> Replica:
    """The copy a catalogue is told of: the one that was placed for it, else the file where it lies now."""
    record = file.record
    return Replica(record.did, record.size_bytes, record.adler32, file.place or file.path)


def write_in_halves(step: Step, files: Sequence[JournalFile], batch: Batch) -> dict[int, DataError | ConflictError]:
    """Write `files` into a catalogue; a batch with a bad file in it is halved until that file is alone.

    Returns what is wrong with the files that were refused, by id. `TransientError` and `ConfigError` pass.
    """
    if not files:
        return {}
    try:
        if step.kind == METADATA:
            _metadata(step).declare([file.record for file in files], batch.dataset)
        elif step.kind == REPLICA:
            _replicas(step).add([replica_of(file) for file in files], batch.dataset, batch.keeping)
    except (DataError, ConflictError) as error:
        if len(files) == 1:
            return {files[0].id: error}
        middle = len(files) // 2
        return write_in_halves(step, files[:middle], batch) | write_in_halves(step, files[middle:], batch)
    return {}
