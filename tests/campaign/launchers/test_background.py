"""A batch system in a thread: asking never waits, nothing is lost or told wrongly, whatever the commands do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.launchers.background import Background
from campaign.launchers.health import Health
from campaign.launchers.protocol import Job, JobStatus, Launcher, Seen, Submission
from dune_prompt.errors import ConfigError, TransientError

NOW = 1_700_000_000.0
SILENT_AFTER_S = 300.0
PATIENCE_S = 20.0


def job(name: str, handle: str | None = None, submission: str | None = "S1") -> Job:
    folder = Path("jobs") / name
    return Job(name, folder, folder / "script.py", 10**9, 60.0, handle, submission)


def submission(*names: str, id: str = "S1") -> Submission:  # noqa: A002
    return Submission(id, "test", "v1", "chain", tuple(job(name, submission=id) for name in names), Path("submissions") / id)


@dataclass
class Queue:
    """A batch system in memory whose commands fail, hang and forget as the test says. `calls` are those it was asked for."""

    name: str = "htcondor"
    answers_later: bool = False
    calls: list[str] = field(default_factory=list)
    jobs: dict[str, JobStatus] = field(default_factory=dict)
    refuse: BaseException | None = None
    away: BaseException | None = None
    kill_fails: BaseException | None = None
    loses_answer: bool = False
    leaves_out: set[str] = field(default_factory=set)
    hang_in: str = ""
    hanging: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def _call(self, name: str, what: str = "") -> None:
        self.calls.append(f"{name} {what}".strip())
        if self.hang_in == name:
            self.hanging.set()
            assert self.go_on.wait(PATIENCE_S)

    def submit(self, submission: Submission) -> Mapping[str, str]:
        names = [item.attempt for item in submission.jobs if item.attempt not in self.leaves_out]
        self._call("submit", ",".join(item.attempt for item in submission.jobs))
        if self.refuse is not None:
            raise self.refuse
        self.jobs |= {name: JobStatus(Seen.WAITING, handle=f"handle-{name}") for name in names}
        if self.loses_answer:
            raise TransientError("no answer within 660 s, killed")
        return {name: f"handle-{name}" for name in names}

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        self._call("poll", ",".join(f"{item.attempt}={item.handle or item.submission}" for item in jobs))
        if self.away is not None:
            raise self.away
        return {item.attempt: self.jobs.get(item.attempt, JobStatus(Seen.GONE)) for item in jobs}

    def kill(self, jobs: Sequence[Job]) -> None:
        self._call("kill", ",".join(f"{item.attempt}={item.handle or item.submission}" for item in jobs))
        if self.kill_fails is not None:
            raise self.kill_fails
        self.jobs |= {item.attempt: JobStatus(Seen.GONE) for item in jobs}

    def fetch_log(self, job: Job) -> None:
        self._call("fetch_log", job.attempt)
        if self.away is not None:
            raise self.away

    def available(self) -> None:
        self._call("available")
        if self.away is not None:
            raise self.away

    def something_ended(self) -> bool:
        return False

    def runs(self, *names: str) -> None:
        self.jobs |= {name: JobStatus(Seen.RUNNING, handle=f"handle-{name}", host="worker") for name in names}

    def called(self, name: str) -> list[str]:
        return [call for call in self.calls if call.startswith(name)]


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Setting:
    queue: Queue
    clock: Clock
    background: Background

    def settle(self) -> None:
        """Wait until all that was asked for is done and a fresh look has been made."""
        assert self.background.drain(PATIENCE_S)

    def poll(self, *jobs: Job, later_s: float = 0.0) -> dict[str, JobStatus]:
        return dict(self.background.poll(jobs, self.clock.now + later_s))

    def seen(self, *names: str, later_s: float = 0.0) -> list[Seen]:
        return [status.seen for status in self.poll(*map(job, names), later_s=later_s).values()]

    @contextmanager
    def hanging_in(self, command: str) -> Iterator[None]:
        """Within, the command has begun and does not end; after it, it does."""
        assert self.queue.hanging.wait(PATIENCE_S), f"{command} was never called"
        yield
        self.queue.hang_in = ""
        self.queue.go_on.set()


@pytest.fixture
def setting() -> Iterator[Setting]:
    made = make()
    yield made
    made.queue.go_on.set()
    made.background.close(PATIENCE_S)


def make(queue: Queue | None = None, health: Health | None = None) -> Setting:
    queue, clock = queue or Queue(), Clock()
    # Looks are made when a test asks for them, and at no other time.
    background = Background(queue, poll_every=3600.0, silent_after=SILENT_AFTER_S, health=health, clock=clock)
    return Setting(queue, clock, background)


def test_it_is_a_launcher(setting: Setting) -> None:
    launcher: Launcher = setting.background
    assert (launcher.name, launcher.answers_later) == ("htcondor", True)


def test_a_submission_is_taken_over_at_once_and_its_handle_told_later(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    assert setting.background.submit(submission("a", "b")) == {}
    with setting.hanging_in("submit"):
        assert setting.poll(job("a"), job("b")) == {"a": JobStatus(Seen.WAITING), "b": JobStatus(Seen.WAITING)}
        assert not setting.background.something_ended()
    setting.settle()
    assert setting.poll(job("a"))["a"] == JobStatus(Seen.WAITING, handle="handle-a")
    assert setting.background.something_ended()
    assert not setting.background.something_ended()


def test_the_state_of_a_job_is_that_of_the_newest_look(setting: Setting) -> None:
    setting.background.submit(submission("a"))
    setting.poll(job("a"))
    setting.settle()
    setting.queue.runs("a")
    assert setting.seen("a") == [Seen.WAITING]
    setting.settle()
    assert setting.poll(job("a"))["a"] == JobStatus(Seen.RUNNING, handle="handle-a", host="worker")
    setting.queue.jobs["a"] = JobStatus(Seen.GONE, "memory", "held 3 GB")
    setting.settle()
    assert setting.poll(job("a"))["a"] == JobStatus(Seen.GONE, "memory", "held 3 GB", handle="handle-a")


def test_what_ended_stays_ended_and_is_not_asked_for_again(setting: Setting) -> None:
    setting.poll(job("a", "handle-a"))
    setting.settle()
    looks = len(setting.queue.called("poll"))
    setting.settle()
    assert len(setting.queue.called("poll")) == looks
    assert setting.seen("a", later_s=10 * SILENT_AFTER_S) == [Seen.GONE]


def test_while_a_submission_hangs_asking_is_answered_and_answers_grow_old(setting: Setting) -> None:
    setting.queue.runs("old")
    setting.poll(job("old", "handle-old"))
    setting.settle()
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("new"))
    with setting.hanging_in("submit"):
        statuses = setting.poll(job("old", "handle-old"), job("new"), later_s=SILENT_AFTER_S)
        assert (statuses["old"].seen, statuses["new"].seen) == (Seen.RUNNING, Seen.WAITING)
        statuses = setting.poll(job("old", "handle-old"), job("new"), later_s=SILENT_AFTER_S + 1)
        assert (statuses["old"].seen, statuses["new"].seen) == (Seen.UNKNOWN, Seen.WAITING)
        setting.clock.now += SILENT_AFTER_S + 1
        with pytest.raises(TransientError, match="no answer for 301 s"):
            setting.background.available()
    setting.settle()
    assert setting.seen("old", "new") == [Seen.RUNNING, Seen.WAITING]


def test_before_the_first_look_nothing_is_known(setting: Setting) -> None:
    setting.queue.hang_in = "poll"
    setting.queue.runs("a")
    assert setting.poll(job("a", "handle-a"))["a"] == JobStatus(Seen.UNKNOWN, handle="handle-a")
    with setting.hanging_in("poll"):
        assert setting.seen("a") == [Seen.UNKNOWN]
    setting.settle()
    assert setting.seen("a") == [Seen.RUNNING]


def test_after_a_restart_a_job_whose_answer_was_lost_is_found_by_its_submission(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("a"))
    with setting.hanging_in("submit"):
        setting.background.close(0.01)
    setting.background.close(PATIENCE_S)  # the queue takes the jobs now
    restarted = make(setting.queue)
    restarted.poll(job("a"))
    restarted.settle()
    assert "poll a=S1" in setting.queue.calls
    assert restarted.poll(job("a"))["a"] == JobStatus(Seen.WAITING, handle="handle-a")
    restarted.background.close(PATIENCE_S)


def test_what_still_waited_here_when_the_process_ended_is_told_as_gone_by_the_next(setting: Setting) -> None:
    restarted = make()
    restarted.poll(job("a"))
    restarted.settle()
    assert restarted.seen("a") == [Seen.GONE]
    assert restarted.queue.called("submit") == []
    restarted.background.close(PATIENCE_S)


def test_a_job_that_waits_here_is_never_told_as_gone_because_the_queue_does_not_have_it(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("first", id="S1"))
    setting.background.submit(submission("second", id="S2"))
    with setting.hanging_in("submit"):
        assert setting.seen("second") == [Seen.WAITING]
    setting.settle()
    assert setting.seen("second") == [Seen.WAITING]
    assert not any("second=S" in call for call in setting.queue.called("poll"))


def test_a_look_that_began_before_a_submission_says_nothing_about_its_jobs(setting: Setting) -> None:
    setting.poll(job("a"))  # written down by the engine, not handed over yet
    setting.settle()
    setting.queue.hang_in = "poll"
    setting.poll(job("b", submission="S2"))
    setting.background.wake()
    with setting.hanging_in("poll"):
        setting.background.submit(submission("b", id="S2"))
    setting.settle()
    assert setting.poll(job("b", submission="S2"))["b"] == JobStatus(Seen.WAITING, handle="handle-b")


@pytest.mark.parametrize(
    ("error", "ended_by", "message"),
    [
        (TransientError("the schedd takes no jobs"), "launch", "the schedd takes no jobs"),
        (ConfigError("condor_submit is not installed"), "configuration", "condor_submit is not installed"),
        (ZeroDivisionError("oops"), "launch", "fault in the code: ZeroDivisionError: oops"),
        (SystemExit(1), "launch", "fault in the code: SystemExit: 1"),
    ],
)
def test_a_refusal_is_told_with_its_class_until_nobody_asks_any_more(
    setting: Setting, error: BaseException, ended_by: str, message: str
) -> None:
    setting.queue.refuse = error
    setting.background.submit(submission("a"))
    setting.settle()
    for _ in range(2):
        assert setting.poll(job("a"))["a"] == JobStatus(Seen.REFUSED, ended_by, message)
    setting.poll()
    setting.settle()
    assert setting.seen("a") == [Seen.UNKNOWN]


def test_jobs_that_were_left_out_of_a_submission_are_refused_alone(setting: Setting) -> None:
    setting.queue.leaves_out = {"b"}
    setting.background.submit(submission("a", "b"))
    setting.settle()
    assert setting.seen("a", "b") == [Seen.WAITING, Seen.REFUSED]
    assert setting.background.health().refused_in_a_row == 0


def test_a_submission_whose_answer_was_lost_is_found_and_not_refused(setting: Setting) -> None:
    setting.queue.loses_answer = True
    setting.background.submit(submission("a"))
    setting.poll(job("a"))
    setting.settle()
    assert setting.poll(job("a"))["a"] == JobStatus(Seen.WAITING, handle="handle-a")
    assert setting.background.health().refused_in_a_row == 0


def test_while_nobody_can_tell_whether_a_submission_arrived_its_jobs_wait_and_then_go_elsewhere(setting: Setting) -> None:
    setting.queue.loses_answer, setting.queue.away = True, TransientError("the schedd does not answer")
    setting.background.submit(submission("a"))
    setting.settle()
    assert setting.seen("a", later_s=SILENT_AFTER_S) == [Seen.WAITING]
    status = setting.poll(job("a"), later_s=SILENT_AFTER_S + 1)["a"]
    assert (status.seen, status.ended_by) == (Seen.REFUSED, "launch")
    setting.poll()
    setting.queue.away = None
    setting.settle()
    # It was there after all: ended, as another attempt has taken its place.
    assert setting.queue.jobs["a"].seen is Seen.GONE


@pytest.mark.parametrize("error", [TransientError("away"), ConfigError("not installed"), RuntimeError("oops"), SystemExit(3)])
def test_nothing_that_a_look_raises_ends_the_thread_or_changes_an_answer(setting: Setting, error: BaseException) -> None:
    setting.queue.runs("a")
    setting.poll(job("a", "handle-a"))
    setting.settle()
    setting.queue.away = error
    setting.background.fetch_log(job("a", "handle-a"))
    setting.settle()
    assert setting.seen("a") == [Seen.RUNNING]
    assert setting.seen("a", later_s=SILENT_AFTER_S + 1) == [Seen.UNKNOWN]
    with pytest.raises(TransientError):
        setting.background.available()
    setting.queue.away = None
    setting.settle()
    setting.background.available()
    assert setting.seen("a") == [Seen.RUNNING]


def test_submissions_keep_their_order_and_looks_come_between_them(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    for index in range(5):
        setting.background.submit(submission(f"job{index}", id=f"S{index}"))
    with setting.hanging_in("submit"):
        setting.poll(job("job0", submission="S0"))
        setting.background.wake()
    setting.settle()
    assert setting.queue.called("submit") == [f"submit job{index}" for index in range(5)]
    second = setting.queue.calls.index("submit job1")
    assert "poll job0=handle-job0" in setting.queue.calls[:second]


def test_a_job_ended_during_its_submission_is_ended_after_it(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("a", "b"))
    setting.poll(job("a"), job("b"))
    with setting.hanging_in("submit"):
        setting.background.kill([job("a")])
        setting.background.kill([job("a"), job("b")])
        assert setting.queue.called("kill") == []
    setting.settle()
    assert setting.queue.called("kill") == ["kill a=handle-a,b=handle-b"]
    assert setting.seen("a", "b") == [Seen.GONE, Seen.GONE]


def test_a_submission_ended_while_it_waits_here_is_never_handed_over(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("a", id="S1"))
    setting.background.submit(submission("b", "c", id="S2"))
    with setting.hanging_in("submit"):
        setting.background.kill([job("b")])
        setting.background.kill([job("c")])
        assert setting.seen("c") == [Seen.GONE]
    setting.settle()
    assert setting.queue.called("submit") == ["submit a"]
    assert setting.queue.called("kill") == []


def test_a_job_ended_among_others_keeps_their_indexes_and_is_ended_once_it_is_there(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("a", id="S1"))
    setting.background.submit(submission("b", "c", id="S2"))
    with setting.hanging_in("submit"):
        setting.background.kill([job("b")])
        assert setting.seen("b", "c") == [Seen.WAITING, Seen.WAITING]
    setting.settle()
    assert setting.queue.called("submit") == ["submit a", "submit b,c"]
    assert setting.queue.called("kill") == ["kill b=handle-b"]


def test_what_is_no_longer_asked_for_is_not_submitted_and_if_it_just_was_it_is_ended(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("a", id="S1"))
    setting.background.submit(submission("b", id="S2"))
    setting.poll(job("a"), job("b"))
    with setting.hanging_in("submit"):
        setting.poll()
    setting.settle()
    assert setting.queue.called("submit") == ["submit a"]
    assert setting.queue.called("kill") == ["kill a=handle-a"]


def test_what_was_handed_over_after_the_last_asking_is_submitted(setting: Setting) -> None:
    setting.poll(job("other", "handle-other"))
    setting.background.submit(submission("a"))
    setting.poll(job("other", "handle-other"))
    setting.settle()
    assert setting.queue.called("submit") == ["submit a"]


def test_what_could_not_be_ended_is_ended_later(setting: Setting) -> None:
    setting.queue.runs("a")
    setting.poll(job("a", "handle-a"))
    setting.queue.kill_fails = TransientError("away")
    setting.background.kill([job("a", "handle-a")])
    setting.settle()
    setting.queue.kill_fails = None
    setting.settle()
    setting.settle()
    assert setting.seen("a") == [Seen.GONE]


def test_logs_are_brought_and_their_absence_harms_nothing(setting: Setting) -> None:
    setting.queue.away = RuntimeError("no log")
    setting.background.fetch_log(job("a"))
    setting.background.fetch_log(job("b"))
    setting.settle()
    assert setting.queue.called("fetch_log") == ["fetch_log a", "fetch_log b"]


def test_without_jobs_it_asks_for_a_sign_of_life(setting: Setting) -> None:
    with pytest.raises(TransientError, match="has not answered yet"):
        setting.background.available()
    setting.settle()
    setting.background.available()
    assert setting.background.health().answered_at == NOW
    assert set(setting.queue.calls) == {"available"}


def test_a_queue_that_cannot_tell_of_any_job_is_asked_for_a_sign_of_life(setting: Setting) -> None:
    setting.queue.jobs["a"] = JobStatus(Seen.UNKNOWN)
    setting.poll(job("a", "handle-a"))
    setting.settle()
    assert setting.queue.calls[-2:] == ["poll a=handle-a", "available"]


def test_health_counts_refusals_in_a_row_and_times_answers(setting: Setting) -> None:
    setting.queue.refuse = TransientError("full")
    for index in range(3):
        setting.background.submit(submission(f"job{index}", id=f"S{index}"))
    setting.settle()
    health = setting.background.health()
    assert (health.refused_in_a_row, health.refused_at, health.last_error, health.pending) == (3, NOW, "full", 0)
    setting.queue.refuse = None
    setting.clock.now += 100
    setting.background.submit(submission("taken", id="S9"))
    setting.settle()
    health = setting.background.health()
    assert (health.refused_in_a_row, health.answered_at, health.unanswered_since) == (0, NOW + 100, None)


def test_health_outlives_the_process(setting: Setting) -> None:
    restarted = make(health=Health(refused_in_a_row=2, answered_at=NOW - 5000))
    restarted.queue.refuse = TransientError("full")
    restarted.background.submit(submission("a"))
    restarted.settle()
    assert restarted.background.health().refused_in_a_row == 3
    restarted.background.close(PATIENCE_S)


def test_an_answer_after_a_long_silence_begins_a_new_time_of_answering(setting: Setting) -> None:
    setting.settle()
    since = setting.background.health().answering_since
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("a"))
    with setting.hanging_in("submit"):
        assert setting.background.health().unanswered_since == NOW
        setting.clock.now += SILENT_AFTER_S + 1
    setting.settle()
    health = setting.background.health()
    assert since == NOW
    assert health.answering_since == NOW + SILENT_AFTER_S + 1


def test_it_ends_within_its_time_even_while_a_command_hangs(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("a"))
    with setting.hanging_in("submit"):
        setting.background.close(0.01)
        thread = setting.background._thread
        assert thread is not None
        assert thread.is_alive()
        assert thread.daemon
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_any_thread_may_use_it(setting: Setting) -> None:
    """Submissions, polls and kills from several threads: each job is submitted once or never, and in the end all of it is known."""
    names = [[f"job{thread}-{index}" for index in range(20)] for thread in range(4)]

    def work(mine: list[str]) -> Callable[[], None]:
        def run() -> None:
            for name in mine:
                setting.background.submit(submission(name, id=f"S{name}"))
                setting.background.health()
                setting.background.something_ended()
                if name.endswith("5"):
                    setting.background.kill([job(name)])

        return run

    threads = [threading.Thread(target=work(mine)) for mine in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    every = [name for mine in names for name in mine]
    setting.poll(*map(job, every))
    setting.settle()
    statuses = setting.poll(*map(job, every))
    ended = {name for name in every if name.endswith("5")}
    assert {name for name in every if statuses[name].seen is Seen.GONE} == ended
    assert all(statuses[name].handle == f"handle-{name}" for name in every if name not in ended)
    assert len(setting.queue.called("submit")) == len(set(setting.queue.called("submit")))


def test_a_handle_the_engine_was_not_told_of_yet_is_used(setting: Setting) -> None:
    setting.background.submit(submission("a"))
    setting.settle()
    setting.background.kill([job("a")])
    setting.background.fetch_log(replace(job("a")))
    setting.settle()
    assert setting.queue.called("kill") == ["kill a=handle-a"]


def test_looks_asked_for_again_and_again_do_not_keep_submissions_waiting(setting: Setting) -> None:
    setting.queue.hang_in = "available"
    setting.background.wake()
    with setting.hanging_in("available"):
        setting.background.submit(submission("a"))
        setting.background.wake()
    setting.settle()
    assert setting.queue.calls[:2] == ["available", "submit a"]


def test_a_failed_submission_is_refused_only_when_the_queue_is_sure_not_to_have_it(setting: Setting) -> None:
    setting.queue.refuse = TransientError("exit code 1")
    setting.queue.jobs["a"] = JobStatus(Seen.UNKNOWN, message="not in the queue's answer")
    setting.background.submit(submission("a"))
    setting.settle()
    assert setting.seen("a") == [Seen.WAITING]
    del setting.queue.jobs["a"]
    setting.settle()
    assert setting.seen("a") == [Seen.REFUSED]


def test_a_wait_for_what_hangs_ends_in_time(setting: Setting) -> None:
    setting.queue.hang_in = "submit"
    setting.background.submit(submission("a"))
    with setting.hanging_in("submit"):
        assert not setting.background.drain(0.01)
    assert setting.background.drain(PATIENCE_S)


_EVENTS = st.sampled_from(["submit", "submit", "poll", "settle", "end", "kill", "refuse", "lose", "away", "break", "well"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_EVENTS, st.integers(0, 9)), max_size=40))
def test_whatever_happens_no_job_is_submitted_twice_or_told_as_over_while_it_is_not(events: list[tuple[str, int]]) -> None:
    setting, names = make(), []
    queue = setting.queue
    for event, which in events:
        chosen = names[which % len(names)] if names else None
        if event == "submit":
            names.append(f"job{len(names)}")
            setting.background.submit(submission(names[-1], id=f"S{len(names)}"))
        elif event == "poll":
            setting.poll(*map(job, names))
        elif event == "settle":
            setting.settle()
        elif event == "end" and chosen in queue.jobs:
            queue.jobs[chosen] = JobStatus(Seen.GONE)
        elif event == "kill" and chosen:
            setting.background.kill([job(chosen)])
        elif event in ("refuse", "lose", "away", "break", "well"):
            queue.refuse = TransientError("full") if event == "refuse" else None
            queue.loses_answer = event == "lose"
            queue.away = {"away": TransientError("away"), "break": RuntimeError("oops")}.get(event)
        setting.settle()
        for name, status in setting.poll(*map(job, names)).items():
            there = queue.jobs.get(name)
            if status.seen in (Seen.GONE, Seen.REFUSED):
                assert there is None or there.seen is Seen.GONE
    queue.refuse, queue.away, queue.loses_answer = None, None, False
    setting.poll(*map(job, names))
    setting.settle()
    setting.settle()
    for name, status in setting.poll(*map(job, names)).items():
        there = queue.jobs.get(name)
        if there is None:
            assert status.seen in (Seen.GONE, Seen.REFUSED)
        else:
            assert status.seen is there.seen
            assert status.handle == f"handle-{name}"
    assert len(queue.called("submit")) == len(set(queue.called("submit")))
    setting.background.close(PATIENCE_S)
