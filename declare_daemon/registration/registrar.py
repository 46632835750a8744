"""Registers verified files in all catalogues, raw and derived alike, in bulk: look, compare, write, look.

What a catalogue has confirmed of a file is a row of the journal, so that a kill between two catalogues is resumed where it was. The
catalogues do not wait for each other: one that is away holds up only its own part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.catalogs.protocol import BATCH, Catalogs, MetadataCatalog, Replica, ReplicaCatalog, disagreements
from declare_daemon.journal.files import JournalFile, batches, fetch, files_by_did, insert_missing, select_files
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, step_table
from declare_daemon.journal.writer import Journal
from declare_daemon.outage import Outages
from declare_daemon.verdicts import Judge, Verdicts
from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError

# Files taken up by one step of the daemon for each catalogue.
AT_ONCE = 2 * BATCH

METADATA, REPLICA = "metadata", "replica"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing one catalogue has to confirm of every file."""

    catalog: str
    kind: str
    metadata: MetadataCatalog | None = None
    replicas: ReplicaCatalog | None = None

    @property
    def subject(self) -> str:
        """What an outage of the catalogue is called."""
        return f"catalog:{self.catalog}"

    def done(self, file_id: sa.Column[int]) -> sa.Exists:
        """Whether a file has it, in a query."""
        c = step_table.c
        return sa.exists().where(c.file_id == file_id, c.catalog == self.catalog, c.step == self.kind)

    def ensure_dataset(self, dataset: str) -> None:
        for catalog in (self.metadata, self.replicas):
            if catalog is not None:
                catalog.ensure_dataset(dataset)

    def write(self, files: Sequence[JournalFile], dataset: str) -> None:
        if self.metadata is not None:
            self.metadata.declare([file.record for file in files], dataset)
        if self.replicas is not None:
            self.replicas.add([replica_of(file) for file in files], dataset)


def replica_of(file: JournalFile) -> Replica:
    """Where the file lies now, as a catalogue wants it."""
    record = file.record
    return Replica(record.did, record.size_bytes, record.adler32, file.path)


def write_in_halves(step: Step, files: Sequence[JournalFile], dataset: str) -> dict[int, DataError | ConflictError]:
    """Write `files` into a catalogue; a batch with a bad file in it is halved until that file is alone.

    Returns what is wrong with the files that were refused, by id. `TransientError` and `ConfigError` pass.
    """
    if not files:
        return {}
    try:
        step.write(files, dataset)
    except (DataError, ConflictError) as error:
        if len(files) == 1:
            return {files[0].id: error}
        middle = len(files) // 2
        return write_in_halves(step, files[:middle], dataset) | write_in_halves(step, files[middle:], dataset)
    return {}


class Registrar:
    """Takes files from `verified` to `declared`."""

    def __init__(self, journal: Journal, catalogs: Catalogs, judge: Judge, outages: Outages) -> None:
        self._journal, self._judge, self._outages = journal, judge, outages
        self.steps: list[Step] = []
        for catalog in catalogs.all:
            if catalog.metadata is not None:
                self.steps.append(Step(catalog.name, METADATA, metadata=catalog.metadata))
            if catalog.replicas is not None:
                self.steps.append(Step(catalog.name, REPLICA, replicas=catalog.replicas))
        self._ensured: set[tuple[str, str, str]] = set()

    def declare(self) -> int:
        """Bring the files that are due a bit further in every catalogue that answers; how many are declared everywhere now."""
        for step in self.steps:
            outage = self._outages.of(step.subject)
            if not outage.due(self._journal.now()):
                continue
            for dataset, files in self._due(step):
                verdicts = self._judge.verdicts(self._journal.now())
                ready = self._without_orphans(step, files, verdicts)
                try:
                    confirmed = self._register(step, dataset, ready, verdicts)
                except (TransientError, ConfigError, ConflictError) as error:
                    # Without rights, or with a dataset of another kind, nothing goes on either, and the files are not to blame.
                    outage.failed(error, self._journal.now())
                    self._ensured = {key for key in self._ensured if key[0] != step.catalog}
                    break
                outage.answered(self._journal.now())
                self._journal_step(step, confirmed, verdicts)
        return self._complete()

    def _due(self, step: Step) -> list[tuple[str, list[JournalFile]]]:
        """The files that lack `step`, raw ones first, in batches of one dataset."""
        c = file_table.c
        query = select_files().where(
            c.state == FileState.VERIFIED.value, c.target.is_(None), c.next_try <= self._journal.now(), ~step.done(c.id)
        )
        before = next((other for other in self.steps if other.catalog == step.catalog and other.kind == METADATA), None)
        if before is not None and step.kind == REPLICA:
            query = query.where(before.done(c.id))
        with self._journal.read() as connection:
            files = fetch(connection, query.order_by(c.origin, c.id).limit(AT_ONCE))
        groups: dict[str, list[JournalFile]] = defaultdict(list)
        for file in files:
            groups[file.dataset or ""].append(file)
        return [(dataset, batch) for dataset, group in groups.items() for batch in batches(group, BATCH)]

    def _register(self, step: Step, dataset: str, files: list[JournalFile], verdicts: Verdicts) -> list[JournalFile]:
        """Look, compare, write, look: the files the catalogue has confirmed. Nothing here touches the journal."""
        if not files:
            return []
        try:
            if (step.catalog, step.kind, dataset) not in self._ensured:
                step.ensure_dataset(dataset)
                self._ensured.add((step.catalog, step.kind, dataset))
        except DataError as wrong_name:
            for file in files:
                verdicts.bad(file, f"{step.catalog}: dataset {dataset}: {wrong_name}")
            return []
        agreeing = self._agreeing(step, files, verdicts)
        refused = write_in_halves(step, agreeing, dataset)
        for file in agreeing:
            error = refused.get(file.id)
            if isinstance(error, ConflictError):
                verdicts.stopped(file, FileState.CONFLICT, f"{step.catalog}: {error}")
            elif error is not None:
                verdicts.bad(file, f"{step.catalog}: {error}")
        accepted = [file for file in agreeing if file.id not in refused]
        return self._agreeing(step, accepted, verdicts, must_be_there=True)

    def _journal_step(self, step: Step, confirmed: list[JournalFile], verdicts: Verdicts) -> None:
        now = self._journal.now()
        with self._journal.write() as connection:
            rows = [{"file_id": file.id, "catalog": step.catalog, "step": step.kind, "done_at": now} for file in confirmed]
            insert_missing(connection, step_table, rows)
            verdicts.write(connection)

    def _without_orphans(self, step: Step, files: list[JournalFile], verdicts: Verdicts) -> list[JournalFile]:
        """Hold back the files whose parent the daemon is still to declare in this catalogue: its absence there is no fault of theirs."""
        parents = {parent for file in files for parent in file.parents}
        if not parents or step.kind != METADATA:
            return files
        with self._journal.read() as connection:
            known = {did: parent for did, parent in files_by_did(connection, parents).items() if parent.declared_at is None}
            c = step_table.c
            query = sa.select(c.file_id).where(c.catalog == step.catalog, c.step == step.kind)
            done = {
                file_id
                for batch in batches([parent.id for parent in known.values()], BATCH)
                for file_id in connection.execute(query.where(c.file_id.in_(batch))).scalars()
            }
        ready = []
        for file in files:
            waiting = next((known[did] for did in file.parents if did in known and known[did].id not in done), None)
            if waiting is None:
                ready.append(file)
            else:
                verdicts.wait(file, f"its parent {waiting.did} is not declared yet ({waiting.state})")
        return ready

    def _agreeing(self, step: Step, files: list[JournalFile], verdicts: Verdicts, *, must_be_there: bool = False) -> list[JournalFile]:
        """Look: the files that are not there, or there with the same content; the others are conflicts."""
        if step.metadata is None or not files:
            return files
        entries = step.metadata.look([file.record.did for file in files])
        other = disagreements(entries, [file.record for file in files])
        agreeing = []
        for file in files:
            if (why := other.get(file.record.did)) is not None:
                verdicts.stopped(file, FileState.CONFLICT, f"{step.catalog}: {why}")
            elif must_be_there and file.record.did not in entries:
                verdicts.wait(file, f"{step.catalog}: accepted {file.did} but does not show it")
            else:
                agreeing.append(file)
        return agreeing

    def _complete(self) -> int:
        """Declare what every catalogue has confirmed; how many files."""
        c = file_table.c
        query = select_files().where(c.state == FileState.VERIFIED.value, c.target.is_(None), *(step.done(c.id) for step in self.steps))
        with self._journal.read() as connection:
            files = fetch(connection, query.limit(AT_ONCE))
        for batch in batches(files, BATCH):
            now = self._journal.now()
            verdicts = self._judge.verdicts(now)
            for file in batch:
                verdicts.good(file, FileState.DECLARED, declared_at=file.declared_at or now)
            with self._journal.write() as connection:
                verdicts.write(connection)
        return len(files)
