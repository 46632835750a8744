"""How long to wait for something outside that is away, and when to alarm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa
import structlog

from declare_daemon.journal.files import ROOM, JournalFile
from dune_prompt.store import Event, Store, event_table

log = structlog.get_logger(__name__)

FIRST_DELAY_S = 1.0
MAX_DELAY_S = 60.0
ALARM_AFTER_S = 60.0
AWAY, BACK = "away", "back"

# Data that look bad are tried again some times: the sidecar may be half-written, the catalogue may get the parent yet.
DATA_TRIES = 4


def delay_s(waited_s: float, random: Callable[[], float]) -> float:
    """Seconds until the next try of something that has waited `waited_s`: half as long again, 1 s at least, 1 min at most, ±20 %."""
    return min(max(0.5 * waited_s, FIRST_DELAY_S), MAX_DELAY_S) * (0.8 + 0.4 * random())


class Outage:
    """Whether one thing outside (`subject`: `buffer:PATH`, `catalog:NAME`) answers.

    Its outage is logged at once; one that lasts is an alarm: an event `away`, later one `back`.
    """

    def __init__(
        self, subject: str, random: Callable[[], float], alarmed_at: float | None = None, *, alarm_after_s: float = ALARM_AFTER_S
    ) -> None:
        """`alarmed_at`: when an earlier process raised the alarm that is still open."""
        self.subject, self._random, self._alarm_after_s = subject, random, alarm_after_s
        self.since = alarmed_at
        self.error = ""
        self._next_try = 0.0
        self._alarmed = alarmed_at is not None
        self._events: list[Event] = []

    @property
    def alarmed(self) -> bool:
        """Whether it is away for so long that an alarm was raised."""
        return self._alarmed

    def due(self, now: float) -> bool:
        """Whether it makes sense to ask it now."""
        return self.wait_s(now) == 0

    def wait_s(self, now: float) -> float:
        """Seconds until it makes sense to ask it again."""
        return 0.0 if self.since is None else max(0.0, self._next_try - now)

    def failed(self, error: Exception, now: float) -> None:
        """It did not answer."""
        self.error = str(error)
        if self.since is None:
            self.since = now
            log.warning("away", subject=self.subject, error=str(error))
        if not self._alarmed and now - self.since >= self._alarm_after_s:
            self._alarmed = True
            self._events.append(Event(now, ROOM, self.subject, BACK, AWAY, None, str(error)))
            log.error("alarm: still away", subject=self.subject, error=str(error), waited_s=round(now - self.since))
        self._next_try = now + delay_s(now - self.since, self._random)

    def answered(self, now: float) -> None:
        """It answered."""
        if self.since is None:
            return
        log.info("back", subject=self.subject, away_s=round(now - self.since))
        if self._alarmed:
            self._events.append(Event(now, ROOM, self.subject, AWAY, BACK))
        self.since, self._alarmed = None, False

    def take_events(self) -> list[Event]:
        """What has to go into the event table, once."""
        events, self._events = self._events, []
        return events


class Outages:
    """Everything outside the daemon asks something of, by subject. An alarm that an earlier process raised is still open."""

    def __init__(self, store: Store, random: Callable[[], float], *, alarm_after_s: float = ALARM_AFTER_S) -> None:
        self._store, self._random, self._alarm_after_s = store, random, alarm_after_s
        self._all: dict[str, Outage] = {}

    def of(self, subject: str) -> Outage:
        """Whether `subject` answers."""
        if subject not in self._all:
            with self._store.read() as connection:
                alarm = open_alarms(connection, [subject]).get(subject)
            self._all[subject] = Outage(subject, self._random, alarm[0] if alarm else None, alarm_after_s=self._alarm_after_s)
        return self._all[subject]

    def now(self) -> dict[str, Outage]:
        """What does not answer now."""
        return {subject: outage for subject, outage in self._all.items() if outage.since is not None}

    def take_events(self) -> list[Event]:
        """What has to go into the event table, once."""
        return [event for outage in self._all.values() for event in outage.take_events()]


class Waits:
    """The files that wait for something outside: when each is tried again, and that one which waits long is alarmed once."""

    def __init__(self, random: Callable[[], float], *, alarm_after_s: float = ALARM_AFTER_S) -> None:
        self._random, self._alarm_after_s = random, alarm_after_s
        self._since: dict[int, float] = {}
        self._alarmed: set[int] = set()

    def again_at(self, file: JournalFile, reason: str, now: float) -> float:
        """When to try `file` again, which failed now for `reason`."""
        since = self._since.setdefault(file.id, now)
        if now - since >= self._alarm_after_s and file.id not in self._alarmed:
            self._alarmed.add(file.id)
            log.error("alarm: file waits", file=file.subject, run=file.run, state=file.state, reason=reason, waited_s=round(now - since))
        return now + delay_s(now - since, self._random)

    def over(self, file: JournalFile) -> None:
        """It went well."""
        self._since.pop(file.id, None)
        self._alarmed.discard(file.id)


def open_alarms(connection: sa.Connection, subjects: Sequence[str]) -> dict[str, tuple[float, str]]:
    """The `subjects` that are away, as far as the event table knows: since when, and with which error."""
    c = event_table.c
    last = sa.select(sa.func.max(c.id)).where(c.subject.in_(subjects), c.after.in_((AWAY, BACK)), c.room == ROOM).group_by(c.subject)
    query = sa.select(c.subject, c.at, c.message).where(c.id.in_(last), c.after == AWAY)
    return {subject: (at, message or "") for subject, at, message in connection.execute(query)}
