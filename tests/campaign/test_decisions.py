"""Slots, retries and sealing: pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.deadlines import deadline_of, is_late, room_s
from campaign.layout import ALL_STAGES, sealed_stages, steps_of
from campaign.retries import POLICIES, Needs, decide, next_needs
from campaign.slots import SlotInputs
from campaign.slots import decide as decide_slots
from campaign.states import BACKLOG, IN_FLIGHT, TRANSITIONS, AttemptState, TaskState
from dune_prompt.records import StageReport
from dune_prompt.settings.site import SlotSettings

NOW = 1_700_000_000.0
small = st.integers(0, 1000)


@st.composite
def slot_inputs(draw: st.DrawFn) -> SlotInputs:
    deadlines = sorted(draw(st.lists(st.floats(NOW, NOW + 1e5), max_size=5)))
    return SlotInputs(
        now=NOW,
        backlog=draw(small),
        in_flight=draw(small),
        arrivals_per_s=draw(st.floats(0, 50)),
        job_s=draw(st.none() | st.floats(0.01, 1e4)),
        deadlines=tuple((deadline, draw(st.integers(1, 100))) for deadline in deadlines),
    )


@st.composite
def slot_settings(draw: st.DrawFn) -> SlotSettings:
    low, high = sorted((draw(st.integers(1, 50)), draw(st.integers(1, 500))))
    return SlotSettings(min=low, max=high, backlog_goal=draw(st.integers(1, 20)))


@given(slot_inputs(), slot_settings())
def test_slots_stay_within_their_limits_and_grow_with_the_backlog(inputs: SlotInputs, settings: SlotSettings) -> None:
    decision = decide_slots(inputs, settings)
    assert settings.min <= decision.wanted <= settings.max
    assert decide_slots(replace(inputs, backlog=inputs.backlog + 1), settings).wanted >= decision.wanted
    assert decision == decide_slots(inputs, settings)
    assert decision.wanted <= max(settings.min, inputs.backlog + inputs.in_flight)


def test_one_slot_for_every_goal_of_open_tasks() -> None:
    settings = SlotSettings(min=1, max=100, backlog_goal=16)
    assert decide_slots(SlotInputs(NOW, 0, 0), settings).wanted == 1
    assert decide_slots(SlotInputs(NOW, 33, 0), settings).wanted == 3
    assert decide_slots(SlotInputs(NOW, 33, 4), settings).wanted == 3
    # The answer does not creep up from step to step while the same tasks are open.
    assert decide_slots(SlotInputs(NOW, 30, 7), settings).wanted == 3
    assert decide_slots(SlotInputs(NOW, 10_000, 4), settings).wanted == 100


@pytest.mark.parametrize(
    ("inputs", "wanted", "words"),
    [
        (SlotInputs(NOW, 0, 0), 1, "nothing waits"),
        (SlotInputs(NOW, 50, 50, arrivals_per_s=0.5, job_s=100.0), 53, "work the backlog off within 1800 s"),
        (SlotInputs(NOW, 0, 60, arrivals_per_s=0.5, job_s=100.0), 50, "keep pace with 0.5 new tasks/s at 100 s a job"),
        (SlotInputs(NOW, 90, 10, job_s=100.0, deadlines=((NOW + 200, 60), (NOW + 500, 30))), 30, "finish in time"),
        (SlotInputs(NOW, 9000, 0, arrivals_per_s=5.0, job_s=100.0), 400, "1000 slots are needed"),
    ],
)
def test_each_need_has_its_words(inputs: SlotInputs, wanted: int, words: str) -> None:
    decision = decide_slots(inputs, SlotSettings(min=1, max=400, backlog_goal=100))
    assert decision.wanted == wanted
    assert words in decision.reason


@given(st.lists(st.integers(0, 100), min_size=2, max_size=40), slot_settings())
def test_swinging_numbers_do_not_make_the_answer_swing(backlogs: list[int], settings: SlotSettings) -> None:
    decision, now, answers = None, NOW, []
    for backlog in backlogs:
        decision = decide_slots(SlotInputs(now, backlog, 0), settings, decision)
        answers.append(decision.wanted)
        now += settings.hold / len(backlogs) / 2
    assert answers == sorted(answers)  # within the time of `hold` it never goes down
    for _ in range(3):
        now += settings.hold
        decision = decide_slots(SlotInputs(now, 0, 0), settings, decision)
    assert decision.wanted == settings.min


@given(st.sampled_from(sorted(POLICIES)), st.integers(0, 5), st.integers(0, 50), st.floats(0, 1))
def test_failures_are_counted_by_class_and_end_in_parking(error_class: str, failures: int, others: int, jitter: float) -> None:
    policy = POLICIES[error_class]
    attempts = failures + others + 1
    counts = policy.counts or (policy.uncounted is not None and attempts - failures > policy.uncounted)
    decision = decide(error_class, failures=failures, attempts=attempts, allowed_failures=4, now=100.0, jitter=jitter)
    assert decision.failures == failures + counts
    if not policy.again or (counts and decision.failures >= 4):
        assert decision.at is None
    else:
        assert decision.at is not None
        assert 100.0 + policy.first_delay_s <= decision.at <= 100.0 + policy.longest_delay_s * 1.25


def test_a_queue_that_loses_its_jobs_costs_no_try_however_often() -> None:
    for attempts in (1, 10, 1000):
        assert decide("lost", failures=0, attempts=attempts, allowed_failures=1, now=0.0, jitter=0.0).at is not None


def test_a_site_that_always_fails_is_not_tried_for_ever() -> None:
    failures, attempts = 0, 0
    while True:
        attempts += 1
        decision = decide("site", failures=failures, attempts=attempts, allowed_failures=4, now=0.0, jitter=0.0)
        failures = decision.failures
        if decision.at is None:
            break
    assert (attempts, failures) == (14, 4)


def test_the_next_attempt_gets_what_the_last_one_lacked() -> None:
    given = {"memory_bytes": 4, "lifetime_s": 100.0}
    needs = next_needs("memory", Needs(), host="wn1", **given)
    assert needs == Needs(memory_bytes=6)
    needs = next_needs("time_limit", needs, host="wn1", **given)
    assert needs == Needs(6, 200.0, ("wn1",))
    for number in range(9):
        needs = next_needs("memory", next_needs("site", needs, host=f"wn{number}", **given), host=None, **given)
    assert (needs.memory_bytes, needs.lifetime_s) == (16, 200.0)  # no more than four times what the campaign file says
    assert needs.avoid_hosts == ("wn4", "wn5", "wn6", "wn7", "wn8")


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


def test_a_task_is_late_when_a_job_begun_now_could_not_end_in_time() -> None:
    assert not is_late(100.0, 79.0, 10.0)
    assert is_late(100.0, 81.0, 10.0)
    assert not is_late(100.0, 99.0)
    assert is_late(100.0, 101.0)


def test_a_deadline_comes_early_when_the_buffer_fills_up_before_the_lifetime_is_over() -> None:
    room = room_s(1000, 0.9, 10.0)
    assert room == 90.0
    assert deadline_of(5.0, 3600.0, room) == 95.0
    assert deadline_of(5.0, 60.0, room) == 65.0
    assert room_s(None, 0.9, 10.0) is None
    assert room_s(1000, 0.9, 0.0) is None
