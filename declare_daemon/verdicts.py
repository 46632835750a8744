"""What a batch of files came to, one behaviour for each class of error, written in one transaction.

* data: tried again a few times (the writer may not have finished), then rejected: on its way into the quarantine;
* transient: tried again for ever, later and later;
* conflict: the file stays where it is until a person has looked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
import structlog

from declare_daemon.journal.files import Change, JournalFile, change, update
from declare_daemon.journal.states import FileState
from declare_daemon.metadata import clean_text
from declare_daemon.outage import ALARM_AFTER_S, DATA_TRIES, Waits
from declare_daemon.quarantine import Quarantine

log = structlog.get_logger(__name__)

MAX_REASON = 2000


class Judge:
    """Knows how long to wait, and where bad files go."""

    def __init__(
        self,
        quarantine: Quarantine,
        home_of: Callable[[JournalFile], str],
        random: Callable[[], float],
        *,
        alarm_after_s: float = ALARM_AFTER_S,
    ) -> None:
        """`home_of` tells the buffer or outbox a file is in."""
        self._quarantine, self._home_of, self._random = quarantine, home_of, random
        self._waits = Waits(random, alarm_after_s=alarm_after_s)

    def verdicts(self, now: float) -> Verdicts:
        """An empty batch."""
        return Verdicts(self._quarantine, self._home_of, self._waits, self._random, now)


class Verdicts:
    """One batch. A file gets one verdict."""

    def __init__(
        self, quarantine: Quarantine, home_of: Callable[[JournalFile], str], waits: Waits, random: Callable[[], float], now: float
    ) -> None:
        self._quarantine, self._home_of, self._waits, self._random, self._now = quarantine, home_of, waits, random, now
        self._changes: list[Change] = []
        self._later: list[dict[str, Any]] = []
        self._stays: list[dict[str, Any]] = []
        self._taken: set[str] = set()

    def count(self, state: FileState) -> int:
        """How many files go into `state`."""
        return sum(item.to is state for item in self._changes)

    def good(self, file: JournalFile, to: FileState, message: str | None = None, **values: Any) -> None:
        """The file goes on to `to`; earlier trouble is forgotten."""
        self._waits.over(file)
        self._changes.append(Change(file, to, {"reason": None, "tries": 0, "next_try": 0.0, **values}, message))

    def moved(self, file: JournalFile) -> None:
        """The file is at its target now; its state stays."""
        self._waits.over(file)
        self._stays.append({"id": file.id, "path": file.target, "target": None, "reason": None, "tries": 0, "next_try": 0.0})

    def stopped(self, file: JournalFile, to: FileState, reason: str, **values: Any) -> None:
        """The file goes into `to`, and the reason is kept with it."""
        self._waits.over(file)
        reason = clean_text(reason)[:MAX_REASON]
        self._changes.append(Change(file, to, {"reason": reason, "target": None, "tries": 0, "next_try": 0.0, **values}, reason))
        log.error("file stopped", file=file.subject, run=file.run, state=to, reason=reason)

    def bad(self, file: JournalFile, reason: str) -> None:
        """Data: later again, after the last try into the quarantine."""
        reason = clean_text(reason)[:MAX_REASON]
        tries = file.tries + 1
        if tries < DATA_TRIES:
            self._postpone(file, reason, tries, self._now + 2.0**tries * (0.8 + 0.4 * self._random()))
            return
        self._waits.over(file)
        place = str(self._quarantine.place_for(file.name, self._home_of(file), self._taken))
        self._taken.add(place)
        self._changes.append(Change(file, FileState.REJECTED, {"reason": reason, "tries": tries, "next_try": 0.0, "target": place}, reason))
        log.error("file rejected", file=file.subject, run=file.run, reason=reason)

    def wait(self, file: JournalFile, reason: str) -> None:
        """Transient: later again, for as long as it takes."""
        reason = clean_text(reason)[:MAX_REASON]
        self._postpone(file, reason, file.tries, self._waits.again_at(file, reason, self._now))

    def _postpone(self, file: JournalFile, reason: str, tries: int, next_try: float) -> None:
        self._later.append({"id": file.id, "reason": reason, "tries": tries, "next_try": next_try})

    def write(self, connection: sa.Connection) -> None:
        """Journal all of it."""
        change(connection, self._changes, self._now)
        update(connection, self._later)
        update(connection, self._stays)
