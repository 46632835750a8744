"""Numbers as people read them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.states import TaskState
from dashboard import words
from dashboard.rendering import data


def plain(text: str) -> str:
    return text.replace(words.THIN, " ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3599.7, "1 h"),
        (11_520, "3 h 12 min"),
        (90_000, "1 d 1 h"),
        (-75, "−1 min 15 s"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert plain(words.duration(seconds)) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(None, "–"), (0, "0 %"), (1, "100 %"), (0.99999, "99.9 %"), (0.0004, "< 0.1 %"), (0.29, "29.0 %"), (0.5714, "57.1 %")],
)
def test_only_the_whole_is_a_hundred_percent(fraction: float | None, text: str) -> None:
    assert plain(words.percent(fraction)) == text


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_percent_never_rounds_up(done: int, more: int) -> None:
    text = plain(words.percent(done / (done + more)))
    assert text != "100 %"
    assert text != "0 %"
    assert float(text.removeprefix("< ").removesuffix(" %")) <= max(100 * done / (done + more) + 1e-6, 0.1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (4.21e9, "4.21 GB"), (999_600, "1.00 MB"), (2e14, "200 TB"), (3e18, "3000 PB")],
)
def test_sizes(value: float | None, text: str) -> None:
    assert plain(words.size(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (14.26, "14.3"),
        (9401.0, "9401"),
        (183_200_000, "183 M"),
        (0.00234, "0.00234"),
        (-12_345, "-12.3 k"),
        (2.5e9, "2.50 G"),
    ],
)
def test_measured_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert plain(words.number(value)) == text


@given(st.floats(-1e12, 1e12, allow_nan=False))
def test_every_number_and_span_can_be_told(value: float) -> None:
    for tell in (words.number, words.duration, words.size, words.count, words.plain):
        assert tell(value)


def test_every_state_has_a_sign_of_its_own_word() -> None:
    assert words.SIGNS.keys() == {state.value for state in TaskState}
    assert {sign.kind for sign in words.SIGNS.values()} == {"wait", "work", "done", "parked", "waived"}


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists))
def test_data_in_a_page_cannot_end_its_element(value: object) -> None:
    text = str(data({"value": value, "evil": "</script><!--"}))
    assert not re.search(r"[<>&]", text)
    assert json.loads(text) == {"value": value, "evil": "</script><!--"}
