"""The engine: one idempotent step that looks, commits, takes in, decides and launches. There is no other way work gets done."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import sqlalchemy as sa
import structlog

from campaign.engine import commit, intake, launch, settle, watch
from campaign.installation import Installation
from campaign.launchers.protocol import Launcher
from campaign.layout import ALL_STAGES
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tasks import Move, Task
from campaign.slots import SlotDecision, wanted_slots
from campaign.states import IN_FLIGHT, AttemptState, TaskState
from dune_prompt.errors import TransientError

log = structlog.get_logger(__name__)

_BEFORE = dict(zip(ALL_STAGES[1:], ALL_STAGES, strict=False))


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
        self._lock = threading.RLock()
        self._backfill = [campaign for campaign in installation.campaigns.values() if campaign.behind]

    def step(self, now: float) -> StepSummary:
        """Bring everything forward that can go forward now. Short, repeatable, and safe to be killed anywhere in it.

        Raises:
            LeaseLostError: another engine has taken over.
            TransientError: the store is away.
        """
        with self._lock:
            self.lease.renew(now)
            started, ended, done = self._sync(now)
            taken_in = self._take_in(now)
            done += self._advance(now)
            self._clear(done)
            launched = self._launch(now)
            summary = StepSummary(started, ended, taken_in, len(done), launched)
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

    def _sync(self, now: float) -> tuple[int, int, list[Task]]:
        """Look at the jobs in flight; commit those that ended. How many began and ended, and the tasks that are done with it."""
        store = self.installation.store
        with store.read() as connection:
            attempts = ledger_attempts.in_flight(connection)
            tasks = ledger_tasks.by_ids(connection, {attempt.task_id for attempt in attempts})
        if not attempts:
            return 0, 0, []
        try:
            seen = watch.look(self.installation, self.launchers, attempts, tasks, now)
        except TransientError as error:
            log.warning("batch system away; its jobs are left as they are", error=str(error))
            return 0, 0, []
        if not seen.started and not seen.ended:
            return 0, 0, []
        keepings = {campaign_id: campaign.settings.outputs.keeping for campaign_id, campaign in self.installation.campaigns.items()}
        with self.writing() as connection:
            moves = []
            for attempt, task, handle in seen.started:
                ledger_attempts.update(
                    connection, attempt, now, state=AttemptState.RUNNING, started_at=now, handle=handle or attempt.handle
                )
                moves.append(Move(task, TaskState.RUNNING, None, {"started_at": now, "submitted_at": task.submitted_at or now}))
            ledger_tasks.apply(connection, moves, now)
            done = commit.commit(connection, seen.ended, keepings, now, self.jitter)
        return len(seen.started), len(seen.ended), done

    def _take_in(self, now: float) -> int:
        new = 0
        while self._backfill:
            new += intake.take_in_known(self.installation, self.writing, self._backfill[0], now)
            self._backfill.pop(0)
        return new + intake.take_in_new(self.installation, self.writing, now)

    def _advance(self, now: float) -> list[Task]:
        """Move on what waited for the registrar, for the step before, or for the end of a delay; mark what became late.
        The tasks that are done with it. Nothing is written, and no writer kept waiting, when there is nothing to do."""
        with self.installation.store.read() as connection:
            settlement = settle.plan(self.installation, connection, now, self.jitter)
            late = ledger_tasks.now_late(connection, now)
            ready = self._now_ready(connection, now)
        if settlement.moves or late or ready:
            with self.writing() as connection:
                settle.carry_out(self.installation, connection, settlement, now)
                ledger_tasks.mark_late(connection, late)
                # Asked again: what has just been settled lets the next steps go.
                moves = [Move(task, TaskState.READY, task.message, {"ready_at": now}) for task in self._now_ready(connection, now)]
                ledger_tasks.apply(connection, moves, now)
        return list(settlement.done)

    def _now_ready(self, connection: sa.Connection, now: float) -> list[Task]:
        counts = ledger_tasks.in_state_counts(connection, self.installation.campaigns)
        ready = ledger_tasks.due_retries(connection, now) if counts[TaskState.WAITING_RETRY] else []
        return ready + (ledger_tasks.unblocked(connection, _BEFORE) if counts[TaskState.BLOCKED] else [])

    def _clear(self, done: Sequence[Task]) -> None:
        if done:
            with self.installation.store.read() as connection:
                folders = settle.clear(self.installation, connection, {task.id for task in done})
            settle.remove(folders)

    def _launch(self, now: float) -> int:
        site = self.installation.site
        campaign_ids = self.installation.campaigns
        with self.installation.store.read() as connection:
            counts = ledger_tasks.in_state_counts(connection, campaign_ids)
            in_flight = sum(counts[state] for state in IN_FLIGHT)
            self.slots = wanted_slots(counts[TaskState.READY], in_flight, site.slots)
            free = self.slots.wanted - in_flight
            tasks = ledger_tasks.queue(connection, campaign_ids, now, free) if free > 0 and counts[TaskState.READY] else []
        if not tasks:
            return 0
        launcher = self.launchers[site.launchers[0].kind]
        return launch.launch(self.installation, launcher, self.writing, tasks, now, self.jitter)
