"""Findings, looks and books of alarms, without the rules behind them where those do not matter."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.alarms.alarm import Alarm, open_alarms, raised_alarms
from dashboard.alarms.book import Book
from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.notices import Notice
from dashboard.alarms.rules import RULES, Look
from dashboard.alarms.tables import notice_table
from dashboard.alarms.transitions import Looked
from dashboard.operations.snapshot import OperationsReader
from dune_prompt.errors import TransientError
from dune_prompt.settings import Site
from dune_prompt.settings.alarms import AlarmSettings, NoticeKind, WatchSettings
from dune_prompt.store import Store

NOW = 1_718_795_400.0  # Wednesday, 2024-06-19 11:10:00 UTC


@dataclass
class Inbox:
    """A target that keeps what it gets, and refuses while told to."""

    name: str = "webhook:inbox"
    events: Collection[NoticeKind] = ("raised", "returned", "cleared")
    refuses: bool = False
    got: list[Notice] = field(default_factory=list)

    def send(self, notice: Notice) -> None:
        if self.refuses:
            raise TransientError("not today")
        self.got.append(notice)


@dataclass
class Desk:
    """A book of alarms, fed by hand."""

    store: Store
    site: Site
    inbox: Inbox
    now: float = NOW

    @property
    def book(self) -> Book:
        return Book(self.store, self.site, [self.inbox])

    def set(self, watch: dict[str, Any] | None = None, alarms: dict[str, Any] | None = None) -> None:
        """Change the site file."""
        update = {"watch": WatchSettings.model_validate(watch or {}), "alarms": AlarmSettings.model_validate(alarms or {})}
        self.site = self.site.model_copy(update=update)

    def look(self, *findings: Finding, unanswered: Collection[str] = (), after_s: float = 30.0) -> None:
        self.now += after_s
        self.book.enter(Looked(self.now, findings, unanswered))

    def open(self) -> list[Alarm]:
        with self.store.read() as connection:
            return open_alarms(connection, self.now)

    def raised(self) -> list[Alarm]:
        """All that were ever raised, the newest first."""
        with self.store.read() as connection:
            return raised_alarms(connection, 1000)

    def notices(self) -> list[tuple[int, str]]:
        """(alarm, what) of all notices, in order."""
        n = notice_table.c
        with self.store.read() as connection:
            return [tuple(row) for row in connection.execute(sa.select(n.alarm_id, n.what).order_by(n.id))]


def found(subject: str = "tasks", *, rule: str = "parked", severity: Severity = Severity.WARNING, message: str = "9 are parked") -> Finding:
    return Finding(rule, subject, severity, message, "/jobs")  # type: ignore[arg-type]


@pytest.fixture
def finding() -> Callable[..., Finding]:
    return found


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def desk(store: Store, site: Site, inbox: Inbox) -> Desk:
    return Desk(store, site, inbox)


@dataclass
class Eye:
    """Looks with one rule at what is in the store."""

    store: Store
    site: Site
    now: float = NOW
    decided_at: float = NOW
    watching_since: float = NOW

    def set(self, **parts: Any) -> None:
        """Change the site file: whole groups of it."""
        streams = [{"name": "physics", "pattern": "*.hdf5", "process": True}, {"name": "trigprim", "pattern": "*_tp_*"}]
        content = {"site": "test-np04", "workspace": self.site.workspace, "buffer": {"path": self.site.buffer.path}, "streams": streams}
        changed = Site.model_validate(content | parts)
        self.site = self.site.model_copy(update={"streams": changed.streams} | {name: getattr(changed, name) for name in parts})

    def sees(self, name: str) -> list[Finding]:
        rule = next(rule for rule in RULES if rule.name == name)
        slots = SimpleNamespace(wanted=37, reason="37 slots are wanted")
        reader = OperationsReader(self.site, self.store, lambda: slots)
        look = Look(self.now, self.site, lambda: reader.read(self.now), self.decided_at, self.watching_since)
        with self.store.read() as connection:
            return list(rule.find(connection, look, getattr(self.site.watch, name)))


@pytest.fixture
def eye(store: Store, site: Site) -> Eye:
    return Eye(store, site)
