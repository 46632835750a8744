"""A batch system of the simulation: submissions are handed over one after the other, jobs wait for their latency, for the next negotiation
and for a slot, run, and end. It shows the health that `campaign.launchers.choice` judges, as `campaign.launchers.background` would see it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, floor

from campaign.launchers.choice import LauncherState
from campaign.simulation.clock import Clock, Course
from campaign.simulation.distributions import unit
from campaign.simulation.files import File
from campaign.simulation.parameters import LauncherParameters, Outage
from dune_prompt.errors import TransientError

_LATENCY = 3  # which random number of an attempt this is
# Who ends so sends no report: the engine learns it from the queue. A refused job is known by itself.
_WITHOUT_REPORT = ("lost", "crashed", "memory", "time_limit")
REFUSED = "launch"


class SimulatedJob:
    """One attempt. `lasts_s` is how long it will hold its slot, `error_class` how it will end (None: well)."""

    __slots__ = ("began", "error_class", "file", "lasts_s", "slot_s", "starts", "submitted")

    def __init__(self, file: File, lasts_s: float, error_class: str | None) -> None:
        self.file, self.lasts_s, self.error_class = file, lasts_s, error_class
        self.submitted = 0.0
        self.began: float | None = None
        self.slot_s = 0.0
        self.starts = 0  # a start that was taken back makes the end it would have had void


class SimulatedBatch:
    """Takes jobs or refuses them, shows ended ones, or nothing while it is out. `on_news` is called when something has ended."""

    def __init__(
        self, clock: Clock, settings: LauncherParameters, outages: Sequence[Outage], seed: int, on_news: Callable[[SimulatedBatch], None]
    ) -> None:
        self._clock, self.settings, self._seed, self._on_news = clock, settings, seed, on_news
        self._outages = sorted((outage for outage in outages if outage.what == settings.name), key=lambda outage: outage.begin)
        self._idle: deque[SimulatedJob] = deque()
        self._running: dict[SimulatedJob, None] = {}
        self._known: dict[SimulatedJob, None] = {}
        self.ended: list[SimulatedJob] = []
        self._next_start = 0.0
        self._start_planned = False
        self.handed_over_at = 0.0  # when the last submission taken over here is with it
        self._refused = 0
        self._refused_at: float | None = None
        self.busy_slot_s = 0.0
        self.running_peak = 0
        for outage in self._outages:
            clock.process(self._outage(outage))

    # -- what the engine sees ------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def has_outages(self) -> bool:
        return bool(self._outages)

    def next_look(self, at: float) -> float:
        """The first look at its queue at or after `at` that it answers."""
        outage = self._out_at(at)
        return self._grid(outage.end if outage else at)

    def looks_now(self, now: float, within_s: float) -> bool:
        """Whether a look at the queue, which it answers, is made in this step of the engine."""
        every = self.settings.poll_every
        on_time = not every or now - floor(now / every + 1e-6) * every < within_s
        return on_time and self._out_at(now) is None

    def state(self, now: float, before: LauncherState) -> LauncherState:
        """How it looks to the choice between launchers. Questions are asked in each look; one in an outage is not answered."""
        failing_since = answering_since = None
        for outage in self._outages:
            first_look = self._grid(outage.begin)
            if now < first_look:
                break
            back = self._grid(outage.end)
            failing_since, answering_since = (first_look, None) if now < back else (None, back)
        return LauncherState(
            name=self.settings.name,
            out_after=self.settings.out_after,
            silent_after=self.settings.silent_after,
            refused_in_a_row=self._refused,
            refused_at=self._refused_at,
            answered_at=failing_since or now,
            unanswered_since=failing_since,
            answering_since=None if failing_since is not None else answering_since or 0.0,
            pending=int(self.handed_over_at > now),
            out_since=before.out_since,
        )

    def submit(self, jobs: Sequence[SimulatedJob]) -> None:
        """Take the jobs over, to hand them over one slice after the other. What becomes of them is seen later.

        Raises:
            TransientError: it is out, and is one that answers at once.
        """
        now = self._clock.now
        if self.settings.out_after is None and self._out_at(now) is not None:
            raise TransientError(f"{self.settings.name} takes no jobs")
        for first in range(0, len(jobs), self.settings.slice):
            self.handed_over_at = max(self.handed_over_at, now) + self.settings.submit
            part = jobs[first : first + self.settings.slice]
            if self._out_at(self.handed_over_at) is None:
                self._take(part, self.handed_over_at)
            else:
                self._clock.after(self.handed_over_at - now, partial(self._refuse, part))

    def take_ended(self, *, looks: bool) -> list[SimulatedJob]:
        """The ended jobs that can be known of: refused ones, those with a report, and with a look at the queue all."""
        if looks:
            ended, self.ended = self.ended, []
            return ended
        pushed = self.settings.reports_pushed
        known = [job for job in self.ended if job.error_class == REFUSED or (pushed and job.error_class not in _WITHOUT_REPORT)]
        if known:
            left = set(known)
            self.ended = [job for job in self.ended if job not in left]
        return known

    # -- what happens there --------------------------------------------------------------------------------------------------

    def _out_at(self, at: float) -> Outage | None:
        return next((outage for outage in self._outages if outage.begin <= at < outage.end), None) if self._outages else None

    def _grid(self, at: float) -> float:
        every = self.settings.poll_every
        return ceil(at / every - 1e-6) * every if every else at

    def _take(self, jobs: Sequence[SimulatedJob], at: float) -> None:
        self._refused = 0
        settings, now = self.settings, self._clock.now
        for job in jobs:
            self._known[job] = None
            job.submitted = at
            start = at + settings.latency.at(unit(self._seed, job.file.number, job.file.attempts, _LATENCY))
            if settings.cycle:
                start = ceil(start / settings.cycle - 1e-9) * settings.cycle
            self._clock.after(start - now, partial(self._could_start, job))

    def _refuse(self, jobs: Sequence[SimulatedJob]) -> None:
        """Whether it has the jobs after all is unclear until a look can tell, or nobody waits for that any more."""
        now = self._clock.now
        self._refused += 1
        self._refused_at = now
        for job in jobs:
            job.error_class, job.submitted = REFUSED, now
            self._known[job] = None
        self._clock.after(min(self.next_look(now) - now, self.settings.silent_after), partial(self._was_refused, jobs))

    def _was_refused(self, jobs: Sequence[SimulatedJob]) -> None:
        for job in jobs:
            if job in self._known:
                self._leave(job)
        self._on_news(self)

    def _could_start(self, job: SimulatedJob) -> None:
        if job in self._known:
            self._idle.append(job)
            self._start()

    def _start(self) -> None:
        """Start what waits, as far as there are slots."""
        now = self._clock.now
        slots = self.settings.slots
        while self._idle and (slots is None or len(self._running) < slots) and self._out_at(now) is None:
            if self.settings.starts_per_s is not None:
                if now < self._next_start - 1e-9:
                    if not self._start_planned:
                        self._start_planned = True
                        self._clock.after(self._next_start - now, self._start_again)
                    return
                self._next_start = now + 1 / self.settings.starts_per_s
            job = self._idle.popleft()
            job.began = now
            self._running[job] = None
            self.running_peak = max(self.running_peak, len(self._running))
            self._clock.after(job.lasts_s, partial(self._end, job, job.starts))

    def _start_again(self) -> None:
        self._start_planned = False
        self._start()

    def _end(self, job: SimulatedJob, start: int) -> None:
        if job.starts != start:
            return
        self._leave(job)
        self._start()
        self._on_news(self)

    def _leave(self, job: SimulatedJob) -> None:
        if job in self._running:
            del self._running[job]
            job.slot_s = self._clock.now - (job.began or 0.0)
            self.busy_slot_s += job.slot_s
        del self._known[job]
        self.ended.append(job)

    def _outage(self, outage: Outage) -> Course:
        yield self._clock.timeout(outage.begin)
        if outage.jobs == "lost":
            for job in list(self._known):
                if job.error_class != REFUSED:
                    job.error_class = "lost"
                    job.starts += 1
                    self._leave(job)
            self._idle.clear()
        elif outage.jobs == "restarted":
            for job in self._running:
                self.busy_slot_s += self._clock.now - (job.began or 0.0)
                job.starts += 1
            self._idle.extendleft(reversed(self._running))
            self._running.clear()
        self._on_news(self)
        yield self._clock.timeout(outage.end - outage.begin)
        self._start()
        self._on_news(self)
