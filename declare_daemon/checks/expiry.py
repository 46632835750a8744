"""When the end of a credential is an alarm: 7 days, 24 hours and 1 hour before, and when it is over."""

from __future__ import annotations

EXPIRED = "expired"

HOUR_S, DAY_S = 3600.0, 86400.0
LEVELS = ((HOUR_S, "expires in 1 h"), (DAY_S, "expires in 24 h"), (7 * DAY_S, "expires in 7 d"))


def expiry_alarm(expires_at: float, now: float, lifetime_s: float | None = None) -> str | None:
    """The alarm at `now` for a credential that ends at `expires_at`, None while there is none.

    `lifetime_s` is how long it was issued for. A level longer than half of that would never be silent (a proxy of 24 hours is renewed
    long before the last of them) and is left out.
    """
    left_s = expires_at - now
    if left_s <= 0:
        return EXPIRED
    return next((name for level_s, name in LEVELS if left_s <= level_s and (lifetime_s is None or level_s <= lifetime_s / 2)), None)
