"""Time to drain and time to high water from rates and samples that were written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard.operations.buffer import BufferFill
from dashboard.operations.forecast import drain_of, read_fill_forecast
from dashboard.operations.rates import Rates

NOW = 1_718_795_400.0
TB = 10**12


def rates(arrived: int, processed: int) -> Rates:
    return Rates(600, arrived, 0, processed, 0)


def fill(used_bytes: int, capacity_bytes: int | None = 200 * TB) -> BufferFill:
    fraction = used_bytes / capacity_bytes if capacity_bytes else None
    return BufferFill(1, used_bytes, capacity_bytes, fraction, 0.9, 0.8, None)


@pytest.mark.parametrize(
    ("backlog", "arrived", "processed", "seconds"),
    [(100, 60, 180, 500.0), (100, 180, 60, None), (100, 60, 60, None), (0, 60, 180, None), (0, 0, 0, None)],
)
def test_the_backlog_drains_at_the_net_rate(backlog: int, arrived: int, processed: int, seconds: float | None) -> None:
    drain = drain_of(backlog, rates(arrived, processed))
    assert drain.net_per_s == pytest.approx((processed - arrived) / 600)
    assert drain.seconds == (None if seconds is None else pytest.approx(seconds))


def test_the_buffer_reaches_high_water_at_the_rate_it_had_since_the_oldest_sample(store: Any, sample: Any) -> None:
    sample(NOW - 4000, buffer_bytes=0)  # too long ago to tell the present rate
    sample(NOW - 1000, buffer_bytes=100 * TB)
    sample(NOW - 500, buffer_bytes=150 * TB)
    sample(NOW - 10, buffer_bytes=1 * TB)
    sample(NOW - 1200, interval_s=60, buffer_bytes=1 * TB)
    with store.read() as connection:
        forecast = read_fill_forecast(connection, fill(120 * TB), NOW)
    assert forecast.bytes_per_s == pytest.approx(20 * TB / 1000)
    assert forecast.to_high_water_s == pytest.approx((180 - 120) / 20 * 1000)


@pytest.mark.parametrize(("before", "now", "capacity"), [(100, 90, 200), (100, 190, 200), (100, 110, None)])
def test_a_buffer_that_empties_or_is_too_full_or_of_unknown_size_has_no_forecast(
    store: Any, sample: Any, before: int, now: int, capacity: int | None
) -> None:
    sample(NOW - 1000, buffer_bytes=before * TB)
    with store.read() as connection:
        forecast = read_fill_forecast(connection, fill(now * TB, capacity and capacity * TB), NOW)
    assert forecast.bytes_per_s == pytest.approx((now - before) * TB / 1000)
    assert forecast.to_high_water_s is None


def test_a_service_that_has_just_started_does_not_guess(store: Any, sample: Any) -> None:
    sample(NOW - 20, buffer_bytes=TB)
    with store.read() as connection:
        forecast = read_fill_forecast(connection, fill(2 * TB), NOW)
    assert (forecast.bytes_per_s, forecast.to_high_water_s) == (None, None)
