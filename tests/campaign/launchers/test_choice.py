"""Which batch system gets the next jobs: handed over when one is out, handed back when it is well again, without swinging."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.launchers import open_launchers
from campaign.launchers.choice import FIRST_TRIAL_S, LONGEST_TRIAL_S, STEADY_S, Choice, LauncherState, choose, words
from campaign.launchers.health import Health
from campaign.launchers.local import LocalLauncher
from dune_prompt.settings.launchers import HTCondorLauncherSettings, JobsubLauncherSettings, LocalLauncherSettings
from dune_prompt.settings.site import Site

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC
OUT_AFTER = 3
SILENT_AFTER_S = 300.0


@dataclass
class Pool:
    """A batch system that is well or not, the questions its thread asks, and the submissions it is given."""

    name: str
    answers: bool = True
    takes: bool = True
    health: Health = field(default_factory=Health)

    def ask(self, now: float) -> None:
        h = self.health
        if self.answers:
            silent = h.unanswered_since is not None and now - h.unanswered_since > SILENT_AFTER_S
            since = now if silent or h.answering_since is None else h.answering_since
            self.health = Health(h.refused_in_a_row, now, h.last_error, h.refused_at, None, since)
        else:
            since = now if h.unanswered_since is None else h.unanswered_since
            self.health = Health(h.refused_in_a_row, h.answered_at, "no answer", h.refused_at, since, None)

    def submit(self, now: float) -> None:
        h = self.health
        if self.answers and self.takes:
            self.health = Health(0, now, h.last_error, h.refused_at, None, h.answering_since or now)
        else:
            self.health = Health(h.refused_in_a_row + 1, h.answered_at, "full", now, h.unanswered_since, h.answering_since)


@dataclass
class Operation:
    """Some launchers in order, chosen from every few seconds; each choice leads to a submission."""

    pools: list[Pool]
    now: float = NOON
    states: tuple[LauncherState, ...] = ()
    trials: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.states = (*(remote(pool.name) for pool in self.pools), LauncherState("local", None, 0.0))

    def go_on(self, seconds: float, every_s: float = 10.0) -> list[Choice]:
        choices = []
        end = self.now + seconds
        while self.now < end:
            self.now += every_s
            for pool in self.pools:
                pool.ask(self.now)
            healths = {pool.name: pool.health for pool in self.pools}
            choice = choose([state.seen(healths.get(state.name, Health())) for state in self.states], self.now)
            self.states = choice.launchers
            choices.append(choice)
            if choice.trial:
                self.trials.append((str(choice.name), self.now))
            for pool in self.pools:
                if pool.name == choice.name:
                    pool.submit(self.now)
        return choices


def remote(name: str = "htcondor", **known: object) -> LauncherState:
    return LauncherState(name, OUT_AFTER, SILENT_AFTER_S, **known)  # type: ignore[arg-type]


LOCAL = LauncherState("local", None, 0.0)


def test_the_first_in_order_is_used() -> None:
    choice = choose([remote(), LOCAL], NOON)
    assert (choice.name, choice.trial, choice.reason) == ("htcondor", False, "htcondor takes jobs")


def test_fewer_refusals_than_allowed_change_nothing() -> None:
    assert choose([remote(refused_in_a_row=OUT_AFTER - 1, refused_at=NOON), LOCAL], NOON).name == "htcondor"


def test_after_refusals_in_a_row_the_next_takes_over() -> None:
    state = remote(refused_in_a_row=OUT_AFTER, refused_at=NOON - 1, answering_since=NOON - 999, last_error="too many jobs")
    choice = choose([state, LOCAL], NOON)
    assert choice.name == "local"
    assert choice.reason == (
        "htcondor is out since 12:00 UTC: it refused 3 submissions in a row (too many jobs), next trial at 12:00 UTC; local takes over"
    )
    assert choice.launchers[0].out_since == NOON


def test_after_a_silence_the_next_takes_over() -> None:
    silent = remote(
        unanswered_since=NOON - SILENT_AFTER_S - 1, answered_at=NOON - SILENT_AFTER_S - 11, last_error="the queue does not answer"
    )
    choice = choose([silent, LOCAL], NOON + 180)
    assert choice.name == "local"
    assert choice.reason == "htcondor is out since 12:03 UTC: it does not answer (the queue does not answer); local takes over"
    assert choose([remote(unanswered_since=NOON - SILENT_AFTER_S), LOCAL], NOON).name == "htcondor"


def test_one_that_was_not_asked_lately_is_not_silent() -> None:
    assert choose([remote(answered_at=NOON - 1e6), LOCAL], NOON).name == "htcondor"


def test_with_nobody_left_tasks_wait() -> None:
    states = [remote(name, unanswered_since=0.0) for name in ("jobsub", "htcondor")]
    choice = choose(states, NOON)
    assert choice.name is None
    assert choice.reason.endswith("tasks wait until one is back")
    assert "jobsub is out" in choice.reason
    assert "htcondor is out" in choice.reason


def test_one_that_answers_again_gets_the_jobs_at_once_where_nobody_else_takes_any() -> None:
    out = remote(out_since=NOON - 300, answering_since=NOON - 1)
    choice = choose([out], NOON)
    assert (choice.name, choice.trial) == ("htcondor", False)
    assert choice.reason.endswith("htcondor answers, and nobody else can take jobs: it gets them though it is not trusted yet")
    assert choice.launchers[0].out_since == NOON - 300
    assert choose([out, LOCAL], NOON).name == "local"


def test_one_that_has_refused_since_it_answers_gets_nothing_before_its_trial() -> None:
    refused = remote(refused_in_a_row=OUT_AFTER, refused_at=NOON - 10, out_since=NOON - 10)
    assert choose([replace(refused, answering_since=NOON - 100)], NOON).name is None
    back = choose([replace(refused, answering_since=NOON - 5)], NOON)
    assert (back.name, back.trial) == ("htcondor", True)
    assert choose([replace(refused, answering_since=NOON - 5, pending=1)], NOON).name is None


def test_the_local_machine_is_never_out() -> None:
    assert choose([LauncherState("local", None, 0.0, refused_in_a_row=99, unanswered_since=0.0, out_since=1.0)], NOON).name == "local"


def test_while_a_trial_is_under_way_there_is_no_second_one() -> None:
    state = remote(refused_in_a_row=OUT_AFTER, refused_at=NOON - 100, out_since=NOON - 100, answering_since=0.0)
    assert choose([state, LOCAL], NOON).trial
    choice = choose([remote(refused_in_a_row=3, refused_at=NOON - 100, out_since=NOON - 100, answering_since=0.0, pending=1), LOCAL], NOON)
    assert (choice.name, choice.trial) == ("local", False)
    assert "a trial is under way" in choice.reason


def test_a_silent_one_gets_no_trial() -> None:
    state = remote(refused_in_a_row=OUT_AFTER, refused_at=0.0, out_since=1.0, unanswered_since=2.0)
    assert choose([state, LOCAL], NOON).name == "local"


def test_trials_come_after_a_minute_and_then_ever_more_rarely() -> None:
    pool = Pool("htcondor", takes=False)
    site = Operation([pool])
    site.go_on(4 * 3600.0, every_s=1.0)
    times = [at for _, at in site.trials]
    gaps = [round(later - earlier) for earlier, later in pairwise(times)]
    assert times[0] - NOON == pytest.approx(OUT_AFTER + FIRST_TRIAL_S, abs=2)
    assert gaps[:4] == [120, 240, 480, 600]
    assert set(gaps[4:]) == {LONGEST_TRIAL_S}


def test_a_trial_that_was_taken_brings_it_back() -> None:
    pool = Pool("htcondor", takes=False)
    site = Operation([pool])
    assert site.go_on(60.0)[-1].name == "local"
    pool.takes = True
    choices = site.go_on(180.0)
    assert site.trials
    assert (choices[-1].name, choices[-1].trial) == ("htcondor", False)


def test_after_a_silence_it_must_answer_for_a_while_before_it_is_back() -> None:
    pool = Pool("htcondor", answers=False)
    site = Operation([pool])
    site.states = (remote(answered_at=NOON - 10), LOCAL)
    pool.health = Health(unanswered_since=NOON - SILENT_AFTER_S)
    assert site.go_on(10.0)[-1].name == "local"
    pool.answers = True
    pool.health = Health(unanswered_since=pool.health.unanswered_since, last_error="no answer")
    choices = site.go_on(STEADY_S)
    assert {choice.name for choice in choices} == {"local"}
    assert "it answers again, for 50 s of the 60 s" in choices[-1].reason
    assert site.go_on(20.0)[-1].name == "htcondor"


def test_a_restarted_service_still_knows_who_is_out() -> None:
    kept = choose([remote(unanswered_since=NOON - 1000), LOCAL], NOON).launchers[0]
    fresh = LauncherState.of(HTCondorLauncherSettings(kind="htcondor"), kept.out_since)
    assert choose([fresh, LOCAL], NOON + 1).name == "local"
    answering = fresh.seen(Health(answering_since=NOON + 1, answered_at=NOON + 61))
    assert choose([answering, LOCAL], NOON + 61).name == "htcondor"


def test_a_clock_that_is_set_back_keeps_nobody_out_for_ever() -> None:
    pool = Pool("htcondor", takes=False)
    site = Operation([pool])
    site.go_on(60.0)
    pool.takes = True
    site.now -= 86400.0
    assert site.go_on(600.0)[-1].name == "htcondor"


def test_the_settings_of_each_kind_are_taken() -> None:
    state = LauncherState.of(JobsubLauncherSettings(kind="jobsub", out_after=5, silent_after="10min"))
    assert (state.name, state.out_after, state.silent_after) == ("jobsub", 5, 600.0)
    assert LauncherState.of(LocalLauncherSettings(kind="local")).out_after is None


def test_words_name_the_day_when_it_is_another_one() -> None:
    assert (
        words(remote(out_since=NOON, unanswered_since=NOON), NOON + 86400)
        == "htcondor is out since 2023-11-15 12:00 UTC: it does not answer"
    )
    assert words(remote(), NOON) == "htcondor takes jobs"


times = st.floats(NOON - 5000, NOON + 100)
states = st.builds(
    remote,
    name=st.just("one"),
    refused_in_a_row=st.integers(0, 12),
    refused_at=st.none() | times,
    unanswered_since=st.none() | times,
    answering_since=st.none() | times,
    out_since=st.none() | times,
    pending=st.integers(0, 2),
)


@given(st.lists(states | st.just(LOCAL), min_size=1, max_size=4))
def test_one_that_is_out_is_never_chosen_while_a_better_one_is_in(given_states: list[LauncherState]) -> None:
    named = [LauncherState(**{**_fields(state), "name": f"{index}"}) for index, state in enumerate(given_states)]
    choice = choose(named, NOON)
    assert choose(named, NOON) == choice
    assert [state.name for state in choice.launchers] == [state.name for state in named]
    usable = [state.name for state in choice.launchers if state.out_since is None]
    if choice.name is None:
        assert usable == []
        return
    index = int(choice.name)
    assert all(state.out_since is not None for state in choice.launchers[:index])
    if choice.launchers[index].out_since is None:
        assert not choice.trial
    else:
        assert choice.trial or usable == []
    assert not choice.launchers[index].is_silent(NOON)


def _fields(state: LauncherState) -> dict[str, object]:
    return {name: getattr(state, name) for name in LauncherState.__slots__}


weather = st.lists(st.tuples(st.sampled_from(["well", "refuses", "silent"]), st.integers(1, 90)), min_size=1, max_size=30)


def _set(pool: Pool, mood: str) -> None:
    pool.answers, pool.takes = mood != "silent", mood != "refuses"


@given(weather, weather)
def test_the_choice_never_swings(first: list[tuple[str, int]], second: list[tuple[str, int]]) -> None:
    """Whatever the batch systems do: nobody who is out is trusted before a minute without a failure has passed."""
    site = Operation([Pool("jobsub"), Pool("htcondor")])
    out_since: dict[str, float] = {}
    for (mood, steps), (other, _) in zip(first, second, strict=False):
        _set(site.pools[0], mood)
        _set(site.pools[1], other)
        for _ in range(steps):
            site.go_on(10.0)
            for state in site.states:
                if state.out_since is not None:
                    out_since.setdefault(state.name, site.now)
                elif state.name in out_since:
                    assert site.now - out_since.pop(state.name) >= STEADY_S
                    assert state.answering_since is not None
                    assert site.now - state.answering_since >= STEADY_S


@given(weather)
def test_it_is_always_handed_back(history: list[tuple[str, int]]) -> None:
    pool = Pool("jobsub")
    site = Operation([pool])
    for mood, steps in history:
        _set(pool, mood)
        site.go_on(10.0 * steps)
    _set(pool, "well")
    choices = site.go_on(LONGEST_TRIAL_S + STEADY_S + 30.0)
    assert (choices[-1].name, choices[-1].trial) == ("jobsub", False)


@given(weather)
def test_at_every_time_somebody_takes_jobs_when_the_local_machine_may(history: list[tuple[str, int]]) -> None:
    pool = Pool("jobsub")
    site = Operation([pool])
    for mood, steps in history:
        _set(pool, mood)
        assert all(choice.name is not None for choice in site.go_on(10.0 * steps))


def test_launchers_are_opened_in_the_order_of_the_site_file(tmp_path: Path) -> None:
    content = {"site": "test", "workspace": tmp_path, "buffer": {"path": str(tmp_path)}, "streams": [{"name": "physics", "pattern": "*"}]}
    site = Site.model_validate(content | {"launchers": [{"kind": "local"}]})
    launchers = open_launchers(site)
    assert list(launchers) == ["local"]
    assert isinstance(launchers["local"], LocalLauncher)
