"""Runs a simulation: simulated files, batch systems and buffer (SimPy's events), and the engine's own policies in between.

The policies are not copies: `campaign.slots.decide`, `campaign.deadlines`, `campaign.retries` are called as the engine calls them. A
file costs a handful of events; the engine makes a step only where something could have changed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from heapq import heappop, heappush
from math import ceil

from campaign import deadlines, retries, slots
from campaign.launchers import choice
from campaign.launchers.choice import LauncherState
from campaign.simulation.arrivals import arrivals
from campaign.simulation.batch import REFUSED, SimulatedBatch, SimulatedJob
from campaign.simulation.buffer import Buffer
from campaign.simulation.clock import Clock, Course
from campaign.simulation.distributions import Choices, unit
from campaign.simulation.files import ENDS, File, State
from campaign.simulation.outcome import Outcome, Recorder
from campaign.simulation.parameters import CATALOGUE, Parameters
from campaign.slots import SlotDecision, SlotInputs
from dune_prompt.errors import TransientError

# As in campaign.engine: over how long it measures the rate, of how many jobs their time, and how often it looks at deadlines.
WINDOW_S, FIRST_WINDOW_S, JOBS, DEADLINES_EVERY_S = 600.0, 60.0, 200, 10.0
# While something waits the engine looks at least so often, though nothing happens: deadlines come nearer, launchers come back.
LOOK_AGAIN_S, LOOK_WHILE_OUT_S = 30.0, 2.0
_SHORTEST_JOB_S = 1e-3
# Which random number of a file, or of its n-th attempt, it is.
_JOB_TIME, _FATE, _WHEN, _JITTER = 0, 1, 2, 4


class Simulation:
    """One run of the parameters. Deterministic: the same parameters always give the same outcome.

    With `bad_files_at_most` it stops as soon as more files than that cannot be prompt any more.
    """

    def __init__(self, parameters: Parameters, *, bad_files_at_most: int | None = None) -> None:
        self.parameters = parameters
        self.clock = Clock()
        self.buffer = Buffer(parameters.buffer, parameters.streams)
        self.batches = [SimulatedBatch(self.clock, item, parameters.outages, parameters.seed, self._news) for item in parameters.launchers]
        self.slots: SlotDecision | None = None
        self.record = Recorder(parameters)
        self._choices = [Choices(stream.failures) for stream in parameters.streams]
        self._bad_files_at_most = bad_files_at_most
        self._over = self.clock.event()
        self._soon = 2e-6 * parameters.engine.interval  # as near to a step as numbers of this size can tell
        self._next_step: float | None = None
        self._more_to_come = True
        # The queue, as the ledger keeps it: in the order of `queue_key`, and watched for what becomes late.
        self._coming: deque[tuple[float, File]] = deque()
        self._ready: list[tuple[tuple[bool, float, int], File]] = []
        self._until_late: list[tuple[float, int, File]] = []
        self._retries: list[tuple[float, int, File]] = []
        self._ready_count = self._waiting_count = self._in_flight = self._reported = 0
        self._bucket_s = max(parameters.engine.interval, min(stream.lifetime for stream in parameters.streams) / 48)
        self._deadlines: Counter[int] = Counter()
        self._came: deque[tuple[float, int, int]] = deque()  # when, files, bytes
        self._came_in_window = 0
        self._bytes_in_window = 0
        self._job_times: deque[float] = deque()
        self._job_times_sorted: list[float] = []
        self._waiting_deadlines: tuple[tuple[float, int], ...] = ()
        self._deadlines_at = float("-inf")
        self._launchers = tuple(LauncherState(item.name, item.out_after, item.silent_after) for item in parameters.launchers)
        self._can_be_out = any(batch.has_outages for batch in self.batches)
        self._declared_at = 0.0

    def run(self) -> Outcome:
        """Until every file has come to its end, or nobody waits any longer."""
        self.clock.process(self._files())
        self.clock.process(self._samples())
        for outage in self.parameters.outages:
            if outage.what != CATALOGUE:
                self._plan(outage.end)
        self.clock.run(until=self._over | self.clock.timeout(self.parameters.ends_by))
        self._sample()
        return self.record.outcome(self.clock.now, self.buffer, self.batches)

    # -- what happens outside the engine ---------------------------------------------------------------------------------------

    def _files(self) -> Course:
        parameters, clock = self.parameters, self.clock
        intake = parameters.engine.intake
        for number, (at, stream, run) in enumerate(arrivals(parameters.streams, parameters.duration, parameters.seed)):
            if at > clock.now:
                yield clock.timeout(at - clock.now)
            job_s = parameters.streams[stream].job_time.at(unit(parameters.seed, number, _JOB_TIME))
            file = File(number, stream, run, clock.now, job_s)
            self.record.arrived(file)
            if not self._finds_room(file):
                self._end(file, State.OVERFLOWED)
                continue
            self._coming.append((clock.now + intake, file))
            self._plan(clock.now + intake)
        self._more_to_come = False
        self._check_over()

    def _finds_room(self, file: File) -> bool:
        if self.buffer.arrive(file):
            return True
        self._release()
        return self.buffer.arrive(file)

    def _samples(self) -> Course:
        while True:
            self._sample()
            yield self.clock.timeout(self.record.sample_s)
            self._release()

    def _sample(self) -> None:
        self.record.sample(
            self.clock.now,
            backlog=self._ready_count + self._waiting_count,
            in_flight=self._in_flight,
            running=sum(batch.running for batch in self.batches),
            wanted=self.slots.wanted if self.slots else 0,
            reported=self._reported,
            occupancy=self.buffer.used_bytes,
        )

    def _news(self, batch: SimulatedBatch) -> None:
        """A batch system has something to tell: the engine knows of it at once by itself or by a report, or by its next look."""
        now = self.clock.now
        if batch.settings.reports_pushed or (batch.ended and batch.ended[-1].error_class == REFUSED):
            self._plan(now)
        self._plan(batch.next_look(now))

    def _release(self) -> None:
        """Let files leave the buffer. What is given up is not started any more; what was parked stays so."""
        for file in self.buffer.release(self.clock.now):
            if file.state is not State.PARKED:
                self._unqueue(file)
                self._end(file, State.GIVEN_UP)

    # -- the engine --------------------------------------------------------------------------------------------------------------

    def _plan(self, at: float) -> None:
        """Make a step at the first tick at or after `at`."""
        if self._next_step is not None and self._next_step <= at:
            return
        interval = self.parameters.engine.interval
        at = ceil(max(at, self.clock.now) / interval - 1e-6) * interval
        if self._next_step is None or at < self._next_step:
            self._next_step = at
            self.clock.after(max(at - self.clock.now, 1e-9), partial(self._planned, at))

    def _planned(self, at: float) -> None:
        if self._next_step == at:  # otherwise an earlier one was planned meanwhile
            self._step()

    def _step(self) -> None:
        """What the engine's step does, in its order: look, commit, take in, order, decide, launch."""
        now = self.clock.now
        self._next_step = None
        self.record.steps += 1
        self._look(now)
        self._take_in(now)
        while self._retries and self._retries[0][0] <= now + self._soon:
            file = heappop(self._retries)[2]
            if file.state is State.WAITING:
                self._waiting_count -= 1
                self._make_ready(file)
        while self._until_late and deadlines.is_late(self._until_late[0][0], now, self._job_s()):
            self._mark_late(heappop(self._until_late)[2])
        self._release()
        if self._ready_count or self._in_flight:
            self._launch(now)
        self.record.backlog(now, self._ready_count + self._waiting_count)
        self._plan_next(now)

    def _plan_next(self, now: float) -> None:
        if self._ready_count:
            self._plan(now + LOOK_AGAIN_S)
        if self._retries:
            self._plan(self._retries[0][0])
        if self._coming:
            self._plan(self._coming[0][0])
        for batch in self.batches:
            if batch.ended:
                self._plan(batch.next_look(now + self._soon))

    def _look(self, now: float) -> None:
        done: list[File] = []
        for batch in self.batches:
            if not batch.ended:
                continue
            for job in batch.take_ended(looks=batch.looks_now(now, self.parameters.engine.interval)):
                file = job.file
                self._in_flight -= 1
                self.record.attempt_ended(job)
                if job.error_class is None:
                    self._remember_job_time(now - job.submitted)
                    file.state = State.REPORTED
                    done.append(file)
                else:
                    self._failed(file, job.error_class, now)
        if done:
            self._declare(done, now)

    def _remember_job_time(self, slot_s: float) -> None:
        if len(self._job_times) == JOBS:
            del self._job_times_sorted[bisect_left(self._job_times_sorted, self._job_times.popleft())]
        self._job_times.append(slot_s)
        insort(self._job_times_sorted, slot_s)

    def _job_s(self) -> float | None:
        """The median of the last ones, from submission to the end seen, as the engine measures it."""
        ordered = self._job_times_sorted
        middle = len(ordered) // 2
        if not ordered:
            return None
        return max(ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2, _SHORTEST_JOB_S)

    def _declare(self, files: list[File], now: float) -> None:
        """The outputs are in the catalogues after a while, after an outage, and no faster than that takes."""
        self._reported += len(files)
        engine = self.parameters.engine
        away = next((item.end for item in self.parameters.outages if item.what == CATALOGUE and item.begin <= now < item.end), now)
        at = max(now, away) + engine.declare
        if engine.declares_per_s is None:
            self._later(at, files)
            return
        for file in files:
            self._declared_at = max(at, self._declared_at + 1 / engine.declares_per_s)
            self._later(self._declared_at, [file])

    def _later(self, at: float, files: list[File]) -> None:
        self.clock.after(at - self.clock.now, partial(self._declared, files))

    def _declared(self, files: Sequence[File]) -> None:
        self._reported -= len(files)
        for file in files:
            self.buffer.processed(file)
            self._end(file, State.PROCESSED)

    def _failed(self, file: File, error_class: str, now: float) -> None:
        stream = self.parameters.streams[file.stream]
        decision = retries.decide(
            error_class,
            failures=file.failures,
            attempts=file.attempts,
            allowed_failures=stream.retries + 1,
            now=now,
            jitter=unit(self.parameters.seed, file.number, file.attempts, _JITTER),
        )
        self.record.failures[error_class] += 1
        file.failures = decision.failures
        file.needs = retries.next_needs(error_class, file.needs, memory_bytes=stream.memory, lifetime_s=stream.time_limit or 0.0, host=None)
        if decision.at is None:
            self._end(file, State.PARKED)
            return
        file.state = State.WAITING
        file.late = file.late or deadlines.is_late(file.deadline, now, self._job_s())
        self._waiting_count += 1
        heappush(self._retries, (decision.at, file.number, file))

    def _take_in(self, now: float) -> None:
        new = new_bytes = 0
        streams, early, buffer = self.parameters.streams, self.parameters.engine.early_deadlines, self.parameters.buffer
        while self._coming and self._coming[0][0] <= now + self._soon:
            file = self._coming.popleft()[1]
            if file.state is not State.COMING:
                continue
            new += 1
            new_bytes += streams[file.stream].file_size
            room_s = deadlines.room_s(buffer.capacity, buffer.high_water, self._bytes_in_window / self._window_s(now)) if early else None
            file.deadline = deadlines.deadline_of(file.arrived, streams[file.stream].lifetime, room_s)
            heappush(self._until_late, (file.deadline, file.number, file))
            self._make_ready(file)
        if new:
            self._came.append((now, new, new_bytes))
            self._came_in_window += new
            self._bytes_in_window += new_bytes
        while self._came and self._came[0][0] < now - WINDOW_S:
            _, files, size = self._came.popleft()
            self._came_in_window -= files
            self._bytes_in_window -= size

    def _window_s(self, now: float) -> float:
        return min(max(now, FIRST_WINDOW_S), WINDOW_S)

    def _make_ready(self, file: File) -> None:
        file.state = State.READY
        self._ready_count += 1
        if not file.late:
            self._deadlines[int(file.deadline // self._bucket_s)] += 1
        heappush(self._ready, (deadlines.queue_key(file.late, file.deadline, file.number), file))

    def _leaves_queue(self, file: File) -> None:
        self._ready_count -= 1
        if not file.late:
            bucket = int(file.deadline // self._bucket_s)
            self._deadlines[bucket] -= 1
            if not self._deadlines[bucket]:
                del self._deadlines[bucket]

    def _unqueue(self, file: File) -> None:
        if file.state is State.READY:
            self._leaves_queue(file)
        elif file.state is State.WAITING:
            self._waiting_count -= 1

    def _mark_late(self, file: File) -> None:
        """It cannot be prompt any more if it still waits: it goes after all that can. One that is at work may end in time."""
        if file.state in ENDS:
            return
        if file.state in (State.READY, State.WAITING):
            self.record.missed(file)
        if file.state is State.READY:
            self._leaves_queue(file)
            file.late = True
            self._make_ready(file)
        elif file.state is State.WAITING:
            file.late = True
        self._check_over()

    def _launch(self, now: float) -> None:
        if now - self._deadlines_at >= DEADLINES_EVERY_S:
            self._deadlines_at = now
            self._waiting_deadlines = tuple((bucket * self._bucket_s, self._deadlines[bucket]) for bucket in sorted(self._deadlines))
        inputs = SlotInputs(
            now=now,
            backlog=self._ready_count,
            in_flight=self._in_flight,
            arrivals_per_s=self._came_in_window / self._window_s(now),
            job_s=self._job_s(),
            deadlines=self._waiting_deadlines,
        )
        self.record.decisions += 1
        self.slots = slots.decide(inputs, self.parameters.slots, self.slots)
        free = self.slots.wanted - self._in_flight
        batch, trial = self._launcher(now)
        if batch is None or free <= 0 or not self._ready_count:
            return
        if batch.settings.gather and batch.handed_over_at > now + self._soon:
            self._plan(batch.handed_over_at)
            return
        jobs = self._next_jobs(1 if trial else free)
        try:
            batch.submit(jobs)
        except TransientError:
            for job in jobs:
                self._failed(job.file, REFUSED, now)
            return
        self._in_flight += len(jobs)
        self.record.launched(len(jobs), sum(self.parameters.streams[job.file.stream].file_size for job in jobs))

    def _launcher(self, now: float) -> tuple[SimulatedBatch | None, bool]:
        """Who gets the next jobs, and whether only one as a trial: the engine's own choice between launchers."""
        if not self._can_be_out:
            return self.batches[0], False
        states = tuple(batch.state(now, before) for batch, before in zip(self.batches, self._launchers, strict=True))
        chosen = choice.choose(states, now)
        self._launchers = chosen.launchers
        if any(item.out_since is not None for item in chosen.launchers):
            self._plan(now + LOOK_WHILE_OUT_S)
        return next((batch for batch in self.batches if batch.settings.name == chosen.name), None), chosen.trial

    def _next_jobs(self, count: int) -> list[SimulatedJob]:
        jobs: list[SimulatedJob] = []
        while self._ready and len(jobs) < count:
            key, file = heappop(self._ready)
            if file.state is not State.READY or key[0] != file.late:
                continue  # it left the queue, or stands in it at another place
            self._leaves_queue(file)
            file.state = State.IN_FLIGHT
            file.attempts += 1
            jobs.append(self._job(file))
        return jobs

    def _job(self, file: File) -> SimulatedJob:
        seed, stream = self.parameters.seed, self.parameters.streams[file.stream]
        lasts, error_class = file.job_s, None
        if self._choices[file.stream] and (error_class := self._choices[file.stream].at(unit(seed, file.number, file.attempts, _FATE))):
            lasts *= unit(seed, file.number, file.attempts, _WHEN)
        if stream.time_limit is not None and lasts > (limit := file.needs.lifetime_s or stream.time_limit):
            lasts, error_class = limit, "time_limit"
        return SimulatedJob(file, lasts, error_class)

    # -- ends --------------------------------------------------------------------------------------------------------------------

    def _end(self, file: File, state: State) -> None:
        assert state in ENDS and file.state not in ENDS, f"file {file.number}: {file.state} -> {state}"  # noqa: S101, PT018
        file.state = state
        self.record.ended(file, self.clock.now)
        self._check_over()

    def _check_over(self) -> None:
        too_bad = self._bad_files_at_most is not None and self.record.bad > self._bad_files_at_most
        if (too_bad or (not self._more_to_come and self.record.open == 0)) and not self._over.triggered:
            self._over.succeed()


def simulate(parameters: Parameters) -> Outcome:
    """Run a simulation to its end."""
    return Simulation(parameters).run()
