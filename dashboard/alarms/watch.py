"""Looks for what is wrong or missing, and lets the book say which of it is an alarm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from dashboard.alarms import notices
from dashboard.alarms.book import Book
from dashboard.alarms.finding import Finding
from dashboard.alarms.rules import RULES, Look, Rule
from dashboard.alarms.transitions import Change, Looked
from dashboard.operations.slots import SlotView
from dashboard.operations.snapshot import OperationsReader
from dune_prompt.errors import TransientError
from dune_prompt.settings import Site
from dune_prompt.store import Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LastLook:
    """The last look: when it was (None: there was none yet), and which rules could not be looked at, and why."""

    at: float | None = None
    unanswered: dict[str, str] = field(default_factory=dict)


class Decisions:
    """When the engine was last seen to decide something: every step of it makes a new decision, though its numbers may be the same."""

    def __init__(self, slots: Callable[[], SlotView], began: float) -> None:
        self._slots, self._last, self._at = slots, slots(), began

    def last_at(self, now: float) -> float:
        """When it was, as far as looks at intervals can tell."""
        if (decision := self._slots()) is not self._last:
            self._last, self._at = decision, now
        return self._at


class Watcher:
    """Looks at everything every now and then. `told` is called when there is something to send."""

    def __init__(
        self,
        site: Site,
        store: Store,
        reader: OperationsReader,
        slots: Callable[[], SlotView],
        book: Book,
        *,
        rules: Sequence[Rule] = RULES,
        told: Iterable[Callable[[], None]] = (),
        targets: Sequence[str] = (),
        began: float | None = None,
    ) -> None:
        self._site, self._store, self._reader, self._book = site, store, reader, book
        self._rules, self._told, self._targets = rules, list(told), targets
        self._began = time.time() if began is None else began
        self._decisions = Decisions(slots, self._began)
        self._forgotten = False
        self.last = LastLook()

    def look(self, now: float) -> list[Change]:
        """Look at everything once; what that changes.

        Raises:
            TransientError: the store is away. Nothing is known then, and nothing changes.
        """
        seen = Look(now, self._site, lambda: self._reader.read(now), self._decisions.last_at(now), self._began)
        findings: list[Finding] = []
        unanswered: dict[str, str] = {}
        for rule in self._rules:
            try:
                findings += self._ask(rule, seen)
            except TransientError:
                raise
            except Exception as error:
                # One rule with a fault in its code must not hide what the others find.
                log.exception("a rule cannot be looked at", rule=rule.name)
                unanswered[rule.name] = f"{type(error).__name__}: {error}"
        changes = self._book.enter(Looked(now, findings, frozenset(unanswered)))
        self._forget_others()
        self.last = LastLook(now, unanswered)
        for change in changes:
            if change.notice is not None:
                alarm = change.alarm
                log.warning("alarm", what=change.notice, rule=alarm.rule, subject=alarm.subject, message=alarm.message)
        if any(change.notice is not None for change in changes):
            for tell in self._told:
                tell()
        return changes

    def _ask(self, rule: Rule, seen: Look) -> list[Finding]:
        limit = getattr(self._site.watch, rule.name)
        if limit is None:
            return []
        with self._store.read() as connection:
            return list(rule.find(connection, seen, limit))

    def _forget_others(self) -> None:
        """Once: remove what waits for targets that the site file does not name any more."""
        if not self._forgotten:
            with self._store.write() as connection:
                notices.forget(connection, self._targets)
            self._forgotten = True
