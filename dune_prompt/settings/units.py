"""Quantities with units as people write them: `24h`, `200TB`, `90%`; and times: `2h` from now, `2026-11-26T08:00`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15} | {
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z%]*)\s*")


def _quantity(value: object, units: dict[str, int], example: str) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a quantity such as {example}")
    match = _QUANTITY.fullmatch(str(value))
    if not match or match[2] not in units:
        raise ValueError(f"{value!r} is no quantity; write it as {example} (units: {', '.join(units)})")
    return float(match[1]) * units[match[2]]


def parse_duration(value: object) -> float:
    """Seconds of `30s`, `10min`, `24h`, `7d`, `2w`."""
    return _quantity(value, _SECONDS, "24h")


def parse_size(value: object) -> int:
    """Bytes of `500MB`, `3GB`, `200TB` (powers of ten) or `2GiB` (powers of two)."""
    return round(_quantity(value, _BYTES, "200TB"))


def parse_fraction(value: object) -> float:
    """The fraction of `90%`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    fraction = _quantity(value, {"%": 1}, "90%") / 100
    if not 0 <= fraction <= 1:
        raise ValueError(f"{value!r} is not between 0% and 100%")
    return fraction


def parse_date(text: str) -> float:
    """Seconds since the Unix epoch of an ISO 8601 date, UTC when it does not say."""
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def parse_moment(text: str, now: float, *, past: bool = False) -> float:
    """Seconds since the Unix epoch of `8h` from now, or (`past`) before it, or of an ISO 8601 date; a future one must not be over."""
    try:
        seconds = parse_duration(text)
    except ValueError:
        try:
            at = parse_date(text)
        except ValueError:
            raise ValueError(f"{text!r} is neither a duration such as 8h nor a date such as 2026-11-26T08:00") from None
    else:
        at = now - seconds if past else now + seconds
    if not past and at <= now:
        raise ValueError(f"{text!r} is over")
    return at


DurationS = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
SizeBytes = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
Fraction = Annotated[float, BeforeValidator(parse_fraction)]
