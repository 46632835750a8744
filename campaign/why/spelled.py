"""Times, spans, sizes and numbers as an answer spells them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

_SPANS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def moment(at: float) -> str:
    """A time, UTC, to the second: `2026-11-25T18:15:04Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: float) -> str:
    """A length of time in its two largest units: `3 h 12 min`; below ten seconds with a digit after the point."""
    seconds = abs(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for length, unit, smaller, smaller_unit in _SPANS:
        if whole >= length:
            rest = whole % length // smaller
            return f"{whole // length} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def relative(at: float, now: float) -> str:
    """A time and how far it is: `2026-11-25T18:15:04Z (in 5 min)`, `… (3 h ago)`."""
    return f"{moment(at)} ({f'in {span(at - now)}' if at > now else f'{span(now - at)} ago'})"


def size(size_bytes: int) -> str:
    """Bytes in powers of ten: `4.21 GB`."""
    value = float(size_bytes)
    for unit in _SIZES:
        if value < 999.5 or unit == _SIZES[-1]:
            return f"{size_bytes} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError


def count(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun: `1 file`, `3 files`."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def listed(words: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; of many the first, and how many more."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
