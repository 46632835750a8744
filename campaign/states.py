"""The states of tasks and attempts, a sentence each, and the one table of transitions between them."""

from __future__ import annotations

from dune_prompt.state import State


class TaskState(State):
    """How far a task is."""

    BLOCKED = "blocked", "waits for the stage before it"
    READY = "ready", "waits for a free slot"
    SUBMITTING = "submitting", "is being handed to the batch system"
    SUBMITTED = "submitted", "waits in the batch system"
    RUNNING = "running", "a job works on it"
    REPORTED = "reported", "its job succeeded; its outputs are being declared"
    DONE = "done", "processed: its outputs are in the catalogue"
    WAITING_RETRY = "waiting_retry", "an attempt failed; it will be tried again"
    PARKED = "parked", "failed its last allowed attempt; kept until somebody asks for another"
    WAIVED = "waived", "somebody decided that it need not be processed"


class AttemptState(State):
    """How far an attempt is."""

    SUBMITTING = "submitting", "is being handed to the batch system"
    SUBMITTED = "submitted", "waits in the batch system"
    RUNNING = "running", "its job runs"
    SUCCEEDED = "succeeded", "its report says that all stages went well"
    FAILED = "failed", "its job failed"
    LOST = "lost", "its job vanished without a report; this does not count as a failure"


_S = TaskState

# From each state, where a task may go. Everything else is a fault in the code and raises.
TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    _S.BLOCKED: frozenset({_S.READY, _S.WAIVED}),
    _S.READY: frozenset({_S.SUBMITTING, _S.DONE, _S.PARKED, _S.WAIVED}),
    _S.SUBMITTING: frozenset({_S.SUBMITTED, _S.RUNNING, _S.REPORTED, _S.DONE, _S.WAITING_RETRY, _S.PARKED}),
    _S.SUBMITTED: frozenset({_S.RUNNING, _S.REPORTED, _S.DONE, _S.WAITING_RETRY, _S.PARKED}),
    _S.RUNNING: frozenset({_S.REPORTED, _S.DONE, _S.WAITING_RETRY, _S.PARKED}),
    _S.REPORTED: frozenset({_S.DONE, _S.BLOCKED, _S.WAITING_RETRY, _S.PARKED}),
    _S.DONE: frozenset({_S.READY, _S.BLOCKED}),  # its outputs are gone
    _S.WAITING_RETRY: frozenset({_S.READY, _S.WAIVED}),
    _S.PARKED: frozenset({_S.READY, _S.WAIVED}),
    _S.WAIVED: frozenset({_S.READY, _S.BLOCKED}),
}

# The way of a task that goes well: the times in its row tell it.
QUIET = frozenset(
    {
        (_S.BLOCKED, _S.READY),
        (_S.READY, _S.SUBMITTING),
        (_S.SUBMITTING, _S.SUBMITTED),
        (_S.SUBMITTING, _S.RUNNING),
        (_S.SUBMITTED, _S.RUNNING),
        (_S.SUBMITTING, _S.REPORTED),
        (_S.SUBMITTED, _S.REPORTED),
        (_S.RUNNING, _S.REPORTED),
        (_S.REPORTED, _S.DONE),
    }
)

IN_FLIGHT = frozenset({_S.SUBMITTING, _S.SUBMITTED, _S.RUNNING})
BACKLOG = frozenset({_S.READY, _S.WAITING_RETRY})
OPEN = frozenset({_S.BLOCKED, *BACKLOG, *IN_FLIGHT, _S.REPORTED})
