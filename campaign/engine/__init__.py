"""The engine: one idempotent step that looks, commits, takes in, decides and launches. There is no other way work gets done."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
import structlog

from campaign.deadlines import late_before, room_s
from campaign.engine import commit, guard, launch, measures, settle
from campaign.engine.contact import Beat, Contact
from campaign.engine.intake import Covers, Intake
from campaign.engine.launch import Candidates, Group
from campaign.engine.watch import Ended, Sighting, Watch, job_of
from campaign.inputs.finder import InputFinder
from campaign.installation import Installation
from campaign.launchers.background import Background
from campaign.launchers.choice import Choice, LauncherState, choose
from campaign.launchers.health import Remote
from campaign.launchers.poms import PomsLauncher
from campaign.launchers.protocol import Launcher
from campaign.layout import ALL_STAGES
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import campaigns as ledger_campaigns
from campaign.ledger import launchers as ledger_launchers
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Attempt, Change
from campaign.ledger.tasks import Counts, Move, Task
from campaign.slots import SlotDecision, SlotInputs, decide
from campaign.states import IN_FLIGHT, AttemptState, TaskState
from campaign.versions import coverage, waiving
from campaign.workers import Workers
from dune_prompt.settings.launchers import RemoteLauncherSettings

log = structlog.get_logger(__name__)

_BEFORE = dict(zip(ALL_STAGES[1:], ALL_STAGES, strict=False))
# Deadlines are looked at this often: their need changes slowly, and with a long queue they are a long look.
DEADLINES_EVERY_S = 10.0
# What no event tells is looked for this often: blocked tasks whose step before was done by another hand, files of excluded runs.
TIDY_EVERY_S = 60.0
# Longer than the longest command of a batch system: jobsub waits ten minutes for a tarball to be published.
DRAIN_S = 800.0


@dataclass(frozen=True, slots=True)
class StepSummary:
    """What one step did."""

    started: int = 0
    ended: int = 0
    taken_in: int = 0
    done: int = 0
    launched: int = 0

    @property
    def idle(self) -> bool:
        return not any(asdict(self).values())


@dataclass(frozen=True, slots=True)
class View:
    """What a step sees before it writes anything. `ready` tasks of the `startable` campaigns could start now; `counts` are all tasks."""

    counts: Counts
    startable: list[int]
    ready: int
    beating: list[tuple[Attempt, Beat]]
    seen: Sighting
    settlement: settle.Settlement
    late: list[Task]
    retries: list[Task]

    @property
    def happened(self) -> bool:
        return bool(self.beating or self.settlement.moves or self.late or self.retries) or not self.seen.empty


class Engine:
    """Works through the campaigns of an installation. Holds the ledger's lease; safe to call from several threads."""

    def __init__(
        self,
        installation: Installation,
        launchers: Mapping[str, Launcher],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.installation, self.launchers, self.lease, self.jitter = installation, launchers, installation.lease, jitter
        self.slots = SlotDecision(0, "no decision yet")
        self.contact = Contact()
        self._lock = threading.RLock()
        self._intake = Intake(installation, self.writing, coverage=self._coverage, room_s=self._room_s)
        self.inputs = InputFinder(installation, self.writing)
        self._watch = Watch(installation, launchers)
        self._workers: dict[str, Workers] = {
            settings.kind: Workers(installation, settings)
            for settings in installation.site.launchers
            if isinstance(settings, RemoteLauncherSettings)
        }
        with installation.store.read() as connection:
            self.measures = measures.Measures(connection)
            self._last_task = measures.last_task(connection)
            kept = ledger_launchers.out_since(connection)
        self._states = tuple(LauncherState.of(item, kept.get(item.kind)) for item in installation.site.launchers)
        self.choice: Choice = Choice(None, "no decision yet", False, self._states)
        self._deadlines: tuple[tuple[float, int], ...] = ()
        self._deadlines_at = float("-inf")
        self._tidied_at = float("-inf")

    def step(self, now: float) -> StepSummary:
        """Bring everything forward that can go forward now. Short, repeatable, and safe to be killed anywhere in it.

        One transaction for new work, one for all that has happened and what is started because of it, one for the answers of the batch
        system; none when there is nothing to do.

        Raises:
            LeaseLostError: another engine has taken over.
            TransientError: the store is away.
        """
        with self._lock:
            self.lease.renew(now)
            taken_in = self._take_in(now)
            view = self._look(now)
            self._choose(now)
            # What has to be marked as late first changes the order.
            candidates = None if view.late else self._candidates(view, now)
            done: list[Task] = []
            groups: list[Group] = []
            if view.happened or candidates or abs(now - self._tidied_at) >= TIDY_EVERY_S:
                with self.writing() as connection:
                    done, newly_ready = self._write_down(connection, view, now)
                    groups = self._prepare(connection, candidates, now)
                    folders = settle.clear(self.installation, connection, done) if done else []
                settle.remove(folders)
                self._end_lost(view.seen.ended)
                if newly_ready and (more := self._candidates(self._recount(), now)) is not None:
                    with self.writing() as connection:
                        groups += self._prepare(connection, more, now)
            launched = launch.submit(self.installation, self.launchers, self.writing, groups, now, self.jitter)
            summary = StepSummary(len(view.seen.started), len(view.seen.ended), taken_in, len(done), launched)
            if not summary.idle:
                log.info("step", **asdict(summary), wanted=self.slots.wanted)
            return summary

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction of this engine, under its lease: of a step, or between steps for what comes from elsewhere.

        Raises:
            LeaseLostError: another engine has taken over.
        """
        with self._lock, self.installation.store.write() as connection:
            self.lease.check(connection)
            yield connection

    def health(self) -> list[str]:
        """How the catalogues are that the engine asks, in words."""
        found = [f"{item.catalog} answers" if item.ok else f"{item.catalog} is out: {item.message}" for item in self._intake.health()]
        return [*found, *self._intake.problems]

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """While this is held, no step is made: what was seen stays true until it is written down."""
        with self._lock:
            yield

    def free_slots(self, connection: sa.Connection) -> int:
        """How many jobs may be started now beside those at work, as last decided."""
        counts = ledger_tasks.in_state_counts(connection, self.installation.campaigns)
        return max(self.slots.wanted - counts.of(*IN_FLIGHT), 0)

    def workers(self, launcher: str) -> Workers:
        """What jobs elsewhere need, of a remote launcher of the site file."""
        return self._workers[launcher]

    def make_ready(self) -> None:
        """Build what jobs elsewhere carry, so that the first submission need not wait for it.

        Raises:
            ConfigError: it cannot be built.
        """
        for workers in self._workers.values():
            workers.make_ready()

    def drain(self) -> bool:
        """Wait until remote batch systems have taken or refused what they were given; whether there are any."""
        remote = [launcher for launcher in self.launchers.values() if isinstance(launcher, Background)]
        for launcher in remote:
            if not launcher.drain(DRAIN_S):
                log.warning("batch system has not answered in time; the next step looks for what it was given", launcher=launcher.name)
        return bool(remote)

    def close(self) -> None:
        """End what runs beside the steps. Jobs go on."""
        self._intake.close()
        self.inputs.close()
        for launcher in self.launchers.values():
            if isinstance(launcher, Remote):
                launcher.close()

    def _room_s(self, now: float) -> float | None:
        buffer = self.installation.site.buffer
        return room_s(buffer.capacity, buffer.high_water, self.measures.bytes_per_s(now))

    def _coverage(self, connection: sa.Connection) -> Mapping[int, Covers]:
        return {campaign_id: item.covers for campaign_id, item in coverage.load(connection, self.installation.campaigns).items()}

    # -- what has happened -------------------------------------------------------------------------------------------------

    def _take_in(self, now: float) -> int:
        new = self._intake.take_in(now)
        tasks = size_bytes = 0
        if new:
            with self.installation.store.read() as connection:
                tasks, size_bytes, self._last_task = measures.size_of_new(connection, self._last_task, now)
        self.measures.arrived(tasks, size_bytes, now)
        return new

    def _look(self, now: float) -> View:
        """See what has happened to jobs, to outputs that are being declared, and by the passing of time."""
        with self.installation.store.read() as connection:
            counts = ledger_tasks.in_state_counts(connection, self.installation.campaigns)
            startable = ledger_campaigns.startable(connection, self.installation.campaigns)
            attempts = ledger_attempts.in_flight(connection)
            tasks = ledger_tasks.by_ids(connection, {attempt.task_id for attempt in attempts})
            reported = counts.of(TaskState.REPORTED)
            settlement = settle.plan(self.installation, connection, now, self.jitter) if reported else settle.Settlement()
            late = ledger_tasks.now_late(connection, late_before(now, self.measures.job_s))
            retries = ledger_tasks.due_retries(connection, now) if counts.of(TaskState.WAITING_RETRY) else []
        beats, arrived = self.contact.collect(now)
        attempts = [
            replace(attempt, heartbeat_at=beat.at, host=beat.host or attempt.host) if (beat := beats.get(attempt.id)) else attempt
            for attempt in attempts
        ]
        seen = self._watch.look(attempts, tasks, arrived, now)
        for item in seen.ended:
            if item.error_class is not None and (launcher := self.launchers.get(item.attempt.launcher)) is not None:
                launcher.fetch_log(job_of(self.installation, item.attempt, item.task))
        beating = [(attempt, beats[attempt.id]) for attempt in attempts if attempt.id in beats]
        return View(counts, startable, counts.of(TaskState.READY, campaigns=startable), beating, seen, settlement, late, retries)

    def _end_lost(self, ended: Sequence[Ended]) -> None:
        """A job elsewhere that counts as lost may live on, or begin yet: its place is better used. If it cannot be reached, the answer to
        its first heartbeat ends it."""
        for name, launcher in self.launchers.items():
            lost = [item for item in ended if item.attempt.launcher == name and item.error_class == "lost"]
            if lost and launcher.answers_later:
                launcher.kill([job_of(self.installation, item.attempt, item.task) for item in lost])

    def _recount(self) -> View:
        """The counts as they are now, with nothing happening."""
        with self.installation.store.read() as connection:
            counts = ledger_tasks.in_state_counts(connection, self.installation.campaigns)
            startable = ledger_campaigns.startable(connection, self.installation.campaigns)
        return View(counts, startable, counts.of(TaskState.READY, campaigns=startable), [], Sighting(), settle.Settlement(), [], [])

    def _write_down(self, connection: sa.Connection, view: View, now: float) -> tuple[list[Task], bool]:
        """Write down what was seen and what follows from it; the tasks that are done with that, and whether others are ready now."""
        changes = [
            Change(attempt, {"heartbeat_at": beat.at, "host": beat.host or attempt.host, "lease_until": beat.lease_until(attempt)})
            for attempt, beat in view.beating
        ]
        moves = []
        for attempt, task, handle in view.seen.taken:
            changes.append(Change(attempt, {"state": AttemptState.SUBMITTED, "handle": handle, "submitted_at": now}))
            if task.state is TaskState.SUBMITTING:
                moves.append(Move(task, TaskState.SUBMITTED, None, {"submitted_at": now}))
        for attempt, task, status in view.seen.started:
            running = {"state": AttemptState.RUNNING, "started_at": now, "submitted_at": attempt.submitted_at or now}
            changes.append(Change(attempt, running | {"handle": status.handle or attempt.handle, "host": status.host or attempt.host}))
            if task.state is not TaskState.RUNNING:
                moves.append(Move(task, TaskState.RUNNING, None, {"started_at": now, "submitted_at": task.submitted_at or now}))
        ledger_attempts.update(connection, changes, now)
        ledger_tasks.apply(connection, moves, now)
        done = commit.commit(self.installation, connection, view.seen.ended, now, self.jitter) if view.seen.ended else []
        failed = {item.task.campaign_id for item in view.seen.ended if item.error_class is not None}
        guard.watch_over(self.installation, connection, failed, now)
        for item in view.seen.ended:
            if item.error_class is None:
                self.measures.ended(now - (item.attempt.submitted_at or item.attempt.created_at))
        settle.carry_out(self.installation, connection, view.settlement, now)
        ledger_tasks.mark_late(connection, view.late)
        done += view.settlement.done
        tidy = abs(now - self._tidied_at) >= TIDY_EVERY_S
        blocked = ledger_tasks.unblocked(connection, _BEFORE, None if tidy else done) if tidy or done else []
        # Read again: some of them have just been marked as late.
        retries = ledger_tasks.by_ids(connection, [task.id for task in view.retries]).values()
        ready = [Move(task, TaskState.READY, task.message, {"ready_at": now}) for task in (*retries, *blocked)]
        ledger_tasks.apply(connection, ready, now)
        if failed or tidy:
            # What failed in an excluded run is not tried again; new files of one are not kept for it.
            waiving.waive_excluded(connection, now)
        if tidy:
            self._tidied_at = now
        again = any(move.to is TaskState.READY for move in view.settlement.moves)
        return done, bool(ready or again or view.late)

    # -- what to do --------------------------------------------------------------------------------------------------------

    def _candidates(self, view: View, now: float) -> Candidates | None:
        """Decide how many jobs should run, and find those that can be started now, with the places of their inputs."""
        in_flight = view.counts.of(*IN_FLIGHT) - len(view.seen.ended)
        if abs(now - self._deadlines_at) >= DEADLINES_EVERY_S:
            self._deadlines_at = now
            with self.installation.store.read() as connection:
                self._deadlines = ledger_tasks.waiting_deadlines(connection, view.startable, now) if view.ready else ()
        inputs = SlotInputs(
            now=now,
            backlog=view.ready,
            in_flight=in_flight,
            arrivals_per_s=self.measures.tasks_per_s(now),
            job_s=self.measures.job_s,
            deadlines=self._deadlines,
        )
        self.slots = decide(inputs, self.installation.site.slots, self.slots)
        free = self.slots.wanted - in_flight
        if self.choice.name is None or free <= 0 or not view.ready or self._still_submitting() or self._is_fetched():
            return None
        with self.installation.store.read() as connection:
            tasks = ledger_tasks.queue(connection, view.startable, now, 1 if self.choice.trial else free)
            return Candidates.of(connection, tasks, self.inputs) if tasks else None

    def _still_submitting(self) -> bool:
        """A batch system that has not taken the last submission yet gets no other: they would queue up, and small ones are dear."""
        return any(state.name == self.choice.name and state.pending for state in self._states)

    def _is_fetched(self) -> bool:
        """Whether the next jobs are fetched by launches (`campaign.poms.handing_out`), not submitted here."""
        return isinstance(self.launchers.get(self.choice.name or ""), PomsLauncher)

    def _prepare(self, connection: sa.Connection, candidates: Candidates | None, now: float) -> list[Group]:
        """Write down the jobs that are started now."""
        if candidates is None or self.choice.name is None:
            return []
        workers = self._workers.get(self.choice.name)
        return launch.prepare_groups(self.installation, connection, candidates, self.choice.name, workers, now)

    def _choose(self, now: float) -> None:
        """Which launcher gets the next jobs; who has come to be out, or back, is written down."""
        states = tuple(
            state.seen(launcher.health()) if isinstance(launcher := self.launchers.get(state.name), Remote) else state
            for state in self._states
        )
        self.choice = choose(states, now)
        before, self._states = self._states, self.choice.launchers
        if [item.out_since for item in before] != [item.out_since for item in self._states]:
            log.warning("batch systems", choice=self.choice.reason)
            with self.writing() as connection:
                ledger_launchers.keep(connection, self._states, self.choice.reason, now)
