"""The time a hand-over is about."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

SHIFT_S = 8 * 3600.0
LONGEST_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` up to, not including, `until`; seconds since the Unix epoch."""

    since: float
    until: float

    @property
    def length_s(self) -> float:
        return self.until - self.since

    @property
    def query(self) -> str:
        """The period in an address."""
        return urlencode({"since": f"{self.since:.0f}", "until": f"{self.until:.0f}"})

    def before(self) -> Period:
        """The period of the same length that ended when this one began."""
        return Period(self.since - self.length_s, self.since)

    def after(self, now: float) -> Period | None:
        """The next one of the same length; None when it has not begun."""
        return None if self.until >= now else Period(self.until, min(self.until + self.length_s, now))


def period_of(since: float | None, until: float | None, now: float) -> Period:
    """The period that is asked for; the last shift when nothing is. Never longer than a week, and never in the future.

    Raises:
        ValueError: it ends before it begins.
    """
    end = now if until is None else min(until, now)
    begin = end - SHIFT_S if since is None else since
    if begin >= end:
        raise ValueError("the period ends before it begins")
    return Period(max(begin, end - LONGEST_S), end)
