"""Registers verified files in all catalogues, raw and derived alike, in bulk.

What a catalogue has confirmed of a file is a row of the journal, so that a kill between two catalogues is resumed where it was. Each
catalogue is called from a thread of its own; the journal is read and written only here, in the daemon's one thread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace

import sqlalchemy as sa

from declare_daemon.catalogs.protocol import BATCH, Catalogs, Keeping
from declare_daemon.journal import queue
from declare_daemon.journal.datasets import keepings
from declare_daemon.journal.files import JournalFile, fetch, files_by_did, files_by_id, select_files, update
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, queue_table, step_table
from declare_daemon.journal.writer import Journal
from declare_daemon.outage import Outages
from declare_daemon.registration import pauses
from declare_daemon.registration.calls import Answer, Batch, Caller
from declare_daemon.registration.lanes import Lanes
from declare_daemon.registration.steps import METADATA, PLACED, REPLICA, Step, outlook, steps_of
from declare_daemon.verdicts import Judge, Verdicts

# A file whose catalogue was waived is registered there all the same when that can be done, wherever the file is by then.
_TAKES_STEPS = tuple(state.value for state in (FileState.VERIFIED, FileState.DECLARED, FileState.LEFT))


@dataclass(frozen=True, slots=True)
class _Call:
    """A call in hand."""

    step: Step
    files: list[JournalFile]
    future: Future[Answer]


@dataclass(frozen=True, slots=True)
class Registered:
    """How many steps of files were confirmed, how many files are declared everywhere with that, and whether a catalogue did not answer."""

    confirmed: int = 0
    declared: int = 0
    failed: bool = False

    def __add__(self, other: Registered) -> Registered:
        return Registered(self.confirmed + other.confirmed, self.declared + other.declared, self.failed or other.failed)


class Registrar:
    """Takes files from `verified` to `declared`."""

    def __init__(self, journal: Journal, catalogs: Catalogs, lanes: Lanes, judge: Judge, outages: Outages) -> None:
        self._journal, self._lanes, self._judge, self._outages = journal, lanes, judge, outages
        self.steps = steps_of(catalogs)
        self._needs = {step.key: step.after for step in self.steps}
        self._names = tuple(item.name for item in catalogs.all)
        self._callers = {name: Caller(name) for name in self._names}
        self._calls: dict[str, _Call] = {}
        with journal.write() as connection:
            queue.plan_all(connection)

    @property
    def busy(self) -> bool:
        """Whether a catalogue is being called."""
        return bool(self._calls)

    def start(self) -> int:
        """Give each catalogue that answers its next batch; how many files turned out to have all they need."""
        self._end_pauses()
        declared = self._plan()
        with self._journal.read() as connection:
            paused = pauses.pauses(connection).keys()
        well = {name for name in self._names if name not in paused and self._outages.of(subject_of(name)).since is None}
        for name in self._names:
            if name in self._calls or name in paused or not self._outages.of(subject_of(name)).due(self._journal.now()):
                continue
            for step in self.steps:
                if step.catalog == name and step.kind != PLACED and self._begin(step, well):
                    break
        return declared

    def _end_pauses(self) -> None:
        now = self._journal.now()
        with self._journal.read() as connection:
            over = [item.catalog for item in pauses.pauses(connection).values() if item.until is not None and item.until <= now]
        if over:
            with self._journal.write() as connection:
                for catalog in over:
                    pauses.resume(connection, catalog, None, now)

    def _plan(self) -> int:
        """Work out the steps of files that were verified, or waived, since the last time."""
        with self._journal.read() as connection:
            file_ids = queue.unplanned(connection, BATCH)
        if not file_ids:
            return 0
        with self._journal.write() as connection:
            return self.plan(connection, file_ids)

    def plan(self, connection: sa.Connection, file_ids: Sequence[int]) -> int:
        """Queue what these files can do now, and declare those that have nothing left to do; how many."""
        now = self._journal.now()
        files = files_by_id(connection, file_ids)
        confirmed = queue.confirmed(connection, file_ids)
        waived = pauses.waivers(connection, list(file_ids))
        verdicts = self._judge.verdicts(now)
        ready: list[tuple[str, str, int]] = []
        for file_id, file in files.items():
            if file.state.value not in _TAKES_STEPS:
                continue
            view = outlook(self.steps, file, confirmed.get(file_id, {}))
            ready += [(*key, file_id) for key in view.now]
            if file.state is FileState.VERIFIED and file.target is None and view.missing <= waived.get(file_id, {}).keys():
                without = [f"without {name}, waived by {waived[file_id][name].by}" for name in sorted(view.missing)]
                verdicts.good(file, FileState.DECLARED, "; ".join(without) or None, declared_at=file.declared_at or now)
        queue.planned(connection, file_ids, ready)
        verdicts.write(connection)
        return verdicts.count(FileState.DECLARED)

    def _begin(self, step: Step, well: set[str]) -> bool:
        """Call a catalogue for the files that are due for `step`; whether there were any."""
        files = self._due(step, well)
        if not files:
            return False
        files = self._without_orphans(step, files)
        if not files:
            return False
        groups: dict[str, list[JournalFile]] = defaultdict(list)
        for file in files:
            groups[file.dataset or ""].append(file)
        with self._journal.read() as connection:
            kept = keepings(connection, groups)
        batches = [Batch(dataset, kept.get(dataset, Keeping()), group) for dataset, group in groups.items()]
        caller, ping = self._callers[step.catalog], self._outages.of(subject_of(step.catalog)).since is not None
        future = self._lanes.call(step.catalog, lambda: caller.work(step, batches, ping=ping))
        self._calls[step.catalog] = _Call(step, files, future)
        return True

    def _due(self, step: Step, well: set[str]) -> list[JournalFile]:
        """The files whose next step this is, those first that were journaled first (raw files so before their children)."""
        c, q = file_table.c, queue_table.c
        query = select_files().join(queue_table, q.file_id == c.id)
        query = query.where(q.catalog == step.catalog, q.step == step.kind, c.state.in_(_TAKES_STEPS))
        query = query.where(c.target.is_(None), c.next_try <= self._journal.now())
        for catalog, kind in step.behind:
            # One that waits itself for one that is away is not waited for.
            if catalog in well and all(needed in well for needed, _ in self._needs[catalog, kind]):
                s = step_table.c
                query = query.where(sa.exists().where(s.file_id == c.id, s.catalog == catalog, s.step == kind))
        with self._journal.read() as connection:
            return fetch(connection, query.order_by(q.file_id).limit(BATCH))

    def _without_orphans(self, step: Step, files: list[JournalFile]) -> list[JournalFile]:
        """Hold back the files whose parent the daemon is still to declare in this catalogue: its absence there is no fault of theirs."""
        parents = {parent for file in files for parent in file.parents}
        if not parents or step.kind != METADATA:
            return files
        with self._journal.read() as connection:
            known = {did: parent for did, parent in files_by_did(connection, parents).items() if parent.declared_at is None}
            done = queue.confirmed(connection, [parent.id for parent in known.values()])
        verdicts = self._judge.verdicts(self._journal.now())
        ready = []
        for file in files:
            waiting = next((known[did] for did in file.parents if did in known and step.key not in done.get(known[did].id, {})), None)
            if waiting is None:
                ready.append(file)
            else:
                verdicts.wait(file, f"its parent {waiting.did} is not declared yet ({waiting.state})")
        if len(ready) < len(files):
            with self._journal.write() as connection:
                verdicts.write(connection)
        return ready

    def finish(self, patience_s: float) -> Registered:
        """Journal what catalogues have answered. Waits so long for the first answer."""
        if not self._calls:
            return Registered()
        wait([call.future for call in self._calls.values()], timeout=patience_s, return_when=FIRST_COMPLETED)
        registered = Registered()
        for name in [name for name, call in self._calls.items() if call.future.done()]:
            call = self._calls.pop(name)
            registered += self._journal_answer(call, call.future.result())
        return registered

    def _journal_answer(self, call: _Call, answer: Answer) -> Registered:
        now, outage = self._journal.now(), self._outages.of(subject_of(call.step.catalog))
        verdicts = self._judge.verdicts(now)
        with self._journal.write() as connection:
            # What became something else meanwhile (seen again, replaced by another attempt) is not what was asked about.
            current = files_by_id(connection, [file.id for file in call.files])
            same = {file.id for file in call.files if file.id in current and _still_asked(call.step, file, current[file.id])}
            confirmed = [file.id for file in answer.confirmed if file.id in same]
            queue.confirm(connection, call.step.catalog, call.step.kind, confirmed, now)
            update(connection, [{"id": file_id, "fid": fid} for file_id, fid in answer.fids.items() if file_id in same])
            update(connection, [{"id": file_id, "place": place} for file_id, place in answer.places.items() if file_id in same])
            for file, reason in answer.conflicts:
                if file.id in same:
                    self._refuse(verdicts, file, FileState.CONFLICT, reason)
            for file, reason in answer.bad:
                if file.id in same:
                    self._refuse(verdicts, file, FileState.REJECTED, reason)
            for file, reason in answer.wait:
                if file.id in same:
                    verdicts.wait(file, reason)
            verdicts.write(connection)
            declared = self.plan(connection, confirmed)
        if answer.error is not None:
            outage.failed(answer.error, now)
        else:
            outage.answered(now)
        return Registered(len(confirmed), declared, answer.error is not None or len(same) < len(call.files))

    def _refuse(self, verdicts: Verdicts, file: JournalFile, to: FileState, reason: str) -> None:
        if file.state is not FileState.VERIFIED:
            # Declared without this catalogue, by a person's word: it goes on being tried, and being seen.
            verdicts.wait(file, reason)
        elif to is FileState.CONFLICT:
            verdicts.stopped(file, to, reason)
        else:
            verdicts.bad(file, reason)


def _still_asked(step: Step, asked: JournalFile, now: JournalFile) -> bool:
    """Whether the catalogue's answer is about the file as it is now. It may have been declared meanwhile, by a waiver; where its copy
    goes may have become known, which matters only to who was told of the copy."""
    place = asked.place if step.kind == REPLICA else now.place
    return now.still_is(replace(asked, state=now.state, place=place)) and now.state.value in _TAKES_STEPS


def subject_of(catalog: str) -> str:
    """What an outage of a catalogue is called."""
    return f"catalog:{catalog}"
