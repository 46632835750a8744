"""A slow batch system in a thread of its own: the engine's step hands over and asks, and never waits.

`condor_submit`, `jobsub_submit` and their like take seconds to minutes. One thread for each batch system does one thing after the other:
it ends jobs, hands submissions over in the order they came, looks at the queue, brings logs. Between two submissions it looks when a look
is due, so that a long list of submissions does not make it blind.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from campaign.launchers.health import Health
from campaign.launchers.protocol import Job, JobStatus, Launcher, Seen, Submission
from dune_prompt.errors import ConfigError, DunePromptError, TransientError

log = structlog.get_logger(__name__)

MOST_KILLS = 10_000
MOST_LOGS = 1_000
_TEXT = 300
# What a launcher may raise, faults in its code included. None of it ends the thread.
_ANYTHING = (Exception, SystemExit)


@dataclass(slots=True)
class _Taken:
    """A job that was submitted here. `refused`: the batch system did not take it.

    Neither handle nor refusal: it waits here, or (`unclear_since`) its submission failed and the queue has yet to tell that it is not there
    after all: `error` is what went wrong then.
    """

    job: Job
    handle: str | None = None
    submitted_at: float = 0.0
    unclear_since: float | None = None
    error: str = ""
    refused: JobStatus | None = None
    asked_for: bool = False

    @property
    def is_here(self) -> bool:
        return self.handle is None and self.refused is None and self.unclear_since is None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a look has told of a job. `asked_at`: when the look began; what ended stays ended and does not age."""

    status: JobStatus
    asked_at: float


class Background:
    """Puts a launcher that blocks into a thread of its own. A launcher itself, whose calls return at once; safe to call from any thread.

    `submit` only takes the jobs over. `poll` tells what became of them: WAITING without a handle until the batch system has taken them,
    REFUSED when it did not. Its answers are those of the newest look; when that is older than `silent_after` seconds, or there was none,
    they are UNKNOWN. `poll_every` seconds pass between two looks, `clock` is what their times are read from.

    What waits here when the process ends was never submitted: the next process finds that it is not in the queue.
    """

    answers_later = True

    def __init__(
        self,
        launcher: Launcher,
        *,
        poll_every: float,
        silent_after: float,
        health: Health | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = launcher.name
        self._launcher, self._poll_every, self._silent_after, self._clock = launcher, poll_every, silent_after, clock
        self._health = health or Health()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        # All below is only touched while `_changed` is held.
        self._submissions: deque[Submission] = deque()
        self._handing_over: Submission | None = None
        # Jobs of submissions that wait here, that are to be ended as soon as these have been handed over.
        self._unwanted: set[str] = set()
        self._taken: dict[str, _Taken] = {}
        self._asked: dict[str, Job] = {}
        self._answers: dict[str, _Answer] = {}
        self._kills: dict[str, Job] = {}
        self._kills_failed: dict[str, Job] = {}
        self._logs: dict[str, Job] = {}
        self._news = False
        self._look_at = 0.0  # of the monotonic clock
        self._may_look, self._woken = True, False
        self._busy = False
        self._looks_begun = self._looks_done = 0

    # --- what the engine calls

    def submit(self, submission: Submission) -> Mapping[str, str]:
        """Take the jobs over; always an empty answer. What becomes of them is told by `poll`."""
        with self._changed:
            self._taken.update({job.attempt: _Taken(job) for job in submission.jobs})
            self._submissions.append(submission)
            self._go_on()
        return {}

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        """The state of each job as far as it is known here. What is no longer asked for is forgotten, and not submitted any more."""
        with self._changed:
            asked = {job.attempt: job for job in jobs}
            for attempt in self._taken.keys() & asked.keys():
                self._taken[attempt].asked_for = True
            self._forget({attempt for attempt, taken in self._taken.items() if taken.asked_for and attempt not in asked})
            self._answers = {attempt: answer for attempt, answer in self._answers.items() if attempt in asked}
            self._asked = asked
            self._go_on()
            return {job.attempt: self._status(job, now) for job in jobs}

    def kill(self, jobs: Sequence[Job]) -> None:
        """Have the jobs ended soon. A submission that still waits here is not handed over when all its jobs are ended."""
        with self._changed:
            for attempt in self._withdraw({job.attempt for job in jobs}):
                self._taken[attempt].refused = JobStatus(Seen.GONE, message="ended before it was submitted")
                self._news = True
            for job in jobs:
                if job.attempt in self._unwanted:
                    continue  # when its submission has been handed over
                if (taken := self._taken.get(job.attempt)) is None or taken.refused is None:
                    _add_bounded(self._kills, job, MOST_KILLS)
            self._go_on()

    def fetch_log(self, job: Job) -> None:
        """Have the log brought soon."""
        with self._changed:
            _add_bounded(self._logs, job, MOST_LOGS)
            self._go_on()

    def available(self) -> None:
        """Tell from the newest sign of life.

        Raises:
            TransientError: there was none yet, the last question failed, or one has had no answer for `silent_after`.
        """
        with self._changed:
            self._go_on()
            health = self._health
            silent_s = 0.0 if health.unanswered_since is None else self._clock() - health.unanswered_since
        if health.answered_at is None:
            raise TransientError(f"{self.name}: {health.last_error or 'has not answered yet'}")
        if health.answering_since is None or silent_s > self._silent_after:
            raise TransientError(f"{self.name}: {health.last_error or f'no answer for {silent_s:.0f} s'}")

    def something_ended(self) -> bool:
        """Whether anything has changed since the last time this was asked."""
        with self._changed:
            news, self._news = self._news, False
            return news

    def health(self) -> Health:
        """How the batch system is doing."""
        with self._changed:
            self._go_on()
            return replace(self._health, pending=len(self._submissions) + (self._handing_over is not None))

    def wake(self) -> None:
        """Look at the queue as soon as possible."""
        with self._changed:
            self._look_soon()
            self._go_on()

    def drain(self, timeout_s: float) -> bool:
        """Wait until all that was asked for is done and a look has begun after this call and ended; whether it was in time.

        For programs that end after one step of the engine: what still waits here then would never be submitted.
        """
        with self._changed:
            wanted = self._looks_begun + 1
            self._look_soon()
            self._go_on()
            return self._changed.wait_for(lambda: self._looks_done >= wanted and not self._pending() and not self._busy, timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread; a command that hangs is left behind after `timeout_s`, it does not keep the process."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    # --- what is known; all of it while `_changed` is held

    def _status(self, job: Job, now: float) -> JobStatus:
        taken = self._taken.get(job.attempt)
        if taken is not None:
            if taken.refused is not None:
                return taken.refused
            if taken.unclear_since is not None and now - taken.unclear_since > self._silent_after:
                taken.refused = JobStatus(Seen.REFUSED, "launch", f"{taken.error}; and it does not tell whether it has the job")
                _add_bounded(self._kills, job, MOST_KILLS)  # in case it has
                return taken.refused
            if taken.handle is None:
                return JobStatus(Seen.WAITING)
        handle = job.handle if taken is None else taken.handle
        answer = self._answers.get(job.attempt)
        if answer is not None and (answer.status.seen is Seen.GONE or now - answer.asked_at <= self._silent_after):
            return answer.status if answer.status.handle else replace(answer.status, handle=handle)
        if answer is None and taken is not None and now - taken.submitted_at <= self._silent_after:
            return JobStatus(Seen.WAITING, handle=handle)
        message = self._health.last_error if self._health.answering_since is None else None
        return JobStatus(Seen.UNKNOWN, message=message, handle=handle)

    def _withdraw(self, attempts: set[str]) -> list[str]:
        """Take submissions back that wait here and that nobody wants any more; whose jobs did. A job is known by its index: one among
        others stays in its submission, and is ended when that has been handed over."""
        withdrawn: list[str] = []
        for _ in range(len(self._submissions)):
            submission = self._submissions.popleft()
            jobs = {job.attempt for job in submission.jobs}
            self._unwanted |= jobs & attempts
            if jobs <= self._unwanted:
                withdrawn += [job.attempt for job in submission.jobs if job.attempt in attempts]
                self._unwanted -= jobs
            else:
                self._submissions.append(submission)
        return withdrawn

    def _forget(self, attempts: set[str]) -> None:
        """Nobody asks for these any more. One that is just being handed over, or may have been, is ended."""
        if not attempts:
            return
        self._withdraw(attempts)
        handing_over = {job.attempt for job in self._handing_over.jobs} if self._handing_over is not None else set()
        for attempt in attempts:
            taken = self._taken.pop(attempt)
            if attempt in handing_over or (taken.unclear_since is not None and taken.refused is None):
                _add_bounded(self._kills, taken.job, MOST_KILLS)

    def _go_on(self) -> None:
        """Let the thread see what is new; it begins with the first thing there is to do."""
        if self._thread is None and not self._closing:
            self._thread = threading.Thread(target=self._run, name=f"launcher {self.name}", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _look_soon(self) -> None:
        """Look now, and once more if a look is just being made."""
        self._woken, self._look_at = True, 0.0

    def _pending(self) -> bool:
        return bool(self._submissions or self._kills or self._logs)

    # --- the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while (work := self._next()) is None and not self._closing:
                    self._changed.wait(max(self._look_at - time.monotonic(), 0.0))
                if self._closing or work is None:
                    return
                self._busy = True
            try:
                work()
            except _ANYTHING:
                log.exception("fault in the thread of a launcher", launcher=self.name)

    def _next(self) -> Callable[[], None] | None:
        """What to do now: end jobs, look if that is due, hand a submission over, bring a log. After a look a submission comes first."""
        if self._kills:
            return self._end_jobs
        if time.monotonic() >= self._look_at and (self._may_look or not self._submissions):
            return self._look
        if self._submissions:
            return self._hand_over
        return self._bring_log if self._logs else None

    def _hand_over(self) -> None:
        with self._changed:
            self._may_look = True
            submission = self._handing_over = self._submissions.popleft()
            self._asks()
        handles: Mapping[str, str] = {}
        error_class, unclear = "launch", False
        error: str | None = None
        try:
            handles = self._launcher.submit(submission)
        except ConfigError as problem:
            error_class, error = "configuration", str(problem)
        except DunePromptError as problem:
            error, unclear = str(problem), True
        except _ANYTHING as problem:
            log.exception("fault in a launcher", launcher=self.name, submission=submission.id)
            error, unclear = f"fault in the code: {type(problem).__name__}: {problem}", True
        with self._changed:
            at = self._clock()
            self._handing_over = None
            if error is None:
                self._answered(at)
            else:
                self._failed(error[:_TEXT])
            reason = (error or "the batch system did not start it")[:_TEXT]
            self._count_refusal(at, None if handles else reason)
            for job in submission.jobs:
                if job.attempt in self._unwanted:
                    self._unwanted.discard(job.attempt)
                    _add_bounded(self._kills, replace(job, handle=handles.get(job.attempt)), MOST_KILLS)
                handle, taken = handles.get(job.attempt), self._taken.get(job.attempt)
                if taken is None:  # nobody asks for it any more; it will be ended
                    if handle and job.attempt in self._kills:
                        self._kills[job.attempt] = replace(job, handle=handle)
                elif handle:
                    taken.handle, taken.submitted_at = handle, at
                elif unclear:
                    taken.unclear_since, taken.error = at, reason
                    self._look_soon()
                else:
                    taken.refused = JobStatus(Seen.REFUSED, error_class, reason)
            self._news = True

    def _look(self) -> None:
        """Ask for all jobs that may be in the queue; with none, for a sign of life."""
        with self._changed:
            self._may_look = self._woken = False
            self._looks_begun += 1
            jobs = self._to_look_for()
            asked_at = self._asks()
        statuses: Mapping[str, JobStatus] = {}
        error: str | None = None
        try:
            if jobs:
                statuses = self._launcher.poll(jobs, asked_at)
            if all(status.seen is Seen.UNKNOWN for status in statuses.values()):
                self._launcher.available()
        except DunePromptError as problem:
            error = str(problem)
        except _ANYTHING as problem:
            log.exception("fault in a launcher", launcher=self.name)
            error = f"fault in the code: {type(problem).__name__}: {problem}"
        with self._changed:
            if error is None:
                self._answered(self._clock())
            else:
                if self._health.answering_since is not None or self._health.last_error != error[:_TEXT]:
                    log.warning("batch system does not answer", launcher=self.name, error=error[:_TEXT])
                self._failed(error[:_TEXT])
            for job in jobs:
                if (status := statuses.get(job.attempt)) is not None and status.seen is not Seen.UNKNOWN:
                    self._learn(job, status, asked_at)
            self._kills |= self._kills_failed
            self._kills_failed = {}
            self._looks_done += 1
            self._look_at = 0.0 if self._woken else time.monotonic() + self._poll_every

    def _to_look_for(self) -> list[Job]:
        """The jobs asked for and those whose submission is unclear; not what waits here, and not what is over."""
        jobs = {attempt: taken.job for attempt, taken in self._taken.items() if taken.unclear_since is not None} | self._asked
        found = []
        for attempt, job in jobs.items():
            taken, answer = self._taken.get(attempt), self._answers.get(attempt)
            over = answer is not None and answer.status.seen is Seen.GONE
            if not over and (taken is None or not (taken.is_here or taken.refused)):
                found.append(self._with_handle(job))
        return found

    def _learn(self, job: Job, status: JobStatus, asked_at: float) -> None:
        """What a look has told of a job that may have been submitted."""
        taken, before = self._taken.get(job.attempt), self._answers.get(job.attempt)
        if taken is not None and taken.handle is None:
            if taken.is_here or taken.refused is not None:
                return  # it was not in the queue when the look began
            if status.seen in (Seen.GONE, Seen.REFUSED) and status.handle is None:
                taken.refused = JobStatus(Seen.REFUSED, "launch", taken.error)
                self._news = True
                return
            del self._taken[job.attempt]  # it is there: from now on it is like one of an earlier process
            self._health = replace(self._health, refused_in_a_row=0)
        if not status.handle and before is not None:
            status = replace(status, handle=before.status.handle)
        self._answers[job.attempt] = _Answer(status, asked_at)
        if before is None or (before.status.seen, before.status.handle) != (status.seen, status.handle):
            self._news = True

    def _end_jobs(self) -> None:
        with self._changed:
            kills, self._kills = self._kills, {}
            jobs = [self._with_handle(job) for job in kills.values()]
        try:
            self._launcher.kill(jobs)
        except DunePromptError as problem:
            log.warning("jobs could not be ended now", launcher=self.name, jobs=len(jobs), error=str(problem)[:_TEXT])
            with self._changed:
                self._kills_failed = kills
            return
        except _ANYTHING:
            log.exception("fault in a launcher", launcher=self.name)
        with self._changed:
            self._look_soon()

    def _bring_log(self) -> None:
        with self._changed:
            job = self._with_handle(self._logs.pop(next(iter(self._logs))))
        try:
            self._launcher.fetch_log(job)
        except _ANYTHING as problem:
            log.warning("log not brought", launcher=self.name, attempt=job.attempt, error=str(problem)[:_TEXT])

    def _with_handle(self, job: Job) -> Job:
        """The job with its handle, which the engine may not have been told yet."""
        taken, answer = self._taken.get(job.attempt), self._answers.get(job.attempt)
        known = (taken.handle if taken is not None else None) or (answer.status.handle if answer is not None else None)
        return replace(job, handle=known) if known and not job.handle else job

    # --- health; while `_changed` is held

    def _asks(self) -> float:
        """A question begins now; when."""
        at = self._clock()
        if self._health.unanswered_since is None:
            self._health = replace(self._health, unanswered_since=at)
        return at

    def _answered(self, at: float) -> None:
        health = self._health
        # An answer after too long a silence begins a new time of answering.
        silent = health.unanswered_since is not None and at - health.unanswered_since > self._silent_after
        since = at if silent or health.answering_since is None else health.answering_since
        self._health = replace(health, answered_at=at, unanswered_since=None, answering_since=since)

    def _failed(self, error: str) -> None:
        self._health = replace(self._health, last_error=error, answering_since=None)

    def _count_refusal(self, at: float, error: str | None) -> None:
        if error is None:
            self._health = replace(self._health, refused_in_a_row=0)
        else:
            refused = self._health.refused_in_a_row + 1
            self._health = replace(self._health, refused_in_a_row=refused, refused_at=at, last_error=error)


def _add_bounded(jobs: dict[str, Job], job: Job, most: int) -> None:
    """Put a job last, its newest form; beyond `most` the oldest is left out."""
    jobs.pop(job.attempt, None)
    jobs[job.attempt] = job
    if len(jobs) > most:
        del jobs[next(iter(jobs))]
