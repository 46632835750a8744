"""What is thought of a probe: how long its hops took, what is usual, and whether its numbers are the expected ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.probe.hops import DONE, HOPS, SENT
from campaign.probe.verdict import EXIT_CODES, Outcome, differences, durations, slowest, usual


def test_every_hop_follows_one_that_comes_before_it() -> None:
    seen = {SENT}
    for hop in HOPS:
        assert hop.after in seen
        seen.add(hop.key)
    assert DONE in seen


def test_numbers_within_the_tolerance_are_the_same() -> None:
    assert differences({"charge_e": 1000.9}, {"charge_e": 1000.0}, 0.001) == []


def test_numbers_that_differ_are_named_with_what_was_expected() -> None:
    found = {"charge_e": 1100.0, "hits": 5.0, "new": 1.0}
    words = differences(found, {"charge_e": 1000.0, "hits": 0.0, "gone": 2.0}, 0.001)
    assert words == ["charge_e is 1100 instead of 1000 (+10.00%)", "gone is missing", "hits is 5 instead of 0", "new is new"]


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(allow_nan=False, allow_infinity=False)))
def test_the_same_numbers_never_differ(numbers: dict[str, float]) -> None:
    assert differences(numbers, numbers, 0.0) == []


def test_a_hop_is_timed_from_the_one_it_follows() -> None:
    hops = {"found": 102.0, "verified": 103.0, "declared": 110.0, "taken_in": 103.5}
    assert durations(hops, 100.0) == {"found": 2.0, "verified": 1.0, "declared": 7.0, "taken_in": 0.5}


def test_a_hop_nobody_told_of_is_passed_over() -> None:
    assert durations({"submitted": 105.0, "nf_sp": 120.0}, 100.0) == {"submitted": 5.0, "nf_sp": 15.0}


def test_clocks_that_differ_make_no_hop_shorter_than_nothing() -> None:
    assert durations({"found": 99.5}, 100.0) == {"found": 0.0}


def test_percentiles_are_those_of_the_probes_that_passed_the_hop() -> None:
    habits = usual([{"found": float(seconds)} for seconds in range(1, 101)] + [{"verified": 3.0}])
    assert (habits["found"].n, habits["found"].p50, habits["found"].p95, habits["found"].longest) == (100, 50.0, 95.0, 100.0)
    assert habits["verified"].n == 1
    assert "declared" not in habits


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_percentiles_are_ordered(seconds: list[float]) -> None:
    habit = usual([{"found": value} for value in seconds])["found"]
    assert min(seconds) <= habit.p50 <= habit.p95 <= habit.longest == max(seconds)


def test_the_hop_that_took_unusually_long_is_named() -> None:
    habits = usual([{"found": 1.0, "submitted": 10.0}] * 5)
    assert slowest({"found": 1.1, "submitted": 90.0}, habits) == "slowest: taken by the batch system, after 90.0 s (usually 10.0 s)"
    assert slowest({"found": 1.1, "submitted": 11.0}, habits) is None
    assert slowest({"found": 1.0}, {}) is None


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_a_good_outcome_ends_with_code_0(outcome: Outcome) -> None:
    assert (EXIT_CODES[outcome] == 0) == (outcome is Outcome.OK)
    assert outcome.sentence
