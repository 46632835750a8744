"""Parameters as people write them, and the distributions in them."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from campaign.simulation.arrivals import arrivals
from campaign.simulation.distributions import Choices, Distribution, empirical, unit
from campaign.simulation.parameters import Parameters, StreamParameters, as_yaml, changed, load_parameters
from campaign.simulation.quantities import parse_rate, rate_text
from dune_prompt.errors import ConfigError

FILE = """
streams:
  - {name: physics, rate: 3GB/s, file_size: 4GB, lifetime: 24h, job_time: {median: 800s, sigma: 0.3}, failures: {payload: 1%}}
  - {name: calibration, files_per_s: 0.05, job_time: 120s, spills: {every: 60s, length: 30s}, runs: {length: 2h, pause: 10min}}
duration: 2d
slots: {min: 1, max: 700, drain_within: 20min}
launchers: [{name: jobsub, latency: {kind: exponential, mean: 5min}, slots: 500}]
buffer: {capacity: 200TB}
outages: [{what: jobsub, begin: 6h, end: 9h, jobs: lost}]
"""
distribution: TypeAdapter[Any] = TypeAdapter(Distribution)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "what-if.yaml"
    path.write_text(FILE)
    return path


def test_a_parameters_file_is_read_and_written_back_the_same(written: Path, tmp_path: Path) -> None:
    parameters = load_parameters(written)
    assert parameters.streams[0].files_hz == pytest.approx(0.75)
    assert parameters.slots.drain_within == 1200
    again = tmp_path / "again.yaml"
    again.write_text(as_yaml(parameters))
    assert load_parameters(again) == parameters


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("rate: 3GB/s", "rat: 3GB/s"),
        ("payload: 1%", "gremlins: 1%"),
        ("what: jobsub", "what: condor"),
        ("begin: 6h", "begin: 10h"),
        ("length: 30s", "length: 90s"),
        ("files_per_s: 0.05", "files_per_s: 0.05, rate: 1GB/s"),
        ("120s", "{mode: 120s}"),
        ("3GB/s", "3GB"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_line(wrong: str, says: str, written: Path) -> None:
    written.write_text(FILE.replace(wrong, says, 1))
    with pytest.raises(ConfigError, match=r"what-if.yaml:\d+: .*(streams|outages)"):
        load_parameters(written)


def test_parameters_are_set_by_short_and_by_full_keys(written: Path) -> None:
    parameters = load_parameters(written)
    other = changed(parameters, {"rate": "1GB/s", "slots.max": 50, "streams.1.lifetime": "6h", "latency": "30s", "job_time.sigma": 0.1})
    assert other.streams[0].rate == 1e9
    assert other.slots.max == 50
    assert other.streams[1].lifetime == 6 * 3600
    assert other.launchers[0].latency.at(0.5) == 30
    assert other.streams[0].job_time.mean == pytest.approx(800 * 1.005, rel=1e-3)
    assert changed(parameters, {"files_per_s": 2}).streams[0].rate is None
    assert changed(parameters, {}) == parameters


@pytest.mark.parametrize("key", ["speed", "streams.7.rate", "slots.most", "duration.x", "slots.max"])
def test_a_key_that_is_not_there_or_a_value_not_allowed_is_an_error(key: str, written: Path) -> None:
    with pytest.raises(ConfigError):
        changed(load_parameters(written), {key: "0s"})


@given(st.floats(1e3, 1e13))
def test_rates_are_read_as_they_are_written(rate: float) -> None:
    assert parse_rate(rate_text(rate)) == pytest.approx(rate, abs=1, rel=1e-6)


@pytest.mark.parametrize(
    "written_as",
    [
        "12s",
        {"median": "12s", "sigma": 0.5},
        {"kind": "exponential", "mean": "12s"},
        {"kind": "empirical", "quantiles": ["1s", "9s", "80s"]},
    ],
)
def test_the_mean_of_a_distribution_is_that_of_its_numbers(written_as: Any) -> None:
    item = distribution.validate_python(written_as)
    numbers = [item.at((i + 0.5) / 20_000) for i in range(20_000)]
    assert fmean(numbers) == pytest.approx(item.mean, rel=0.01)
    assert numbers == sorted(numbers)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=300))
def test_a_measured_distribution_has_the_median_and_the_ends_of_what_was_measured(values: list[float]) -> None:
    item = empirical(values)
    assert item.at(0.0) == min(values)
    assert item.at(1.0) == pytest.approx(max(values))
    if len(values) % 2 and len(values) <= 101:
        assert item.at(0.5) == pytest.approx(median(values))


def test_random_numbers_depend_on_nothing_but_their_keys_and_are_even() -> None:
    numbers = [unit(7, file, 1) for file in range(20_000)]
    assert numbers == [unit(7, file, 1) for file in range(20_000)]
    assert all(0 <= number < 1 for number in numbers)
    for tenth in range(10):
        assert sum(tenth <= 10 * number < tenth + 1 for number in numbers) == pytest.approx(2000, rel=0.08)
    products = fmean(unit(7, file, 1) * unit(7, file, 2) for file in range(20_000))
    assert products == pytest.approx(0.25, rel=0.02)


def test_classes_of_failure_are_chosen_as_often_as_they_are_probable() -> None:
    choices = Choices({"payload": 0.2, "lost": 0.1})
    chosen = [choices.at((i + 0.5) / 1000) for i in range(1000)]
    assert (chosen.count("payload"), chosen.count("lost"), chosen.count(None)) == (200, 100, 700)


@given(st.sampled_from([0.01, 0.3, 2.0]), st.booleans(), st.booleans(), st.sampled_from(["evenly", "at_random"]))
def test_files_come_in_order_and_as_many_as_the_rate_says(rate: float, spills: bool, runs: bool, arrive: str) -> None:
    content: dict[str, Any] = {"files_per_s": rate, "arrive": arrive}
    if spills:
        content["spills"] = {"every": "40s", "length": "10s"}
    if runs:
        content["runs"] = {"length": "20min", "pause": "10min"}
    stream = StreamParameters.model_validate(content)
    times = [at for at, _, _ in arrivals([stream], 9 * 3600, 1)]
    assert times == sorted(times)
    expected = stream.mean_files_hz * 9 * 3600
    assert len(times) == pytest.approx(expected, abs=2 if arrive == "evenly" else 5 * expected**0.5)
    if spills and not runs:
        assert all(at % 40 < 10 + 1e-6 for at in times)


def test_an_empty_file_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("{}")
    with pytest.raises(ConfigError, match="streams: missing"):
        load_parameters(path)


def test_no_parameters_file_is_needed_for_the_default_of_everything_but_the_rate() -> None:
    assert Parameters.model_validate({"streams": [{"rate": "1GB/s"}]}).streams[0].job_time.mean > 800
