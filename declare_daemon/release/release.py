"""Lets files leave the buffer: candidates are proven, the proof is stored with the decision, then they are moved or deleted.

`declared` ► (checklist holds, proof stored) ► `leaving` ► moved, or deleted ► catalogues told ► `left`. Each arrow may be interrupted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event as Flag

import sqlalchemy as sa
import structlog

from declare_daemon.catalogs.protocol import Catalogs, Keeping
from declare_daemon.journal import queue
from declare_daemon.journal.datasets import keepings
from declare_daemon.journal.files import ROOM, Change, JournalFile, change, fetch, files_by_id, select_files, update
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, intake_table, proof_table
from declare_daemon.journal.writer import Journal
from declare_daemon.moves import remove_with_sidecar
from declare_daemon.outage import Outages
from declare_daemon.registration import pauses
from declare_daemon.registration.calls import Batch, write_in_halves
from declare_daemon.registration.lanes import Lanes
from declare_daemon.registration.registrar import subject_of
from declare_daemon.registration.steps import REPLICA, Step
from declare_daemon.release import checklist
from declare_daemon.release.candidates import Candidate, find, obligations_of
from declare_daemon.release.checklist import Proof, failed, holds
from declare_daemon.release.prover import Proven, Prover, Question
from declare_daemon.release.space import Pressure, read_fill
from declare_daemon.slow_work import SlowWork
from declare_daemon.storage import storage_of
from declare_daemon.verdicts import Judge
from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError
from dune_prompt.settings import Site
from dune_prompt.store import Event, record_events

log = structlog.get_logger(__name__)

PLAN_EVERY_S = 10.0
# A file whose checklist does not hold is looked at again after this time; rules and campaigns take minutes.
HELD_S = 120.0
BATCH = 500


@dataclass(frozen=True, slots=True)
class _News:
    """What catalogues said to the new places of moved files: why some are refused, or which catalogue did not answer."""

    refused: dict[int, str]
    catalog: str | None = None
    error: Exception | None = None


class Release:
    """Takes files from `declared` to `left`. The mover brings those with a target there; deletions are done here."""

    def __init__(
        self,
        site: Site,
        journal: Journal,
        catalogs: Catalogs,
        steps: tuple[Step, ...],
        lanes: Lanes,
        judge: Judge,
        outages: Outages,
        *,
        random: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._site, self._journal, self._judge, self._outages, self._random = site, journal, judge, outages, random
        self._stop = Flag()
        self._prover = Prover(catalogs, steps, lanes, journal.now, self._stop)
        self._lanes, self._wake = lanes, wake
        # A placed copy stays where it is whatever happens to the file in the buffer.
        placed = any(item.places for item in catalogs.all)
        self._told = () if placed else tuple(step for step in steps if step.kind == REPLICA)
        self._keeps_replicas = {step.catalog for step in self._told}
        self._threads = ThreadPoolExecutor(2, "release")
        self._proving: Future[list[Proven]] | None = None
        self._telling: Future[_News] | None = None
        self._telling_of: list[JournalFile] = []
        self._deleting: SlowWork[None] = SlowWork("delete", wake=wake)
        self._deleted: dict[int, JournalFile] = {}
        self._pressure = Pressure(site.buffer)
        self._next_plan = 0.0

    @property
    def busy(self) -> bool:
        """Whether checklists are being filled in, files deleted, or catalogues told."""
        return self._proving is not None or self._telling is not None or len(self._deleting) > 0

    # -- proving -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin what can be begun: proofs every ten seconds, deletions, news for the catalogues."""
        if self._proving is None and self._journal.now() >= self._next_plan:
            self._next_plan = self._journal.now() + PLAN_EVERY_S
            if (question := self._question()) is not None:
                self._proving = self._begin(partial(self._prover.prove, question))
        self._start_deletions()
        self._start_telling()

    def _begin(self, work: Callable[[], list[Proven]]) -> Future[list[Proven]]:
        future = self._threads.submit(work)
        future.add_done_callback(lambda _: self._wake())
        return future

    def _question(self) -> Question | None:
        if not any(stream.release.any for stream in self._site.streams):
            return None
        now = self._journal.now()
        with self._journal.read() as connection:
            try:
                fill = read_fill(connection, self._site.buffer)
            except OSError as error:
                log.warning("the buffer does not tell how full it is", error=error.strerror)
                return None
            candidates = find(connection, self._site, now, self._pressure.to_free_bytes(fill), fill.fraction)
            if not candidates:
                return None
            ids = [candidate.file.id for candidate in candidates]
            return Question(
                candidates,
                queue.confirmed(connection, ids),
                pauses.waivers(connection, ids),
                pauses.pauses(connection),
                keepings(connection, {candidate.file.dataset or "" for candidate in candidates}),
            )

    def finish(self, patience_s: float) -> tuple[int, int]:
        """Journal what is through: how many files may leave now, how many have left."""
        leaving = 0
        if self._proving is not None and self._proving.done():
            proving, self._proving = self._proving, None
            leaving = self._decide(proving.result())
        left = self._finish_deletions(patience_s) + self._finish_telling()
        return leaving, left

    def _decide(self, proven: list[Proven]) -> int:
        """Store the proofs that hold, each in the transaction of its file's decision."""
        now = self._journal.now()
        changes: list[Change] = []
        held: list[dict[str, object]] = []
        events: list[Event] = []
        with self._journal.write() as connection:
            current = files_by_id(connection, [item.candidate.file.id for item in proven])
            unchanged = [item for item in proven if current[item.candidate.file.id].still_is(item.candidate.file)]
            open_now = self._open_now(connection, [item.candidate for item in unchanged])
            for item in unchanged:
                file = item.candidate.file
                if not holds(item.checks) or item.seen is None:
                    again = now + HELD_S * (0.8 + 0.4 * self._random())
                    held.append({"id": file.id, "reason": f"kept: {failed(item.checks)}"[:2000], "next_try": again})
                elif file.id not in open_now:
                    proof = checklist.keep(connection, file, item.candidate.action, item.candidate.target, item.checks, item.seen, now)
                    values = {"target": item.candidate.target, "proof": proof, "next_try": 0.0, "reason": None}
                    changes.append(Change(file, FileState.LEAVING, values, item.candidate.occasion))
                    events += _sacrifice(item, now)
            change(connection, changes, now)
            update(connection, held)
            record_events(connection, events)
        return len(changes)

    def _open_now(self, connection: sa.Connection, candidates: list[Candidate]) -> set[int]:
        """The files that got a new reason to stay while they were being proven."""
        dids = [candidate.file.did for candidate in candidates if candidate.file.did is not None]
        now = obligations_of(connection, dids)
        ids = [candidate.file.id for candidate in candidates]
        waiting = set(connection.execute(sa.select(intake_table.c.file_id).where(intake_table.c.file_id.in_(ids))).scalars())
        return {
            candidate.file.id
            for candidate in candidates
            if {(item.campaign, item.version) for item in now.get(candidate.file.did or "", ())}
            - {(item.campaign, item.version) for item in candidate.obligations}
            or (candidate.file.id in waiting and not candidate.sacrificed)
        }

    # -- deletions -----------------------------------------------------------------------------------------------------

    def _start_deletions(self) -> None:
        c, p = file_table.c, proof_table.c
        query = (
            select_files().join(proof_table, p.id == c.proof).where(c.state == FileState.LEAVING.value, c.next_try <= self._journal.now())
        )
        query = query.where(p.action == "delete", p.ended_at.is_(None)).order_by(c.id).limit(self._deleting.room(slow=False))
        with self._journal.read() as connection:
            files = [file for file in fetch(connection, query) if file.id not in self._deleting]
            proofs = checklist.by_id(connection, [file.proof for file in files if file.proof is not None])
        for file in files:
            if file.proof is not None:
                self._deleted[file.id] = file
                self._deleting.start(file.id, partial(self._delete, file, proofs[file.proof]), slow=False)

    def _delete(self, file: JournalFile, proof: Proof) -> None:
        buffer = self._site.buffer
        try:
            storage_of(buffer.path).stat(f"{buffer.path}/{buffer.sentinel}")
        except FileNotFoundError:
            raise TransientError(f"{buffer.path}: the sentinel {buffer.sentinel} is missing, so this is not the buffer") from None
        try:
            status = storage_of(file.path).stat(file.path)
        except FileNotFoundError:
            status = None  # deleted before a kill; the sidecar may still be there
        if status is not None and (
            proof.seen is None or (status.size_bytes, status.changed_at) != (proof.seen.size_bytes, proof.seen.changed_at)
        ):
            raise ConflictError(f"{file.path}: changed since it was proven safe to release")
        self._journal.check_lease()
        remove_with_sidecar(file.path)

    def _finish_deletions(self, patience_s: float) -> int:
        if not (done := self._deleting.finished(patience_s)):
            return 0
        now = self._journal.now()
        verdicts = self._judge.verdicts(now)
        ended: list[int] = []
        with self._journal.write() as connection:
            current = files_by_id(connection, done)
            for file_id, future in done.items():
                file, started = current[file_id], self._deleted.pop(file_id)
                if not file.still_is(started):
                    continue
                try:
                    future.result()
                    verdicts.good(file, FileState.LEFT, "deleted; its copy was verified", left_at=now, path=file.place or file.path)
                    ended += [file.proof] if file.proof is not None else []
                except ConflictError as error:
                    verdicts.stopped(file, FileState.CONFLICT, str(error))
                except (TransientError, OSError) as error:
                    verdicts.wait(file, f"not deleted: {error}")
            verdicts.write(connection)
            checklist.end(connection, ended, now)
        return verdicts.count(FileState.LEFT)

    # -- moved files ---------------------------------------------------------------------------------------------------

    def _start_telling(self) -> None:
        """Tell the catalogues where moved files are now."""
        if self._telling is not None or not all(
            self._outages.of(subject_of(name)).due(self._journal.now()) for name in self._keeps_replicas
        ):
            return
        c, p = file_table.c, proof_table.c
        query = select_files().join(proof_table, p.id == c.proof).where(c.state == FileState.LEAVING.value, c.target.is_(None))
        query = query.where(p.action == "move", c.next_try <= self._journal.now())
        with self._journal.read() as connection:
            files = fetch(connection, query.order_by(c.id).limit(BATCH))
            if not files:
                return
            if self._keeps_replicas & pauses.pauses(connection).keys():
                return
            kept = keepings(connection, {file.dataset or "" for file in files})
        groups: dict[str, list[JournalFile]] = defaultdict(list)
        for file in files:
            groups[file.dataset or ""].append(file)
        batches = [Batch(dataset, kept.get(dataset, Keeping()), group) for dataset, group in groups.items()]
        self._telling_of = files
        self._telling = self._threads.submit(self._tell, batches)
        self._telling.add_done_callback(lambda _: self._wake())

    def _tell(self, batches: list[Batch]) -> _News:
        refused: dict[int, DataError | ConflictError] = {}
        for step in self._told:
            try:
                for batch in batches:
                    refused |= self._lanes.call(step.catalog, partial(write_in_halves, step, batch.files, batch)).result()
            except (TransientError, ConfigError) as error:
                return _News({}, step.catalog, error)
        return _News({file_id: str(error) for file_id, error in refused.items()})

    def _finish_telling(self) -> int:
        if self._telling is None or not self._telling.done():
            return 0
        telling, files = self._telling, self._telling_of
        self._telling, self._telling_of = None, []
        now, news = self._journal.now(), telling.result()
        if news.catalog is not None and news.error is not None:
            self._outages.of(subject_of(news.catalog)).failed(news.error, now)
            return 0
        verdicts = self._judge.verdicts(now)
        with self._journal.write() as connection:
            current = files_by_id(connection, [file.id for file in files])
            ended = []
            for file in (current[asked.id] for asked in files if current[asked.id].still_is(asked)):
                if file.id in news.refused:
                    verdicts.wait(file, f"moved, but its new place is refused: {news.refused[file.id]}")
                else:
                    verdicts.good(file, FileState.LEFT, f"moved to {file.path}", left_at=now)
                    ended += [file.proof] if file.proof is not None else []
            verdicts.write(connection)
            checklist.end(connection, ended, now)
        return verdicts.count(FileState.LEFT)

    def close(self) -> None:
        """Wait for what has begun; what was not finished is done again."""
        self._stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._deleting.close()


def _sacrifice(item: Proven, now: float) -> list[Event]:
    """An unprocessed file that leaves is an event of its own, and an error in the log."""
    file = item.candidate.file
    texts = [check.evidence for check in item.checks if check.waived_by == "buffer.sacrifice"]
    for text in texts:
        log.error("alarm: unprocessed file sacrificed", file=file.subject, run=file.run, why=text)
    return [Event(now, ROOM, file.subject, None, "sacrificed", "buffer.sacrifice", text) for text in texts]
