"""A catalogue asked in a thread of its own. The engine's step puts questions and takes answers; it never waits for a server that hangs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from campaign.draining.answers import PATIENCE_S, Answer, Health, Key
from campaign.installation import ActiveCampaign
from declare_daemon.catalogs import MetadataCatalog
from dune_prompt.errors import DunePromptError
from dune_prompt.records import MadeBy

log = structlog.get_logger(__name__)

# A healthy server answers in this time: so long the step itself waits, which saves the files a step's time.
LINGER_S = 0.25
BATCH = 500
# Questions kept through an outage; `reconcile` finds what is beyond.
KEPT = 100_000
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
NOTHING_TO_DO_S = 60.0


class SideWork(Protocol):
    """What the thread does while nobody asks anything."""

    def work(self, catalog: MetadataCatalog) -> float:
        """Do one piece that is due; after how many seconds the next one is.

        Raises:
            TransientError: the catalogue is away; nothing is lost, it is done again.
        """


@dataclass(frozen=True, slots=True)
class _Question:
    campaign_id: int
    made_by: MadeBy
    dids: tuple[str, ...]
    asked_at: float


class Background:
    """Implements `Answers` with a catalogue of its own, opened by `open_catalog` in the thread (a catalogue is used by one thread).

    `clock` measures patience, `wall` tells the time of an outage's begin.
    """

    def __init__(
        self,
        name: str,
        open_catalog: Callable[[], MetadataCatalog],
        side_work: SideWork | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        linger_s: float = LINGER_S,
    ) -> None:
        self._name, self._open, self._side_work = name, open_catalog, side_work
        self._clock, self._wall, self._linger_s = clock, wall, linger_s
        self._changed = threading.Condition()
        self._questions: deque[_Question] = deque()
        self._asked_at: dict[Key, float] = {}
        self._answered: dict[Key, bool] = {}
        self._gone_in: set[Key] = set()
        self._late: set[Key] = set()
        self._out_since: float | None = None
        self._message: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"catalogue {name}", daemon=True)
        self._thread.start()

    # -- the engine's side -------------------------------------------------------------------------------------------------

    def of(self, campaign: ActiveCampaign, dids: Sequence[str], patience_s: float = PATIENCE_S) -> Answer:
        keys = [(campaign.id, did) for did in dids]
        with self._changed:
            self._ask(campaign, dids)
            self._changed.wait_for(lambda: self._in_trouble(patience_s) or all(key in self._answered for key in keys), self._linger_s)
            out = self._in_trouble(patience_s)
            done, still_open = set(), set()
            for key in keys:
                if key in self._answered:
                    self._asked_at.pop(key, None)
                    if self._answered.pop(key):
                        done.add(key[1])
                elif out or self._clock() - self._asked_at[key] >= patience_s:
                    self._gone_in.add(key)
                else:
                    still_open.add(key[1])
            return Answer(frozenset(done), frozenset(still_open))

    def _ask(self, campaign: ActiveCampaign, dids: Sequence[str]) -> None:
        now = self._clock()
        new = [did for did in dids if (campaign.id, did) not in self._asked_at]
        for start in range(0, len(new), BATCH):
            self._questions.append(_Question(campaign.id, campaign.settings.made_by, tuple(new[start : start + BATCH]), now))
        self._asked_at |= {(campaign.id, did): now for did in new}
        while len(self._asked_at) > KEPT and len(self._questions) > 1:
            dropped = self._questions.popleft()
            for did in dropped.dids:
                self._asked_at.pop((dropped.campaign_id, did), None)
                self._gone_in.discard((dropped.campaign_id, did))
        if new:
            self._changed.notify_all()

    def _in_trouble(self, patience_s: float) -> bool:
        return self._out_since is not None or self._silent_for() >= patience_s

    def _silent_for(self) -> float:
        """How long the oldest question has had no answer, in seconds."""
        return self._clock() - self._questions[0].asked_at if self._questions else 0.0

    def late(self) -> set[Key]:
        with self._changed:
            found, self._late = self._late, set()
            return found

    def health(self) -> Health:
        with self._changed:
            waiting = len(self._asked_at)
            if self._out_since is None and (silent := self._silent_for()) >= PATIENCE_S:
                return Health(self._name, self._wall() - silent, f"{self._name}: no answer for {silent:.0f} s", waiting)
            return Health(self._name, self._out_since, self._message, waiting)

    def wake(self) -> None:
        """There may be side work now."""
        with self._changed:
            self._changed.notify_all()

    def close(self, patience_s: float = 1.0) -> None:
        """End the thread, or leave it to the end of the process when it waits for a server."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(patience_s)

    # -- the thread --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        catalog: MetadataCatalog | None = None
        pause_s = FIRST_PAUSE_S
        while not self._closed:
            try:
                if catalog is None:
                    catalog = self._open()
                rest_s = self._work(catalog)
            except DunePromptError as error:
                self._is_out(str(error))
                rest_s, pause_s = pause_s, min(2 * pause_s, LONGEST_PAUSE_S)
                self._sleep(rest_s, also_for_questions=False)
            except Exception as error:
                log.exception("fault while asking a catalogue", catalogue=self._name)
                self._is_out(f"fault in the code: {type(error).__name__}: {error}")
                self._sleep(LONGEST_PAUSE_S, also_for_questions=False)
            else:
                pause_s = FIRST_PAUSE_S
                self._is_back()
                self._sleep(rest_s, also_for_questions=True)
        if catalog is not None:
            catalog.close()

    def _work(self, catalog: MetadataCatalog) -> float:
        """Answer one question, or do a piece of side work; for how long there is nothing to do then."""
        with self._changed:
            question = self._questions[0] if self._questions else None
        if question is None:
            return self._side_work.work(catalog) if self._side_work is not None else NOTHING_TO_DO_S
        children = catalog.children_of(question.dids, question.made_by)
        with self._changed:
            # It may have been dropped meanwhile to make room.
            if self._questions and self._questions[0] is question:
                self._questions.popleft()
                self._note(question, {did for did, names in children.items() if names})
                self._changed.notify_all()
        return 0.0

    def _note(self, question: _Question, done: set[str]) -> None:
        for did in question.dids:
            key = (question.campaign_id, did)
            if key in self._gone_in:
                self._gone_in.discard(key)
                self._asked_at.pop(key, None)
                if did in done:
                    self._late.add(key)
            else:
                self._answered[key] = did in done

    def _sleep(self, seconds: float, *, also_for_questions: bool) -> None:
        with self._changed:
            if seconds > 0:
                end = self._clock() + seconds
                while not self._closed and not (also_for_questions and self._questions) and (left := end - self._clock()) > 0:
                    if self._changed.wait(left) and also_for_questions:
                        return

    def _is_out(self, message: str) -> None:
        with self._changed:
            if self._out_since is None:
                log.warning("catalogue away; new work goes in without it", catalogue=self._name, error=message)
                self._out_since = self._wall()
            self._message = message
            self._changed.notify_all()

    def _is_back(self) -> None:
        with self._changed:
            if self._out_since is not None:
                log.info("catalogue is back", catalogue=self._name, after_s=round(self._wall() - self._out_since))
            self._out_since = self._message = None
