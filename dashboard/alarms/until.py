"""Reads until when somebody looks after an alarm."""

from __future__ import annotations

from datetime import UTC, datetime

from dune_prompt.settings.units import parse_duration


def moment_after(text: str, now: float) -> float:
    """A time a person wrote: `8h` from now, or an ISO 8601 date (UTC when it does not say).

    Raises:
        ValueError: it is neither, or is over already.
    """
    try:
        at = now + parse_duration(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text!r} is neither a duration such as 8h nor a date such as 2026-11-26T08:00") from None
        at = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if at <= now:
        raise ValueError(f"{text!r} is over")
    return at
