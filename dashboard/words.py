"""Numbers, times and states as people read them. A value that does not exist is an en dash, never a zero."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from campaign.states import TaskState
from dashboard.quality.flags import Flag

NOTHING = "–"
THIN = "\u202f"  # narrow no-break space: groups digits and joins a number to its unit
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def count(value: float | None) -> str:
    """A whole number with its thousands apart: `12 431`."""
    return NOTHING if value is None else f"{value:,.0f}".replace(",", THIN)


def number(value: float | None, digits: int = 3) -> str:
    """A measured number with `digits` significant ones, large ones in thousands and millions."""
    if value is None:
        return NOTHING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scale = {"G": 1e9, "M": 1e6, "k": 1e3}[unit]
            return f"{_significant(value / scale, digits)}{THIN}{unit}"
    return _significant(value, digits)


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    value = float(f"{value:.{digits - 1}e}") if abs(value) < 10**digits else value
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 6)}f}"


def plain(value: float | None) -> str:
    """A number with no more digits than it has: `2`, `2.5`."""
    return NOTHING if value is None else f"{value:g}"


def percent(fraction: float | None) -> str:
    """A fraction in percent, rounded towards 0 so that only the whole is 100 %."""
    if fraction is None:
        return NOTHING
    if fraction in (0, 1):
        return f"{fraction * 100:.0f}{THIN}%"
    tenths = math.floor(fraction * 1000 + 1e-9)
    return f"{tenths / 10:.1f}{THIN}%" if tenths else f"<{THIN}0.1{THIN}%"


def size(size_bytes: float | None) -> str:
    """Bytes in powers of ten: `4.21 GB`."""
    if size_bytes is None:
        return NOTHING
    value = float(size_bytes)
    for unit in _SIZES:
        if abs(value) < 999.5 or unit == _SIZES[-1]:
            return f"{value:.0f}{THIN}B" if unit == "B" else f"{_significant(value, 3)}{THIN}{unit}"
        value /= 1000
    raise AssertionError


def duration(seconds: float | None) -> str:
    """A time span in its two largest units: `3 h 12 min`; below a minute with a digit after the point."""
    if seconds is None:
        return NOTHING
    sign, value = ("−", -seconds) if seconds < 0 else ("", seconds)
    if value < 9.95:
        return f"{sign}{value:.1f}{THIN}s"
    whole = round(value)
    if whole < 60:
        return f"{sign}{whole}{THIN}s"
    for length, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            rest = whole % length // smaller
            return f"{sign}{whole // length}{THIN}{unit}" + (f" {rest}{THIN}{smaller_unit}" if rest else "")
    raise AssertionError


def clock(at: float | None) -> str:
    """The time of day, UTC: `13:45:02`."""
    return NOTHING if at is None else time.strftime("%H:%M:%S", time.gmtime(at))


def moment(at: float | None) -> str:
    """Date and time, UTC: `2024-06-19 11:03:30`."""
    return NOTHING if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


@dataclass(frozen=True, slots=True)
class Sign:
    """How a state is shown: a kind (which has one colour and one form), an icon, a word, and a sentence."""

    kind: str
    icon: str
    word: str
    sentence: str


_KINDS = {
    TaskState.BLOCKED: ("wait", "wait", "waiting"),
    TaskState.READY: ("wait", "wait", "waiting"),
    TaskState.SUBMITTING: ("work", "work", "starting"),
    TaskState.SUBMITTED: ("work", "work", "queued"),
    TaskState.RUNNING: ("work", "work", "running"),
    TaskState.REPORTED: ("work", "work", "declaring"),
    TaskState.DONE: ("done", "check", "done"),
    TaskState.WAITING_RETRY: ("wait", "retry", "will retry"),
    TaskState.PARKED: ("parked", "cross", "parked"),
    TaskState.WAIVED: ("waived", "minus", "waived"),
}
FLAGS = {
    Flag.NULL: Sign("null", "none", "not judged", Flag.NULL.sentence),
    Flag.GOOD: Sign("good", "check", "good", Flag.GOOD.sentence),
    Flag.MEDIUM: Sign("medium", "alert", "medium", Flag.MEDIUM.sentence),
    Flag.BAD: Sign("bad", "cross", "bad", Flag.BAD.sentence),
}
SIGNS = {state.value: Sign(*_KINDS[state], state.sentence) for state in TaskState}
