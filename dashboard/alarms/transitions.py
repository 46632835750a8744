"""What becomes of alarms: a pure decision from what is open, what a look found, and the settings.

An alarm is pending until its rule has held so many looks in a row, then raised; cleared when a look no longer finds it. What is cleared and
comes again is a new alarm. A person may acknowledge a raised one: it comes back when the time he said is over. What is muted is counted,
never raised, and cleared if it was raised before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dashboard.alarms.alarm import Alarm, AlarmState
from dashboard.alarms.finding import Finding, Severity
from dune_prompt.errors import ConflictError
from dune_prompt.settings.alarms import AlarmSettings, NoticeKind, WatchSettings

BY_RULE, BY_MUTE, BY_SETTINGS = "the rule", "a mute window", "the settings"


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm as it is now, and the state it was in before (None: it is new). `forgotten`: it was never raised, and is not kept."""

    alarm: Alarm
    before: AlarmState | None
    forgotten: bool = False

    @property
    def notice(self) -> NoticeKind | None:
        """What people are told of it, if anything."""
        match self.before, self.alarm.state:
            case (AlarmState.PENDING | None, AlarmState.RAISED):
                return "raised"
            case (AlarmState.ACKNOWLEDGED, AlarmState.RAISED):
                return "returned"
            case (AlarmState.RAISED | AlarmState.ACKNOWLEDGED, AlarmState.CLEARED):
                return "cleared"
        return None


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look brought. Nothing is known about the rules that are `unanswered`: their alarms stay as they are."""

    at: float
    findings: Collection[Finding] = ()
    unanswered: Collection[str] = frozenset()

    def by_key(self) -> dict[str, Finding]:
        """The findings, the worst of each key."""
        found: dict[str, Finding] = {}
        for finding in self.findings:
            if finding.key not in found or finding.severity is Severity.ALARM:
                found[finding.key] = finding
        return found


def turn(open_now: Iterable[Alarm], looked: Looked, watch: WatchSettings, settings: AlarmSettings) -> list[Change]:
    """What a look changes in the alarms that are open."""
    known = {alarm.key: alarm for alarm in open_now}
    found = looked.by_key()
    changes: list[Change] = []
    for key, finding in found.items():
        changes += _found(known.get(key), finding, looked.at, watch, settings)
    for key, alarm in known.items():
        if key not in found and alarm.rule not in looked.unanswered:
            changes.append(_gone(alarm, looked.at, watch))
    return changes


def _found(alarm: Alarm | None, finding: Finding, now: float, watch: WatchSettings, settings: AlarmSettings) -> Iterator[Change]:
    muted = settings.muted(finding.rule, finding.subject, now) is not None
    before = None if alarm is None else alarm.state
    seen = _seen(alarm, finding, now, settings)
    if seen.raised_at is None:
        raised = seen.seen >= watch.looks(finding.rule) and not muted
        yield Change(replace(seen, raised_at=now) if raised else seen, before)
    elif muted:
        yield Change(replace(seen, cleared_at=now, cleared_by=BY_MUTE), before)
        yield Change(_seen(None, finding, now, settings), None)
    elif seen.acknowledged_until is not None and seen.acknowledged_until <= now:
        back = replace(seen, acknowledged_at=None, acknowledged_by=None, acknowledged_until=None, acknowledged_why=None)
        yield Change(back, before)
    else:
        yield Change(seen, before)


def _seen(alarm: Alarm | None, finding: Finding, now: float, settings: AlarmSettings) -> Alarm:
    """The alarm, seen once more."""
    values: dict[str, Any] = {
        "rule": finding.rule,
        "severity": finding.severity,
        "subject": finding.subject,
        "message": finding.message,
        "owner": settings.owner(finding.rule),
        "link": finding.link,
        "last_seen_at": now,
    }
    if alarm is None:
        return Alarm(id=0, key=finding.key, seen=1, first_seen_at=now, **values)
    return replace(alarm, seen=alarm.seen + 1, **values)


def _gone(alarm: Alarm, now: float, watch: WatchSettings) -> Change:
    if alarm.raised_at is None:
        return Change(alarm, alarm.state, forgotten=True)
    by = BY_SETTINGS if getattr(watch, alarm.rule, None) is None else BY_RULE
    return Change(replace(alarm, cleared_at=now, cleared_by=by), alarm.state)


def acknowledge(alarm: Alarm, by: str, why: str, until: float | None, now: float) -> Change:
    """Somebody looks after it: nobody is told of it again until `until` (None: for as long as it lasts).

    Raises:
        ConflictError: it is over, or is no alarm yet.
    """
    if alarm.state not in (AlarmState.RAISED, AlarmState.ACKNOWLEDGED):
        raise ConflictError(f"alarm {alarm.id} is {alarm.state} ({alarm.state.sentence}): there is nothing to acknowledge")
    known = replace(alarm, acknowledged_at=now, acknowledged_by=by, acknowledged_until=until, acknowledged_why=why)
    return Change(known, alarm.state)
