"""What the page of alarms shows: open, acknowledged and muted ones, the last that are over, the rules, and whether notices arrive."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from dashboard.alarms.alarm import Alarm, is_looked_after, open_alarms, pending_alarms, raised_alarms
from dashboard.alarms.finding import Severity
from dashboard.alarms.notices import Delivery, deliveries
from dashboard.alarms.rules import RULES, Rule
from dashboard.alarms.watch import LastLook
from dune_prompt.settings import Site
from dune_prompt.settings.alarms import MuteSettings

CLOSED_A_PAGE = 25
# So many looks may be missed before it is said that nobody looks.
MISSED_LOOKS = 3


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule as it is set here. `limit` is None when it is switched off, `unanswered` says why it could not be looked at."""

    rule: Rule
    limit: str | None
    looks: int
    owner: str
    windows: list[str]
    raised: int
    unanswered: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Open alarms of one rule and severity: what they mean and what to do is said once. `rule` is None when it is no longer known."""

    name: str
    severity: Severity
    rule: Rule | None
    alarms: list[Alarm]


@dataclass(frozen=True, slots=True)
class AlarmsView:
    """All of the page. `older` is where the next page of closed alarms begins (None: this was the last)."""

    raised: list[Alarm]
    acknowledged: list[Alarm]
    muted: list[tuple[Alarm, str]]
    closed: list[Alarm]
    older: int | None
    rules: list[RuleView]
    deliveries: list[Delivery]
    looked_at: float | None
    look_every_s: float
    silent: bool

    @property
    def groups(self) -> list[Group]:
        """The raised ones, in groups; in the order of the first of each."""
        found: dict[tuple[str, Severity], Group] = {}
        for alarm in self.raised:
            rule = next((rule for rule in RULES if rule.name == alarm.rule), None)
            group = found.setdefault((alarm.rule, alarm.severity), Group(alarm.rule, alarm.severity, rule, []))
            group.alarms.append(alarm)
        return list(found.values())

    @property
    def alarms(self) -> int:
        return sum(alarm.severity is Severity.ALARM for alarm in self.raised)

    @property
    def warnings(self) -> int:
        return len(self.raised) - self.alarms


def read_page(
    connection: sa.Connection, site: Site, last: LastLook, targets: Sequence[str], now: float, *, before: int | None = None
) -> AlarmsView:
    """The page at `now`; with `before` a later page of the closed alarms."""
    alarms = open_alarms(connection, now)
    closed = raised_alarms(connection, CLOSED_A_PAGE + 1, which="closed", before=before)
    return AlarmsView(
        raised=[alarm for alarm in alarms if not is_looked_after(alarm, now)],
        acknowledged=[alarm for alarm in alarms if is_looked_after(alarm, now)],
        muted=_muted(pending_alarms(connection), site, now),
        closed=closed[:CLOSED_A_PAGE],
        older=closed[CLOSED_A_PAGE - 1].id if len(closed) > CLOSED_A_PAGE else None,
        rules=_rules(site, last, alarms, now),
        deliveries=deliveries(connection, targets),
        looked_at=last.at,
        look_every_s=site.alarms.look_every,
        silent=last.at is not None and now - last.at > MISSED_LOOKS * site.alarms.look_every,
    )


def _muted(pending: Sequence[Alarm], site: Site, now: float) -> list[tuple[Alarm, str]]:
    """What would be alarms, with the window that mutes each."""
    found = []
    for alarm in pending:
        window = site.alarms.muted(alarm.rule, alarm.subject, now)
        if window is not None:
            found.append((alarm, f"{window.why} ({words_of(window)})"))
    return found


def _rules(site: Site, last: LastLook, alarms: Sequence[Alarm], now: float) -> list[RuleView]:
    raised = Counter(alarm.rule for alarm in alarms)
    return [_rule(rule, site, last, raised[rule.name], now) for rule in RULES]


def _rule(rule: Rule, site: Site, last: LastLook, raised: int, now: float) -> RuleView:
    limit = getattr(site.watch, rule.name)
    if rule.name == "no_good_probe_for" and site.probe is None:
        limit = None
    return RuleView(
        rule=rule,
        limit=None if limit is None else rule.limit(limit),
        looks=site.watch.looks(rule.name),
        owner=site.alarms.owner(rule.name),
        windows=[
            f"{words_of(window)}{'' if window.subject == '*' else f', of {window.subject}'}: {window.why}"
            for window in site.alarms.mute
            if window.fits(rule.name) and (window.until is None or window.until > now)
        ],
        raised=raised,
        unanswered=last.unanswered.get(rule.name),
    )


def words_of(window: MuteSettings) -> str:
    """When a window mutes: `22:00 to 06:00 UTC on sat, sun, until 2026-11-30 00:00 UTC`."""
    parts = []
    if window.from_ is not None and window.to is not None:
        parts.append(f"{_clock(window.from_)} to {_clock(window.to)} UTC")
    if window.days:
        parts.append(f"{'on' if parts else 'all of'} {', '.join(window.days)}")
    if window.until is not None:
        parts.append(time.strftime("until %Y-%m-%d %H:%M UTC", time.gmtime(window.until)))
    return " ".join(parts)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
