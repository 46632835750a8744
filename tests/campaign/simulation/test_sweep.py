"""Many simulations: sweeps, and the search for what is just enough."""

from __future__ import annotations

import pytest

from campaign.simulation.parameters import Parameters
from campaign.simulation.prediction import predict
from campaign.simulation.report import answer_in_words
from campaign.simulation.resources import attempts_per_file, resources
from campaign.simulation.sweep import find, parse_axis, sweep
from dune_prompt.errors import ConfigError

# 0.25 files/s of 120 s: 30 slots are busy.
BASE = Parameters.model_validate(
    {
        "streams": [{"rate": "1GB/s", "file_size": "4GB", "job_time": "120s", "lifetime": "10min"}],
        "duration": "4h",
        "slots": {"min": 1, "max": 40},
        "launchers": [{"latency": "0s", "submit": "0s", "poll_every": "0s"}],
        "engine": {"interval": "1s", "intake": "0s", "declare": "0s"},
    }
)


def test_a_range_is_read_with_its_unit() -> None:
    assert parse_axis("rate=1GB/s:2GB/s:0.5GB/s").values == ("1GB/s", "1.5GB/s", "2GB/s")
    assert parse_axis("slots.max=100:900:400").values == ("100", "500", "900")
    assert parse_axis("lifetime=1h,2d").values == ("1h", "2d")
    assert parse_axis("lifetime=1h,2d").numbers == (1, 2)


@pytest.mark.parametrize(
    "text", ["slots.max", "slots.max=", "speed=1:2:1", "rate=1GB/s:2MB/s:1GB/s", "rate=1:2", "rate=2GB/s:1GB/s:1GB/s", "rate=1:9999:1"]
)
def test_a_range_written_wrongly_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_axis(text)


def test_a_sweep_tries_every_combination_and_more_slots_are_better() -> None:
    axes = [parse_axis("slots.max=20,30,40"), parse_axis("rate=1GB/s:1.5GB/s:0.5GB/s")]
    points = list(sweep(BASE, axes))
    assert [tuple(point.values.values()) for point in points] == [
        (slots, rate) for slots in ("20", "30", "40") for rate in ("1GB/s", "1.5GB/s")
    ]
    prompt = [point.outcome.fraction_prompt for point in points]
    assert prompt[0] <= prompt[2] <= prompt[4] == 1.0
    assert prompt[1] <= prompt[3] <= prompt[5] < 1.0
    assert points[0].row()["slots.max"] == "20"


def test_a_sweep_in_several_processes_gives_the_same() -> None:
    axes = [parse_axis("slots.max=28,33")]
    assert list(sweep(BASE, axes, workers=2)) == list(sweep(BASE, axes))


def test_a_sweep_is_over_one_or_two_parameters_that_exist() -> None:
    one = parse_axis("slots.max=1,2")
    for axes in ([], [one, one], [one, parse_axis("seed=1,2"), parse_axis("retries=1,2")]):
        with pytest.raises(ConfigError):
            sweep(BASE, axes)
    with pytest.raises(ConfigError, match=r"slots"):
        sweep(BASE, [parse_axis("slots.max=zero")])


def test_the_slots_found_are_enough_and_one_less_is_not() -> None:
    answer = find(BASE, "slots", 0.99)
    assert answer.value == pytest.approx(30, abs=1)
    tried = dict(answer.tried)
    assert answer.value is not None
    assert tried[answer.value]
    assert not tried[answer.value - 1]
    words = answer_in_words(answer, BASE)
    assert f"{answer.value:.0f} slots (slots.max) are needed for 99.00 % prompt" in words
    assert "1 GB/s" in words


def test_the_rate_found_is_what_the_slots_carry() -> None:
    answer = find(BASE, "rate", 0.99)
    assert answer.value == pytest.approx(40 / 120 * 4e9, rel=0.04)
    assert "40 slots" in answer_in_words(answer, BASE)


def test_the_pool_found_is_enough() -> None:
    answer = find(BASE, "launcher-slots", 0.99)
    assert answer.value == pytest.approx(30, abs=1)


def test_when_slots_do_not_help_it_says_so() -> None:
    hopeless = Parameters.model_validate(BASE.model_dump(mode="json") | {"outages": [{"what": "batch", "begin": "1h", "end": "3h"}]})
    answer = find(hopeless, "slots", 0.99)
    assert answer.value is None
    assert "slots are not what is missing" in answer_in_words(answer, hopeless)
    with pytest.raises(ConfigError):
        find(BASE, "luck", 0.99)


def test_resources_agree_with_the_simulation() -> None:
    (needed,) = resources(BASE)
    assert needed.running == pytest.approx(30)
    assert needed.core_hours_per_day == pytest.approx(30 * 24)
    assert needed.read_bytes_per_s == pytest.approx(1e9)
    assert needed.buffer_bytes == pytest.approx(600e9)
    assert needed.slots_max == pytest.approx(1.25 * needed.slots, abs=1)
    point = next(iter(sweep(BASE, [parse_axis("duration=20h")])))
    assert point.outcome.slots_mean == pytest.approx(needed.running, rel=0.02)


def test_retries_are_paid_for() -> None:
    failing = Parameters.model_validate({"streams": [{"rate": "1GB/s", "failures": {"lost": 0.1, "payload": 0.1, "data": 0.05}}]})
    assert attempts_per_file(failing.streams[0]) == pytest.approx(1.25)
    (needed,) = resources(failing)
    assert needed.read_bytes_per_s == pytest.approx(1.25e9)


def test_a_prediction_is_the_same_each_time_it_is_made() -> None:
    prediction = predict(BASE)
    assert prediction == predict(BASE)
    assert prediction.files == prediction.processed == 3600
    assert prediction.makespan_s == pytest.approx(4 * 3600 + 116, abs=5)
    assert set(prediction.to_json()) >= {"makespan_s", "backlog_peak", "fraction_prompt"}
