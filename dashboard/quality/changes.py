"""What one version of the limits changed against another, as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dashboard.quality.checks import shown_limit
from dashboard.quality.limits import BOUNDS, Check, LimitsFile, Rule

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different: of which check, what, and how it was and is."""

    check: str
    what: str
    before: str
    after: str


def changes(before: LimitsFile, after: LimitsFile) -> list[Change]:
    """The differences, in the order of the checks; those that went are last."""
    old = {check.key: check for check in before.checks}
    new = {check.key: check for check in after.checks}
    found: list[Change] = []
    for key, check in new.items():
        if key not in old:
            found.append(Change(key, "check", NOTHING, f"added: {check.words}"))
        else:
            found += _of_check(old[key], check)
    found += [Change(key, "check", check.words, "removed") for key, check in old.items() if key not in new]
    return found


def _of_check(before: Check, after: Check) -> Iterator[Change]:
    for name in ("group", "words", "means", "do", "at_gain_mv_per_fc"):
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            yield Change(after.key, name, NOTHING if was is None else str(was), NOTHING if now is None else str(now))
    old, new = ({scope(rule): rule for rule in check.limits} for check in (before, after))
    for where in (*new, *(where for where in old if where not in new)):
        was_rule, now_rule = old.get(where), new.get(where)
        if was_rule is None or now_rule is None:
            yield Change(after.key, where, _numbers(before, was_rule), _numbers(after, now_rule))
        else:
            yield from _of_rule(after, where, was_rule, now_rule)
    if [where for where in old if where in new] != [where for where in new if where in old]:
        yield Change(after.key, "order of the limits", "; ".join(old), "; ".join(new))


def _of_rule(check: Check, where: str, before: Rule, after: Rule) -> Iterator[Change]:
    for name in BOUNDS:
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            yield Change(check.key, f"{where}: {name}", _number(check, was), _number(check, now))


def scope(rule: Rule) -> str:
    """Where a limit applies, in words."""
    detector = "every detector" if rule.detector == "*" else rule.detector
    parts = [detector, *([] if rule.run_type == "*" else [rule.run_type]), *([", ".join(rule.planes)] if rule.planes else [])]
    return " ".join(parts)


def _numbers(check: Check, rule: Rule | None) -> str:
    if rule is None:
        return NOTHING
    given = [f"{name} {_number(check, value)}" for name in BOUNDS if (value := getattr(rule, name)) is not None]
    return ", ".join(given) or "left out"


def _number(check: Check, value: float | None) -> str:
    return NOTHING if value is None else shown_limit(value, check.quantity)
