"""The simulation against what can be computed by hand, and what must hold whatever the parameters are."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign import deadlines, retries, slots
from campaign.simulation import run
from campaign.simulation.files import ENDS, State
from campaign.simulation.outcome import Outcome
from campaign.simulation.parameters import Parameters
from campaign.simulation.run import Simulation, simulate

# Nothing takes time but the jobs.
AT_ONCE = {"latency": "0s", "submit": "0s", "poll_every": "0s"}
SWIFT = {"interval": "1s", "intake": "0s", "declare": "0s"}


def parameters(stream: dict[str, Any], **more: Any) -> Parameters:
    content = {
        "streams": [{"files_per_s": 0.1, "file_size": "1GB", "job_time": "100s", "failures": {}} | stream],
        "duration": "2h",
        "slots": {"min": 1, "max": 20},
        "launchers": [AT_ONCE],
        "engine": SWIFT,
    }
    return Parameters.model_validate(content | more)


def total(outcome: Outcome) -> int:
    return outcome.processed + outcome.parked + outcome.given_up + outcome.overflowed + outcome.open


def test_with_slots_to_spare_every_file_is_done_a_job_after_it_came() -> None:
    outcome = simulate(parameters({}))
    assert outcome.files == outcome.processed == outcome.prompt == 720
    assert outcome.latency is not None
    assert outcome.latency.p50 == pytest.approx(100, abs=1.1)
    assert outcome.latency.longest <= 102
    assert outcome.slots_peak <= 12
    assert outcome.core_hours == pytest.approx(720 * 100 / 3600)


def test_one_server_at_random_arrivals_waits_as_the_theory_of_queues_says() -> None:
    """M/D/1: the mean wait is ρD / 2(1 − ρ), Pollaczek and Khinchine."""
    service, load = 100.0, 0.7
    stream = {"files_per_s": load / service, "arrive": "at_random", "job_time": f"{service}s", "lifetime": "10w"}
    one = parameters(stream, duration="200d", slots={"min": 1, "max": 1}, patience="10d")
    simulation = Simulation(one)
    outcome = simulation.run()
    wait = fmean(simulation.record.latencies) - service
    # A step is made on the second after: half a second for the arrival on average.
    assert wait == pytest.approx(load * service / (2 * (1 - load)) + 0.5, rel=0.05)
    assert outcome.slots_mean == pytest.approx(load, rel=0.03)


@pytest.mark.parametrize(("begin_min", "end_min"), [(30, 60), (60, 75)])
def test_an_outage_moves_the_backlog_to_what_comes_in_it(begin_min: int, end_min: int) -> None:
    """0.1 files/s come. Nothing starts in the outage: all that comes in that time waits."""
    outage = {"what": "batch", "begin": f"{begin_min}min", "end": f"{end_min}min"}
    without_s = 60 * (end_min - begin_min)
    outcome = simulate(parameters({}, slots={"min": 1, "max": 12}, outages=[outage], duration="4h"))
    assert outcome.backlog_peak == pytest.approx(0.1 * without_s, abs=2)
    assert outcome.backlog_peak_at == pytest.approx(60 * end_min, abs=11)
    assert outcome.processed == outcome.files


def test_after_an_outage_the_backlog_drains_at_the_surplus() -> None:
    """10 slots of 100 s carry 0.1 files/s. 120 files come when the door is shut: the last one ends 1200 s after jobs start again."""
    burst = {"files_per_s": 0, "bursts": {"files": 120, "every": "1d", "first": "10s"}}
    outage = {"what": "batch", "begin": "5s", "end": "30min"}
    outcome = simulate(parameters(burst, slots={"min": 10, "max": 10}, outages=[outage]))
    assert outcome.backlog_peak == 120
    assert outcome.makespan_s == pytest.approx(1800 - 10 + 1200, abs=15)


@pytest.mark.parametrize(("jobs", "attempts", "ends"), [("go_on", 10, 600), ("restarted", 10, 1400), ("lost", 20, 1400)])
def test_jobs_go_on_or_begin_again_or_are_lost_in_an_outage(jobs: str, attempts: int, ends: float) -> None:
    burst = {"files_per_s": 0, "bursts": {"files": 10, "every": "1d"}, "job_time": "600s"}
    outage = {"what": "batch", "begin": "300s", "end": "800s", "jobs": jobs}
    launcher = AT_ONCE | {"reports_pushed": True}
    outcome = simulate(parameters(burst, launchers=[launcher], slots={"min": 10, "max": 10}, outages=[outage]))
    assert outcome.attempts == attempts
    assert outcome.makespan_s == pytest.approx(ends, abs=15)
    assert outcome.failures == ({"lost": 10} if jobs == "lost" else {})


def test_without_reports_the_end_of_a_job_is_seen_after_the_outage() -> None:
    burst = {"files_per_s": 0, "bursts": {"files": 10, "every": "1d"}, "job_time": "600s"}
    outage = {"what": "batch", "begin": "300s", "end": "800s"}
    outcome = simulate(parameters(burst, launchers=[AT_ONCE | {"reports_pushed": False}], slots={"min": 10, "max": 10}, outages=[outage]))
    assert outcome.makespan_s == pytest.approx(800, abs=2)


def test_the_next_launcher_takes_over_and_hands_back() -> None:
    launchers = [AT_ONCE | {"name": "first", "out_after": 1}, AT_ONCE | {"name": "second"}]
    outage = {"what": "first", "begin": "30min", "end": "60min"}
    simulation = Simulation(parameters({}, launchers=launchers, outages=[outage]))
    outcome = simulation.run()
    first, second = simulation.batches
    assert second.busy_slot_s == pytest.approx(0.1 * 1800 * 100, rel=0.03)
    assert first.busy_slot_s + second.busy_slot_s == pytest.approx(outcome.files * 100, rel=0.01)
    assert outcome.backlog_peak <= 2


def test_an_outage_of_the_catalogue_holds_results_up_and_no_slot_is_idle() -> None:
    outage = {"what": "catalogue", "begin": "30min", "end": "60min"}
    outcome = simulate(parameters({}, outages=[outage]))
    assert outcome.backlog_peak <= 1
    assert outcome.latency is not None
    assert outcome.latency.longest == pytest.approx(1800 + 100, abs=15)
    assert max(sample.reported for sample in outcome.samples) == pytest.approx(180, abs=3)


def test_what_waited_for_the_catalogue_is_declared_no_faster_than_allowed() -> None:
    outage = {"what": "catalogue", "begin": "30min", "end": "60min"}
    outcome = simulate(parameters({}, outages=[outage], engine=SWIFT | {"declares_per_s": 0.2}))
    late = [sample for sample in outcome.samples if 3600 <= sample.at <= 5000]
    for earlier, later in itertools.pairwise(late):
        assert later.processed - earlier.processed <= 0.2 * (later.at - earlier.at) + 2
    assert outcome.processed == outcome.files


TWO_STREAMS = [
    {"name": "patient", "files_per_s": 0.06, "file_size": "1GB", "job_time": "100s", "lifetime": "5h"},
    {"name": "urgent", "files_per_s": 0.02, "file_size": "1GB", "job_time": "100s", "lifetime": "10min"},
]


def test_the_earliest_deadline_first_beats_first_come_first_served(monkeypatch: pytest.MonkeyPatch) -> None:
    both = parameters({}, streams=TWO_STREAMS, slots={"min": 1, "max": 7})
    by_deadline = simulate(both)
    monkeypatch.setattr(deadlines, "queue_key", lambda late, _deadline, task_id: (late, 0.0, task_id))
    first_come = simulate(both)
    assert first_come.files == by_deadline.files
    assert by_deadline.fraction_prompt > 0.99
    assert first_come.fraction_prompt < 0.95


def test_a_policy_can_be_tried_before_it_is_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as much comes as can be done: half of it can be prompt, if nothing is begun that cannot end in time."""
    monkeypatch.setattr(deadlines, "is_late", lambda deadline, now, *_: deadline < now + 125)
    outcome = simulate(parameters({"files_per_s": 0.2, "lifetime": "10min"}, duration="6h", slots={"min": 10, "max": 10}))
    assert outcome.fraction_prompt == pytest.approx(0.5, abs=0.05)
    assert outcome.late == outcome.files - outcome.prompt


@pytest.mark.parametrize(("module", "name"), [(slots, "decide"), (deadlines, "deadline_of"), (deadlines, "queue_key"), (retries, "decide")])
def test_the_engines_own_policies_are_asked(module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy: Callable[..., Any] = getattr(module, name)
    calls = []

    def watched(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return policy(*args, **kwargs)

    monkeypatch.setattr(module, name, watched)
    outcome = simulate(parameters({"failures": {"payload": 0.1}}, duration="10min"))
    assert outcome.failures["payload"] > 0
    assert len(calls) >= 5


def test_another_slot_policy_gives_another_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "decide", lambda _inputs, _settings, _before=None: slots.SlotDecision(2, "because"))
    assert simulate(parameters({})).slots_peak == 2


def test_the_same_seed_gives_the_same_answer_and_another_another() -> None:
    noisy = {"arrive": "at_random", "job_time": {"median": "100s", "sigma": 0.5}, "failures": {"payload": 0.05, "lost": 0.05}}
    first = simulate(parameters(noisy, seed=1))
    assert simulate(parameters(noisy, seed=1)) == first
    assert simulate(parameters(noisy, seed=2)) != first


def test_failures_are_retried_by_their_policies_and_end_parked() -> None:
    always = simulate(parameters({"failures": {"payload": 1.0}, "retries": 2}, duration="10min"))
    assert always.parked == always.files == 60
    assert always.attempts == always.failures["payload"] == 3 * 60
    bad_data = simulate(parameters({"failures": {"data": 1.0}}, duration="10min"))
    assert bad_data.parked == bad_data.attempts == 60
    lost = simulate(parameters({"failures": {"lost": 0.5}, "retries": 0}))
    assert lost.processed == lost.files
    assert lost.attempts == pytest.approx(2 * lost.files, rel=0.15)


def test_a_limit_of_time_is_raised_until_the_job_ends_within_it() -> None:
    outcome = simulate(parameters({"job_time": "300s", "time_limit": "100s"}, duration="10min"))
    assert outcome.failures == {"time_limit": 2 * 60}  # 100 s, 200 s, then 400 s are enough
    assert outcome.processed == 60


def test_files_leave_a_buffer_when_they_are_processed_and_old_enough() -> None:
    outcome = simulate(parameters({"lifetime": "20min"}, duration="5h"))
    # 0.1 GB/s for 20 minutes.
    assert outcome.occupancy_peak_bytes == pytest.approx(0.1e9 * 1200, rel=0.03)


def test_under_pressure_processed_files_leave_early() -> None:
    buffer = {"capacity": "100GB", "high_water": "90%", "low_water": "80%"}
    outcome = simulate(parameters({"lifetime": "1d", "min_age": "5min"}, duration="5h", buffer=buffer))
    assert 85e9 <= outcome.occupancy_peak_bytes <= 93e9
    assert outcome.overflowed == 0
    assert outcome.processed == outcome.files


def test_a_full_buffer_takes_no_more_files() -> None:
    """Nothing leaves while nothing is processed: 100 files fit."""
    outage = {"what": "batch", "begin": "0s", "end": "2h"}
    outcome = simulate(parameters({"lifetime": "1d"}, buffer={"capacity": "100GB"}, outages=[outage]))
    assert outcome.overflowed == outcome.files - 100
    assert outcome.processed == 100


def test_streams_that_may_be_sacrificed_are_given_up_unprocessed() -> None:
    outage = {"what": "batch", "begin": "0s", "end": "2h"}
    stream = {"lifetime": "1d", "min_age": "1min", "sacrifice": True}
    outcome = simulate(parameters(stream, buffer={"capacity": "100GB"}, outages=[outage]))
    assert outcome.overflowed == 0
    assert outcome.given_up == outcome.files - outcome.processed > 600


def test_files_nobody_requires_leave_when_their_time_is_over() -> None:
    outage = {"what": "batch", "begin": "0s", "end": "2h"}
    outcome = simulate(parameters({"lifetime": "30min", "required": False}, outages=[outage]))
    assert outcome.given_up == pytest.approx(0.1 * 5400, abs=20)
    assert outcome.occupancy_peak_bytes <= 185e9


def test_spills_and_runs_lay_the_same_files_onto_the_clock() -> None:
    stream = {"spills": {"every": "60s", "length": "20s"}, "runs": {"length": "10min", "pause": "5min"}}
    outcome = simulate(parameters(stream, duration="1h"))
    assert outcome.files == pytest.approx(0.1 * 3600 / 3 / 1.5, abs=2)
    assert [run for run, _, _ in outcome.runs] == [1, 2, 3, 4]
    assert sum(files for _, files, _ in outcome.runs) == outcome.files


def test_jobs_start_at_the_next_negotiation_and_no_faster_than_the_queue_can() -> None:
    burst = {"files_per_s": 0, "bursts": {"files": 30, "every": "1d", "first": "5s"}}
    at_cycles = simulate(parameters(burst, launchers=[AT_ONCE | {"cycle": "60s"}], slots={"min": 30, "max": 30}))
    assert at_cycles.makespan_s == pytest.approx(55 + 100, abs=1.1)
    one_by_one = simulate(parameters(burst, launchers=[AT_ONCE | {"starts_per_s": 0.5}], slots={"min": 30, "max": 30}))
    assert one_by_one.makespan_s == pytest.approx(29 / 0.5 + 100, abs=1.1)


def test_slow_submissions_one_file_each_fall_behind_and_gathered_ones_do_not() -> None:
    slow = AT_ONCE | {"submit": "15s"}
    gathered, one_by_one = (simulate(parameters({}, launchers=[slow | {"gather": gather}])) for gather in (True, False))
    assert gathered.latency is not None
    assert gathered.latency.longest < 135
    assert one_by_one.latency is not None
    assert one_by_one.latency.longest > 1000


def test_a_smaller_pool_than_slots_asked_for_keeps_the_rest_waiting_in_it() -> None:
    burst = {"files_per_s": 0, "bursts": {"files": 40, "every": "1d"}}
    outcome = simulate(parameters(burst, launchers=[AT_ONCE | {"slots": 4}], slots={"min": 20, "max": 20}))
    assert outcome.slots_peak == 4
    assert outcome.makespan_s == pytest.approx(10 * 100, abs=12)
    assert outcome.backlog_peak == 20


shares = st.sampled_from([0.0, 0.02, 0.3])
anything = st.fixed_dictionaries(
    {
        "files_per_s": st.sampled_from([0.01, 0.1, 0.4]),
        "arrive": st.sampled_from(["evenly", "at_random"]),
        "lifetime": st.sampled_from(["3min", "1h"]),
        "min_age": st.sampled_from(["0s", "2min"]),
        "required": st.booleans(),
        "sacrifice": st.booleans(),
        "leaves": st.booleans(),
        "retries": st.integers(0, 2),
        "job_time": st.sampled_from(["0s", "30s", {"median": "60s", "sigma": 0.5}, {"kind": "exponential", "mean": "80s"}]),
        "time_limit": st.sampled_from(["50s", "10min"]),
        "failures": st.fixed_dictionaries({"payload": shares, "lost": shares, "data": shares, "memory": st.just(0.01)}),
    }
)
places = st.fixed_dictionaries(
    {
        "slots": st.sampled_from([{"min": 0, "max": 1}, {"min": 1, "max": 8, "backlog_goal": 4}, {"min": 5, "max": 60, "hold": "1min"}]),
        "seed": st.integers(0, 5),
        "buffer": st.sampled_from([{}, {"capacity": "3GB"}, {"capacity": "40GB", "high_water": "60%", "low_water": "30%"}]),
        "engine": st.sampled_from(
            [SWIFT, {"interval": "0.3s", "intake": "2.5s", "declare": "7s", "declares_per_s": 1}, {"interval": "13s"}]
        ),
        "launchers": st.lists(
            st.sampled_from(
                [
                    AT_ONCE,
                    {"latency": {"kind": "exponential", "mean": "20s"}, "cycle": "30s", "slots": 3, "slice": 2, "out_after": 1},
                    {"starts_per_s": 0.2, "poll_every": "30s", "silent_after": "1min", "latency": "5s", "reports_pushed": False},
                    {"reports_pushed": True, "submit": "20s"},
                ]
            ),
            min_size=1,
            max_size=2,
        ).map(lambda items: [item | {"name": f"batch-{i}"} for i, item in enumerate(items)]),
        "outages": st.lists(
            st.builds(
                lambda what, begin, length, jobs: {"what": what, "begin": f"{begin}s", "end": f"{begin + length}s", "jobs": jobs},
                st.sampled_from(["batch-0", "catalogue"]),
                st.integers(0, 1500),
                st.integers(1, 900),
                st.sampled_from(["go_on", "lost", "restarted"]),
            ),
            max_size=2,
        ),
    }
)


@settings(max_examples=150)
@given(anything, places)
def test_every_file_comes_to_exactly_one_end(stream: dict[str, Any], rest: dict[str, Any]) -> None:
    simulation = Simulation(parameters(stream, duration="20min", **rest))
    outcome = simulation.run()
    assert total(outcome) == outcome.files
    assert outcome.prompt + outcome.late == outcome.processed
    assert sum(files for _, files, _ in outcome.runs) == outcome.files
    assert outcome.occupancy_peak_bytes >= 0
    capacity = simulation.parameters.buffer.capacity
    assert capacity is None or outcome.occupancy_peak_bytes <= capacity
    assert outcome.attempts >= outcome.processed
    last = outcome.samples[-1]
    assert last.arrived == outcome.files
    if not outcome.open:
        assert last.backlog == last.in_flight == last.reported == 0
        assert simulation.buffer.unprocessed_bytes >= 0
    for sample in outcome.samples:
        assert sample.wanted <= simulation.parameters.slots.max
        assert min(sample.backlog, sample.in_flight, sample.running, sample.occupancy_bytes) >= 0
    earlier_later = itertools.pairwise(outcome.samples)
    assert all(earlier.processed <= later.processed and earlier.at <= later.at for earlier, later in earlier_later)


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 10), st.sampled_from([0.02, 0.1, 0.3]), st.integers(0, 3))
def test_more_slots_are_never_worse(slots_max: int, more: int, rate: float, seed: int) -> None:
    stream = {"files_per_s": rate, "arrive": "at_random", "lifetime": "10min", "job_time": "60s"}
    few, many = (
        simulate(parameters(stream, duration="30min", slots={"min": number, "max": number}, seed=seed))
        for number in (slots_max, slots_max + more)
    )
    assert many.prompt >= few.prompt
    assert many.makespan_s <= few.makespan_s + 1
    assert many.backlog_peak <= few.backlog_peak


def test_each_end_has_its_sentence() -> None:
    assert all(state.value for state in State)
    assert {state.name for state in ENDS} == {"PROCESSED", "PARKED", "GIVEN_UP", "OVERFLOWED", "OPEN"}


def test_a_hopeless_simulation_ends_early() -> None:
    slow = parameters({"files_per_s": 1.0, "lifetime": "5min"}, slots={"min": 1, "max": 2})
    early = Simulation(slow, bad_files_at_most=100).run()
    assert early.simulated_s < 1000 < simulate(slow).simulated_s


def test_the_simulation_measures_what_the_engine_measures() -> None:
    engine = pytest.importorskip("campaign.engine", exc_type=ImportError)
    assert run.DEADLINES_EVERY_S == engine.DEADLINES_EVERY_S
    assert (run.WINDOW_S, run.JOBS) == (engine.measures.WINDOW_S, engine.measures.JOBS)
