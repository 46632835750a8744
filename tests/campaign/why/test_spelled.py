from __future__ import annotations

import pytest

from campaign.why.spelled import count, listed, moment, relative, size, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (11_520, "3 h 12 min"), (90_000, "1 d 1 h")],
)
def test_spans_have_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_times_are_utc_and_tell_how_far_they_are() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"
    assert relative(60, 0) == "1970-01-01T00:01:00Z (in 1 min)"
    assert relative(0, 60) == "1970-01-01T00:00:00Z (1 min ago)"


def test_numbers_and_lists() -> None:
    assert [size(n) for n in (999, 4_210_000_000)] == ["999 B", "4.21 GB"]
    assert [count(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [listed(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"
