"""Which files have event displays, and how fine these are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.errors import ConfigError
from stages.displays import BYTES_PER_EXTREME, BYTES_PER_TICK, KINDS_OF_NOISE, MAX_PICTURE_BYTES, MIN_TIME_PIXELS, Displays
from stages.stage import Payload


def payload(**stages: Any) -> Payload:
    return Payload("pdhd-prompt", "v1", "pdhd", "0" * 64, "0.1", {}, stages)


def test_the_setting_of_the_campaign_is_taken() -> None:
    displays = Displays.of(payload(evaluate={"displays": {"every": 50, "records": 2, "budget": 3_000_000}}))
    assert displays == Displays(every=50, records=2, budget_bytes=3_000_000)


@pytest.mark.parametrize("stages", [{}, {"evaluate": {}}])
def test_a_run_by_hand_has_displays_of_every_file(stages: dict[str, Any]) -> None:
    displays = Displays.of(payload(**stages))
    assert [displays.records_of(index) for index in (0, 1, 7, None)] == [1, 1, 1, 1]


def test_every_twentieth_file_has_displays_and_so_has_one_without_index() -> None:
    displays = Displays(every=20, records=2)
    assert [index for index in range(61) if displays.records_of(index)] == [0, 20, 40, 60]
    assert displays.records_of(40) == 2
    assert displays.records_of(None) == 2


def test_no_file_has_displays_when_they_are_switched_off() -> None:
    assert [Displays(every=0).records_of(index) for index in (0, 1, None)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"every": -1}, "every"),
        ({"every": True}, "every"),
        ({"records": 0}, "records"),
        ({"records": 6}, "records"),
        ({"budget": 0}, "budget"),
        ({"budget": "8MB"}, "budget"),
        ({"budget": None}, "budget"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(change: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"stages\.evaluate\.displays\.{name} .*a whole number, at least"):
        Displays.of(payload(evaluate={"displays": {"every": 20, "records": 1, "budget": 8_000_000} | change}))


def test_a_setting_that_is_no_mapping_is_named() -> None:
    with pytest.raises(ConfigError, match="expected every, records and budget"):
        Displays.of(payload(evaluate={"displays": 20}))


def test_a_record_of_one_apa_shows_every_tick_and_one_of_four_a_sixth() -> None:
    assert Displays().ticks_per_pixel(2560, 960, 5859) == 1
    assert Displays().ticks_per_pixel(4 * 2560, 960, 5859) == 6


@given(
    budget=st.integers(100_000, 80_000_000),
    records=st.integers(1, 5),
    elements=st.integers(1, 4),
    n_ticks=st.integers(1, 30_000),
)
def test_the_displays_of_a_file_fit_into_its_budget_unless_they_would_be_of_no_use(
    budget: int, records: int, elements: int, n_ticks: int
) -> None:
    shared = Displays(1, records, budget).ticks_per_pixel(elements * 2560, 960, n_ticks)
    assert 1 <= shared <= max(1, n_ticks // MIN_TIME_PIXELS)
    pixels = n_ticks / shared
    if shared < n_ticks // MIN_TIME_PIXELS:
        bytes_per_channel = pixels * (BYTES_PER_TICK if shared == 1 else BYTES_PER_EXTREME)
        assert records * KINDS_OF_NOISE * elements * 2560 * bytes_per_channel <= budget * (1 + 1e-9)
        assert 960 * bytes_per_channel <= MAX_PICTURE_BYTES * (1 + 1e-9)
