"""Times as people write them."""

from __future__ import annotations

import pytest

from dune_prompt.settings.units import parse_moment

NOW = 1_718_795_400.0  # 2024-06-19 11:10:00 UTC


@pytest.mark.parametrize(
    ("text", "past", "after_now_s"),
    [
        ("2h", False, 7200),
        ("2h", True, -7200),
        ("2024-06-19T11:20", False, 600),
        ("2024-06-19T13:20+02:00", False, 600),
        ("2024-06-19", True, -40_200),
    ],
)
def test_a_moment_is_a_duration_from_now_or_a_date_of_utc(text: str, past: bool, after_now_s: float) -> None:
    assert parse_moment(text, NOW, past=past) == NOW + after_now_s


@pytest.mark.parametrize("text", ["0s", "2024-06-19T11:10", "2020-01-01"])
def test_one_that_is_to_come_must_not_be_over(text: str) -> None:
    with pytest.raises(ValueError, match="is over"):
        parse_moment(text, NOW)


@pytest.mark.parametrize("past", [False, True])
def test_anything_else_is_refused_with_both_forms(past: bool) -> None:
    with pytest.raises(ValueError, match="'soon' is neither a duration such as 8h nor a date such as 2026-11-26T08:00"):
        parse_moment("soon", NOW, past=past)
