"""Finds where inputs are: in the buffer, where the journal moved them, on another disk, or on tape. Best first, and never in the step.

What the journal has in the buffer is answered at once. All else is looked for in a thread; the step reads the answers it has so far, and
asks again later for the rest.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
import structlog

from campaign.draining import known
from campaign.draining.answers import Health
from campaign.draining.known import CatalogInput
from campaign.inputs import recalls
from campaign.inputs.mounts import Mounts
from campaign.inputs.places import Answer, Gone, Places, Waiting, buffer_places, of_file, of_journal
from campaign.inputs.tape import Group, Tape, has_room, only_on_tape
from campaign.installation import Installation, Write
from campaign.ledger.tasks import Task
from declare_daemon.catalogs import Catalogs, Found, ReplicaCatalog, open_catalogs
from declare_daemon.journal import FileState, JournalFile, files_by_did
from declare_daemon.storage import is_xrootd
from dune_prompt.errors import ConfigError, DunePromptError

log = structlog.get_logger(__name__)

BATCH = 500
# A mount that works answers in this time: so long the step itself waits.
LINGER_S = 0.1
# How long an answer is good: a file that is somewhere stays there for a while, one that is not may come.
GOOD_S, NOT_THERE_S, TROUBLE_S = 600.0, 60.0, 10.0
# How often tape is asked how far it is, and its tasks are looked at again.
FOLLOW_S = 60.0
KEPT_ANSWERS = 50_000
# The catalogue that can have files read back from tape.
RECALLS = "rucio"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file to look for: where the journal has it, if it left the buffer, and what is known of it."""

    did: str
    left_at: tuple[str, ...] = ()
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class _Located:
    """Where a file is: on disk (best first), on tape (names of storages). `trouble`: what kept us from finding out.

    `recallable`: a catalogue that can read files back from tape knows it there.
    """

    until: float
    disk: tuple[str, ...] = ()
    tape: tuple[str, ...] = ()
    recallable: bool = False
    found: CatalogInput | None = None
    trouble: str | None = None


class InputFinder:
    """Answers the engine's launch step. `write` is the engine's transaction, under its lease; `catalogs` are opened in the thread."""

    def __init__(
        self,
        installation: Installation,
        write: Write,
        *,
        open_own_catalogs: Callable[[], Catalogs] | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        linger_s: float = LINGER_S,
        follow_s: float = FOLLOW_S,
    ) -> None:
        self._installation, self._clock, self._wall = installation, clock, wall
        self._linger_s, self._follow_s = linger_s, follow_s
        self._open = open_own_catalogs or (lambda: open_catalogs(installation.site))
        self._tape = Tape(installation, write, wall)
        self._mounts = Mounts()
        self._changed = threading.Condition()
        self._wanted: deque[_Wanted] = deque()
        self._asked: set[str] = set()
        self._located: dict[str, _Located] = {}
        self._to_recall: set[Group] = set()
        self._out_since: float | None = None
        self._message: str | None = None
        self._closed = False
        self._catalogs: Catalogs | None = None
        recalls_allowed = any(campaign.settings.inputs.recall is not None for campaign in installation.campaigns.values())
        # What a crash cut off is followed from the start.
        self._follow_at = self._clock() if recalls_allowed else float("inf")
        self._thread: threading.Thread | None = None
        if recalls_allowed:
            self._start()

    # -- the engine's side -------------------------------------------------------------------------------------------------

    def places(self, connection: sa.Connection, tasks: Sequence[Task], unread: Collection[int] = ()) -> Mapping[int, Answer]:
        """Where the inputs of `tasks` are, by the tasks' ids.

        `unread`: ids of tasks that have to know what their input is but do not read it, as what reads it is done: it may be gone.
        """
        files = files_by_did(connection, [task.input_did for task in tasks])
        answers: dict[int, Answer] = {}
        missing: list[Task] = []
        for task in tasks:
            file = files.get(task.input_did)
            if file is not None and task.id in unread:
                answers[task.id] = of_file(file, buffer_places(file, self._installation.site.buffer))
                continue
            answer = of_journal(file, self._installation.site.buffer) if file is not None else None
            # What could not be read where it should be is offered where else it is too.
            if answer is None or (isinstance(answer, Places) and task.error_class == "input"):
                missing.append(task)
            if answer is not None:
                answers[task.id] = answer
        if missing:
            kept = known.by_did(connection, [task.input_did for task in missing if task.input_did not in files])
            answers |= {task.id: _of_catalog(kept[task.input_did], ()) for task in missing if task.id in unread and task.input_did in kept}
            missing = [task for task in missing if not (task.id in unread and task.input_did in kept)]
        if missing:
            located = self._look_for(missing, files, kept)
            on_their_way = recalls.coming(connection, [did for did, place in located.items() if place.tape and not place.disk])
            use: dict[int, recalls.Use] = {}
            for task in missing:
                at_hand = answers.get(task.id)
                if isinstance(at_hand, Places):
                    answers[task.id] = _beside(at_hand, located.get(task.input_did))
                else:
                    answers[task.id] = self._answer(connection, task, files.get(task.input_did), kept, located, on_their_way, use)
            if self._to_recall:
                with self._changed:
                    self._changed.notify_all()
        return answers

    def _look_for(self, tasks: Sequence[Task], files: Mapping[str, JournalFile], kept: Mapping[str, CatalogInput]) -> dict[str, _Located]:
        """What is known of where these inputs are; what is not known or no longer sure is asked for, and waited for a moment."""
        self._start()
        dids = list(dict.fromkeys(task.input_did for task in tasks))
        now = self._clock()
        with self._changed:
            for did in dids:
                there = self._located.get(did)
                if did not in self._asked and (there is None or there.until <= now):
                    file = files.get(did)
                    left_at = (file.path,) if file is not None and file.state is FileState.LEFT else ()
                    self._wanted.append(_Wanted(did, left_at, is_known=file is not None or did in kept))
                    self._asked.add(did)
                    self._changed.notify_all()
            self._changed.wait_for(lambda: not any(did in self._asked for did in dids), self._linger_s)
            return {did: self._located[did] for did in dids if did in self._located}

    def _answer(
        self,
        connection: sa.Connection,
        task: Task,
        file: JournalFile | None,
        kept: Mapping[str, CatalogInput],
        located: Mapping[str, _Located],
        on_their_way: Mapping[str, recalls.RecallRow],
        use: dict[int, recalls.Use],
    ) -> Answer:
        place = located.get(task.input_did)
        if place is None:
            return Waiting("the input is no longer in the buffer; it is being looked for")
        if place.disk:
            item = kept.get(task.input_did) or place.found
            if file is not None:
                moved = buffer_places(file, self._installation.site.buffer) if file.path in place.disk else ()
                return of_file(file, (*moved, *place.disk))
            return _of_catalog(item, place.disk) if item is not None else Waiting("what the input is has still to be asked for")
        if place.trouble is not None:
            return Waiting(f"the input is no longer in the buffer, and where else it is cannot be found out: {place.trouble}", TROUBLE_S)
        if place.tape:
            if task.input_did in on_their_way:
                return Waiting(on_their_way[task.input_did].sentence, self._follow_s)
            return self._of_tape(connection, task, place, use)
        if file is None and task.input_did not in kept and place.found is None:
            return Gone("data", "neither the journal nor a catalogue knows the input")
        return Gone("input", "the input is no longer in the buffer, and no catalogue knows a copy of it")

    def _of_tape(self, connection: sa.Connection, task: Task, place: _Located, use: dict[int, recalls.Use]) -> Answer:
        settings = self._installation.campaigns[task.campaign_id].settings.inputs.recall
        where = f"the input is only on tape ({', '.join(place.tape)})"
        if settings is None:
            return Gone("input", f"{where}; `inputs.recall` in the campaign file would let it be read back")
        if not place.recallable:
            return Gone("input", f"{where}; Rucio, which could read it back, does not know it there")
        if task.campaign_id not in use:
            use[task.campaign_id] = recalls.use_of(connection, task.campaign_id)
        if not has_room(settings, use[task.campaign_id], task.size_bytes):
            asked = use[task.campaign_id].bytes_asked / 1e9
            return Gone("input", f"{where}; {asked:.0f} GB were asked back, `inputs.recall.most` allows {settings.most / 1e9:.0f} GB")
        if use[task.campaign_id].files_coming >= settings.at_once:
            return Waiting(f"{where}; {settings.at_once} others are being read back first (`inputs.recall.at_once`)", self._follow_s)
        self._to_recall.add((task.campaign_id, task.run))
        return Waiting(f"{where}; it will be read back", TROUBLE_S)

    def health(self) -> Health:
        """How the catalogues are that know where files are."""
        with self._changed:
            names = ", ".join(item.replicas.name for item in self._installation.catalogs.all if item.replicas is not None)
            return Health(names or "none", self._out_since, self._message, len(self._asked))

    def close(self, patience_s: float = 1.0) -> None:
        """End the thread, or leave it to the end of the process when it waits for a server."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._mounts.close()
        if self._thread is not None:
            self._thread.join(patience_s)

    # -- the thread --------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="inputs", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            batch, groups, follow = work
            try:
                if batch:
                    self._note(self._locate(batch))
                for group in sorted(groups):
                    self._tape.ask_for(self._rucio(), group)
                if follow:
                    self._follow()
            except DunePromptError as error:
                self._is_out(str(error), batch)
            except Exception as error:
                log.exception("fault while looking for inputs")
                self._is_out(f"fault in the code: {type(error).__name__}: {error}", batch)
        if self._catalogs is not None:
            self._catalogs.close()

    def _next(self) -> tuple[list[_Wanted], set[Group], bool] | None:
        """What there is to do; None when all is over."""
        with self._changed:
            while not self._closed:
                follow = self._clock() >= self._follow_at
                if self._wanted or self._to_recall or follow:
                    batch = [self._wanted.popleft() for _ in range(min(BATCH, len(self._wanted)))]
                    groups, self._to_recall = self._to_recall, set()
                    if follow:
                        self._follow_at = self._clock() + self._follow_s
                    return batch, groups, follow
                left = self._follow_at - self._clock()
                self._changed.wait(None if left == float("inf") else max(left, 0.0))
            return None

    def _locate(self, batch: Sequence[_Wanted]) -> dict[str, _Located]:
        now = self._clock()
        there = self._mounts.there([place for wanted in batch for place in wanted.left_at])
        found: dict[str, _Located] = {}
        for wanted in batch:
            if disk := tuple(place for place in wanted.left_at if there.get(place)):
                found[wanted.did] = _Located(now + GOOD_S, disk)
        # Those that are where the journal says need no catalogue, and do not wait for one.
        self._note(found)
        rest = [wanted for wanted in batch if wanted.did not in found]
        if not rest:
            return found
        copies, recallable = self._copies([wanted.did for wanted in rest])
        unknown = [wanted.did for wanted in rest if not wanted.is_known]
        entries = self._own().truth.look(unknown, with_metadata=True) if unknown else {}
        self._is_back()
        paths = [copy.place for of_file in copies.values() for copy in of_file if _is_path(copy)]
        there |= self._mounts.there(paths)
        for wanted in rest:
            entry = entries.get(wanted.did)
            item = CatalogInput.of(entry) if entry is not None and not entry.retired else None
            located = _located(copies.get(wanted.did, ()), there, now, item)
            found[wanted.did] = replace(located, recallable=wanted.did in recallable)
        return found

    def _copies(self, dids: Sequence[str]) -> tuple[dict[str, tuple[Found, ...]], set[str]]:
        """The copies that any catalogue knows, in the order of the site file, and which of the files could be read back from tape."""
        found: dict[str, tuple[Found, ...]] = {}
        recallable: set[str] = set()
        for item in self._own().all:
            if item.replicas is not None:
                for did, copies in item.replicas.find(dids).items():
                    found[did] = (*found.get(did, ()), *copies)
                    if item.kind == RECALLS and only_on_tape(copies):
                        recallable.add(did)
        return found, recallable

    def _follow(self) -> None:
        if any(item.kind == RECALLS for item in self._own().all):
            self._tape.follow(self._rucio())
            self._is_back()
            # What was on tape may have come back.
            with self._changed:
                self._located = {did: place for did, place in self._located.items() if place.disk or not place.tape}

    def _rucio(self) -> ReplicaCatalog:
        for item in self._own().all:
            if item.kind == RECALLS and item.replicas is not None:
                return item.replicas
        raise ConfigError("`inputs.recall` needs the catalogue rucio")

    def _own(self) -> Catalogs:
        if self._catalogs is None:
            self._catalogs = self._open()
        return self._catalogs

    def _note(self, found: Mapping[str, _Located]) -> None:
        with self._changed:
            while len(self._located) + len(found) > KEPT_ANSWERS and self._located:
                self._located.pop(next(iter(self._located)))
            self._located |= found
            self._asked -= found.keys()
            self._changed.notify_all()

    def _is_out(self, message: str, batch: Iterable[_Wanted]) -> None:
        """The last answers go on to be used, those of which nothing is known wait."""
        until = self._clock() + TROUBLE_S
        with self._changed:
            if self._out_since is None:
                log.warning("where inputs are cannot be found out now", error=message)
                self._out_since = self._wall()
            self._message = message
            # Some of the batch may have been found before the trouble began.
            asked = [wanted.did for wanted in batch if wanted.did in self._asked]
            before = {did: self._located.get(did) for did in asked}
        self._note({did: replace(place, until=until) if place else _Located(until, trouble=message) for did, place in before.items()})

    def _is_back(self) -> None:
        with self._changed:
            if self._out_since is not None:
                log.info("where inputs are can be found out again", after_s=round(self._wall() - self._out_since))
            self._out_since = self._message = None


def _is_path(copy: Found) -> bool:
    return bool(copy.place) and not copy.tape and not is_xrootd(copy.place)


def _located(copies: Sequence[Found], there: Mapping[str, bool], now: float, item: CatalogInput | None) -> _Located:
    """An address is believed to lead to the copy; a path has to be there."""
    readable = [copy for copy in copies if copy.place and not copy.tape]
    disk = tuple(dict.fromkeys(copy.place for copy in readable if is_xrootd(copy.place) or there.get(copy.place)))
    tape = tuple(dict.fromkeys(copy.rse for copy in copies if copy.tape))
    unsure = next((copy.place for copy in readable if not is_xrootd(copy.place) and copy.place not in there), None)
    if unsure is not None and not disk:
        return _Located(now + TROUBLE_S, found=item, trouble=f"{unsure}: the file system does not answer")
    return _Located(now + (GOOD_S if disk else NOT_THERE_S), disk, tape, found=item)


def _of_catalog(item: CatalogInput, places: tuple[str, ...]) -> Places:
    return Places(item.name, places, item.size_bytes if item.size_bytes >= 0 else None, item.adler32 or None, item.metadata)


def _beside(at_hand: Places, elsewhere: _Located | None) -> Places:
    """The places at hand first, and those elsewhere if there are any."""
    more = elsewhere.disk if elsewhere is not None else ()
    return replace(at_hand, places=tuple(dict.fromkeys((*at_hand.places, *more))))
