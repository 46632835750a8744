"""Slots, retries and sealing: pure decisions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from campaign.layout import ALL_STAGES, sealed_stages, steps_of
from campaign.retries import POLICIES, decide
from campaign.slots import wanted_slots
from campaign.states import BACKLOG, IN_FLIGHT, TRANSITIONS, AttemptState, TaskState
from dune_prompt.records import StageReport
from dune_prompt.settings.site import SlotSettings

small = st.integers(0, 1000)


@given(small, small, st.integers(1, 50), st.integers(1, 50), st.integers(1, 20))
def test_slots_stay_within_their_limits_and_grow_with_the_backlog(backlog: int, in_flight: int, low: int, high: int, goal: int) -> None:
    settings = SlotSettings(min=min(low, high), max=max(low, high), backlog_goal=goal)
    decision = wanted_slots(backlog, in_flight, settings)
    assert settings.min <= decision.wanted <= settings.max
    assert wanted_slots(backlog + 1, in_flight, settings).wanted >= decision.wanted
    assert decision == wanted_slots(backlog, in_flight, settings)
    assert str(backlog) in decision.reason


def test_one_slot_for_every_goal_of_waiting_tasks() -> None:
    settings = SlotSettings(min=1, max=100, backlog_goal=16)
    assert wanted_slots(0, 0, settings).wanted == 1
    assert wanted_slots(33, 0, settings).wanted == 3
    assert wanted_slots(33, 4, settings).wanted == 7
    assert wanted_slots(10_000, 4, settings).wanted == 100


@given(st.sampled_from(sorted(POLICIES)), st.integers(0, 5), st.integers(1, 50), st.floats(0, 1))
def test_failures_are_counted_by_class_and_end_in_parking(error_class: str, failures: int, attempts: int, jitter: float) -> None:
    policy = POLICIES[error_class]
    decision = decide(error_class, failures=failures, attempts=attempts, allowed_failures=4, now=100.0, jitter=jitter)
    assert decision.failures == failures + policy.counts
    if not policy.again or (policy.counts and decision.failures >= 4):
        assert decision.at is None
    else:
        assert decision.at is not None
        assert 100.0 + policy.first_delay_s <= decision.at <= 100.0 + policy.longest_delay_s * 1.25


def test_delays_double() -> None:
    delays = [decide("payload", failures=n, attempts=1, allowed_failures=9, now=0.0, jitter=0.0).at for n in range(3)]
    assert delays == [5.0, 10.0, 20.0]


def test_an_unknown_class_is_treated_as_a_failure_of_the_payload() -> None:
    assert decide("cosmic ray", failures=0, attempts=1, allowed_failures=4, now=0.0, jitter=0.0).failures == 1


def reports(*names: str, failed: str | None = None) -> list[StageReport]:
    return [StageReport(name, "failed" if name == failed else "ok", 0.0, 1.0, 1.0, 1) for name in names]


def test_what_an_attempt_seals() -> None:
    assert sealed_stages(ALL_STAGES, reports(*ALL_STAGES)) == ALL_STAGES
    assert sealed_stages(ALL_STAGES, reports("nf_sp", failed="nf_sp")) == ()
    assert sealed_stages(ALL_STAGES, reports("nf_sp", "declare", failed="declare")) == ()
    assert sealed_stages(ALL_STAGES, reports(*ALL_STAGES, failed="dqm_upload")) == ("nf_sp", "declare")
    assert sealed_stages(("evaluate", "dqm_upload"), reports("evaluate", "dqm_upload", failed="dqm_upload")) == ()
    assert sealed_stages(("evaluate",), reports("evaluate")) == ("evaluate",)


def test_the_staged_layout_has_a_step_for_each_stage_in_order() -> None:
    steps = steps_of("staged")
    assert [step.name for step in steps] == list(ALL_STAGES)
    assert [step.after for step in steps] == [None, "nf_sp", "declare", "evaluate"]


def test_every_state_has_a_sentence_and_a_way_on() -> None:
    assert all(state.sentence for state in (*TaskState, *AttemptState))
    assert set(TRANSITIONS) == set(TaskState)
    reached = {TaskState.READY, TaskState.BLOCKED}
    for _ in TaskState:
        reached |= {after for state in reached for after in TRANSITIONS[state]}
    assert reached == set(TaskState)
    assert not BACKLOG & IN_FLIGHT
