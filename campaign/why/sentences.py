"""A sentence for every state of tasks and attempts: what is so, what happens next, and when. Pure; `file_sentences` has the journal's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaign.ledger.attempts import Attempt
from campaign.ledger.tasks import Task
from campaign.retries import policy_of
from campaign.states import BACKLOG, IN_FLIGHT, AttemptState, TaskState
from campaign.why.circumstances import Circumstances
from campaign.why.spelled import count, listed, moment, relative, size, span


@dataclass(frozen=True, slots=True)
class Said:
    """What is so, and what happens next; `at` is when, where that is known (seconds since the Unix epoch)."""

    now: str
    next: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A ready task's place: `ahead` tasks start before it (`more`: at least so many). `rate` jobs ended per second lately (None: none)."""

    ahead: int
    more: bool
    rate: float | None

    @property
    def starts_in_s(self) -> float | None:
        """At the rate of late, how long until it starts."""
        return None if self.rate is None or self.more else self.ahead / self.rate


@dataclass(frozen=True, slots=True)
class PendingOutput:
    """A declared output of a reported task: its name, and what the journal says it waits for."""

    name: str
    says: str


@dataclass(frozen=True, slots=True)
class Situation:
    """A task and what bears on it.

    `campaign` is its row, `attempt` the one in flight or last ended, `before` the step before it (when it is blocked), `queue` its place
    (when ready), `outputs` what is not declared yet (when reported). `by`, `why`, `moved_at`: who brought it into its state. `excluded`
    and `recalled` say in words what excludes its run, and how its input is read back from tape.
    """

    task: Task
    campaign: Any
    around: Circumstances
    attempt: Attempt | None = None
    before: Situation | None = None
    queue: Queue | None = None
    outputs: Sequence[PendingOutput] = ()
    by: str | None = None
    why: str | None = None
    moved_at: float | None = None
    excluded: str | None = None
    recalled: str | None = None

    @property
    def now(self) -> float:
        return self.around.now


def say_task(situation: Situation) -> Said:
    """The sentence of the task's state; for a task that could be started, what holds it up besides."""
    said = TASK_SENTENCES[situation.task.state](situation)
    holds = hold_ups(situation)
    if not holds:
        return said
    return Said(f"{said.now}; {'; '.join(what for what, _ in holds)}", holds[0][1])


def hold_ups(situation: Situation) -> list[tuple[str, str]]:
    """What keeps a waiting task from starting whatever its place in the queue, the most decisive first, each with what has to happen."""
    if situation.task.state not in BACKLOG:
        return []
    found = []
    campaign, around = situation.campaign, situation.around
    if situation.excluded:
        found.append((situation.excluded, f"nothing, unless somebody takes it back: `dune-prompt campaign include {situation.task.run}`"))
    if campaign.paused_at is not None:
        words = f"{campaign.name} {campaign.version} is paused by {campaign.paused_by} since {moment(campaign.paused_at)}"
        words += f": {campaign.paused_why}" if campaign.paused_why else ""
        resume = f"`dune-prompt campaign resume {campaign.name}`"
        found.append((words, f"it goes on when somebody resumes the campaign: {resume}"))
    if situation.recalled:
        found.append((f"its input is not on disk: {situation.recalled}", "it goes on when the copy is there"))
    if around.engine is None:
        found.append(("no engine runs", "it goes on when `dune-prompt serve` runs, or the next `dune-prompt campaign step`"))
    if (out := around.no_launcher()) is not None:
        found.append((out, "it goes on when a batch system answers again"))
    return found


def _blocked(s: Situation) -> Said:
    if s.before is None:
        return Said("it waits for the stage before it, of which the ledger has no task", "a person must look: `dune-prompt check`")
    step, said = s.before.task.step, say_task(s.before)
    now = f"it waits for the stage before it, {step}: {said.now}"
    if s.before.task.state is TaskState.DONE:
        return Said(now, "the engine's next step puts it into the queue")
    return Said(now, f"when {step} is done it gets into the queue; {step}: {said.next}", said.at)


def _ready(s: Situation) -> Said:
    queue = s.queue or Queue(0, more=False, rate=None)
    more = f" or more (of {s.around.tasks.of(TaskState.READY)})" if queue.more else ""
    place = f"{count(queue.ahead, 'task')}{more} before it in the queue" if queue.ahead else "it is the next to start"
    at_work = s.around.tasks.of(*IN_FLIGHT)
    now = f"it waits for a free slot: {place}; {at_work} at work, {s.around.site.slots.max} allowed"
    if s.task.ready_at > s.now:
        why = f"; {s.task.message}" if s.task.message else ""
        return Said(f"it waits{why}", f"it gets into the queue at {relative(s.task.ready_at, s.now)}", s.task.ready_at)
    wait = queue.starts_in_s
    if wait is None:
        return Said(now, "it starts when a slot is free and its turn has come")
    return Said(now, f"at the rate of the last minutes it starts in about {span(wait)}", s.now + wait)


def _submitting(s: Situation) -> Said:
    launcher = s.attempt.launcher if s.attempt else "the batch system"
    out = s.around.launcher_out(launcher)
    now = f"it is being handed to {launcher}{_of_attempt(s)}" + (f"; {out}" if out else "")
    if s.around.engine is None:
        return Said(now, "no engine runs: it goes on when `dune-prompt serve` runs, or the next `dune-prompt campaign step`")
    return Said(now, "the batch system takes it, or it is tried again")


def _submitted(s: Situation) -> Said:
    attempt = s.attempt
    launcher = attempt.launcher if attempt else "the batch system"
    job = f" as job {attempt.handle}" if attempt and attempt.handle else ""
    out = s.around.launcher_out(launcher)
    since = attempt.submitted_at if attempt else s.task.submitted_at
    now = f"it waits in {launcher}{job}" + (f" for {span(s.now - since)}" if since else "") + _of_attempt(s) + (f"; {out}" if out else "")
    return Said(now, f"{launcher} starts its job; if nothing is heard of it, it counts as lost and is tried again", _lease(attempt))


def _running(s: Situation) -> Said:
    attempt = s.attempt
    host = f" on {attempt.host}" if attempt and attempt.host else f" in {attempt.launcher}" if attempt else ""
    began = (attempt.started_at if attempt else None) or s.task.started_at
    now = f"a job works on it{host}" + (f" for {span(s.now - began)}" if began else "") + _of_attempt(s)
    if attempt and attempt.heartbeat_at:
        now += f", last sign of life {span(s.now - attempt.heartbeat_at)} ago"
    if began and attempt and attempt.lifetime_s:
        return Said(now, "its report, or the end of the time it may use", began + attempt.lifetime_s)
    return Said(now, "its report", _lease(attempt))


def _reported(s: Situation) -> Said:
    waits = [f"{output.name} {output.says}" for output in s.outputs]
    since = f" at {moment(s.task.reported_at)}" if s.task.reported_at else ""
    if not waits:
        return Said(f"its job succeeded{since}; all its outputs are declared", "the engine's next step ends it")
    return Said(f"its job succeeded{since}; {listed(waits, 3)}", "it is done when its outputs are declared")


def _done(s: Situation) -> Said:
    done = s.task.done_at or s.now
    prompt = "before its deadline: prompt" if done <= s.task.deadline else f"{span(done - s.task.deadline)} after its deadline: not prompt"
    took = f", {span(done - s.task.closed_at)} after it was closed" if s.task.closed_at is not None else ""
    return Said(f"processed at {moment(done)}{took}, {prompt}", "nothing: it is done", None)


def _waiting_retry(s: Situation) -> Said:
    policy = policy_of(s.task.error_class or "payload")
    left = s.task.allowed_failures - s.task.failures
    now = f"an attempt failed ({s.task.error_class or 'payload'}: {policy.sentence}); {s.task.message or 'no message'}"
    changes = _needs(s)
    when = "now" if s.task.ready_at <= s.now else f"at {relative(s.task.ready_at, s.now)}"
    more = f"; {count(max(left, 0), 'more failure')} until it is parked" if policy.counts or s.task.failures else ""
    return Said(now, f"it is tried again {when}{f', with {changes}' if changes else ''}{more}", s.task.ready_at)


def _parked(s: Situation) -> Said:
    error_class = s.task.error_class or "payload"
    when = f" at {moment(s.moved_at)}" if s.moved_at else ""
    tries = f"{count(s.task.attempts, 'attempt')} and {count(s.task.failures, 'failure')} of {s.task.allowed_failures} allowed"
    now = f"parked{when} after {tries} ({error_class}: {policy_of(error_class).sentence}); {s.task.message or 'no message'}"
    ask = f"`dune-prompt campaign retry --parked --run {s.task.run} --class {error_class}`"
    return Said(now, f"nothing, until a person has looked at its log and asks for another try: {ask}")


def _waived(s: Situation) -> Said:
    who = f" by {s.by}" if s.by else ""
    when = f" at {moment(s.moved_at)}" if s.moved_at else ""
    why = s.why or s.task.message or s.excluded
    now = f"waived{who}{when}: it need not be processed" + (f" ({why})" if why else "")
    # With its run excluded it comes back with the run.
    undo = f"dune-prompt campaign include {s.task.run}" if s.excluded else f"dune-prompt campaign waive --undo {s.task.input_did}"
    return Said(now, f"nothing, unless somebody takes it back: `{undo}`")


TASK_SENTENCES: Mapping[TaskState, Callable[[Situation], Said]] = {
    TaskState.BLOCKED: _blocked,
    TaskState.READY: _ready,
    TaskState.SUBMITTING: _submitting,
    TaskState.SUBMITTED: _submitted,
    TaskState.RUNNING: _running,
    TaskState.REPORTED: _reported,
    TaskState.DONE: _done,
    TaskState.WAITING_RETRY: _waiting_retry,
    TaskState.PARKED: _parked,
    TaskState.WAIVED: _waived,
}


def say_attempt(attempt: Attempt, now: float) -> str:
    """The sentence of an attempt's state: when, where, and how it ended."""
    return f"attempt {attempt.number} ({attempt.launcher}) {ATTEMPT_SENTENCES[attempt.state](attempt, now)}"


def _ended(attempt: Attempt) -> str:
    on = f" on {attempt.host}" if attempt.host else ""
    at = f" at {moment(attempt.ended_at)}" if attempt.ended_at else ""
    took = f" after {span(attempt.ended_at - attempt.started_at)}" if attempt.ended_at and attempt.started_at else ""
    return f"{on}{at}{took}"


def _failed_attempt(attempt: Attempt, _now: float) -> str:
    return f"failed{_ended(attempt)}: {attempt.error_class or 'payload'}: {attempt.message or 'no message'}"


ATTEMPT_SENTENCES: Mapping[AttemptState, Callable[[Attempt, float], str]] = {
    AttemptState.SUBMITTING: lambda a, now: f"is being handed over since {relative(a.created_at, now)}",
    AttemptState.SUBMITTED: lambda a, now: f"waits in the batch system since {relative(a.submitted_at or a.created_at, now)}",
    AttemptState.RUNNING: lambda a, now: f"runs{f' on {a.host}' if a.host else ''} since {relative(a.started_at or a.created_at, now)}",
    AttemptState.SUCCEEDED: lambda a, _: f"succeeded{_ended(a)}",
    AttemptState.FAILED: _failed_attempt,
    AttemptState.LOST: lambda a, _: f"was lost{_ended(a)}, which does not count: {a.message or 'its job vanished without a report'}",
}


def say_deadline(task: Task, now: float) -> str:
    """Whether the task can still be prompt, or was."""
    if task.state is TaskState.DONE:
        return f"its deadline was {moment(task.deadline)}"
    if task.deadline < now or task.late:
        after = "; it goes after all that can still be prompt" if task.state in (*BACKLOG, TaskState.BLOCKED) else ""
        return f"late: its deadline was {relative(task.deadline, now)}{after}"
    return f"its deadline is {relative(task.deadline, now)}"


def _of_attempt(s: Situation) -> str:
    return f" (attempt {s.attempt.number})" if s.attempt else ""


def _lease(attempt: Attempt | None) -> float | None:
    return attempt.lease_until if attempt else None


def _needs(s: Situation) -> str:
    needs = s.task.next_needs
    words = []
    if needs.memory_bytes:
        words.append(f"{size(needs.memory_bytes)} of memory")
    if needs.lifetime_s:
        words.append(f"{span(needs.lifetime_s)} of time")
    if needs.avoid_hosts:
        words.append(f"another host than {listed(needs.avoid_hosts)}")
    return listed(words)
