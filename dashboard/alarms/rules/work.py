"""Rules about the work: whether it keeps up, what fails, and what waits for a person."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, task_table
from campaign.retries import policy_of
from campaign.states import TaskState
from dashboard import words
from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.rules.rule import Look, Rule
from declare_daemon.journal import FileState

RECENT_S = 3600.0
FEWEST_FAILURES = 5
MOST_MESSAGE = 300


def _behind(connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    """A new file would wait too long, by the best rate lately, and one in front of it has waited for longer than it should already."""
    waiting, drain_within = look.operations.work.counts.waiting, look.site.slots.drain_within
    waited_s = _waited_s(connection, look.now)
    if not waiting or waited_s is None or waited_s <= drain_within:
        return
    lately = [look.operations.rates[name] for name in ("10min", "1h")]
    rate = max(rates.processed_per_s for rates in lately)
    if rate > 0 and waiting / rate <= limit * drain_within:
        return
    how = f"which takes {words.duration(waiting / rate)} at the present rate" if rate else "and none was processed for an hour"
    files = "1 file waits" if waiting == 1 else f"{words.count(waiting)} files wait"
    message = f"{files}, {how}; {words.duration(drain_within)} is the aim. {look.operations.slots.reason}"
    yield Finding("behind", "backlog", Severity.WARNING, message, "/jobs")


def _waited_s(connection: sa.Connection, now: float) -> float | None:
    """How long the task has waited for a slot that is next to get one, late ones last; index lookups."""
    t = task_table.c
    waited = []
    for late in (False, True):
        query = sa.select(t.ready_at).where(t.state == TaskState.READY, t.late.is_(late), t.done_at.is_(None)).order_by(t.deadline).limit(1)
        waited += [now - at for at in connection.execute(query).scalars()]
    return max(waited, default=None)


def _late(_connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    late = look.operations.work.late
    if late >= limit:
        message = f"{words.count(late)} {'task' if late == 1 else 'tasks'} cannot be done any more before the buffer gives the files up"
        yield Finding("late", "files", Severity.WARNING, message, "/jobs")


def _failures(connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    a = attempt_table.c
    ended = a.ended_at > look.now - RECENT_S
    query = sa.select(a.error_class, sa.func.count(), sa.func.max(a.id)).where(ended).group_by(a.error_class)
    rows = connection.execute(query).all()
    attempts = sum(number for _, number, _ in rows)
    for error_class, failed, last in sorted(row for row in rows if row[0] is not None):
        if failed < FEWEST_FAILURES or failed <= limit * attempts:
            continue
        latest = connection.execute(sa.select(a.message, a.host).where(a.id == last)).one()
        message = f"{words.count(failed)} of {words.count(attempts)} attempts of the last hour failed: {policy_of(error_class).sentence}"
        if latest.message:
            message += f". The last one{f' on {latest.host}' if latest.host else ''}: {latest.message[:MOST_MESSAGE]}"
        yield Finding("failures", error_class, Severity.ALARM if 2 * failed >= attempts else Severity.WARNING, message, "/jobs")


def _parked(_connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    parked = look.operations.work.parked
    if parked < limit:
        return
    message = f"{words.count(parked)} {'task is' if parked == 1 else 'tasks are'} parked"
    first = next((failure for failure in look.operations.failures if failure.state == TaskState.PARKED), None)
    if first is not None:
        message += f"; the one whose file goes first, of run {first.run}: {first.message[:MOST_MESSAGE]}"
    yield Finding("parked", "tasks", Severity.WARNING, message, "/jobs")


def _stopped(_connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    declaring = look.operations.declaring
    for state in (FileState.QUARANTINED, FileState.CONFLICT, FileState.UNMATCHED):
        number = declaring.buffer.get(state.value, 0) + declaring.outbox.get(state.value, 0)
        if number < limit:
            continue
        message = f"{words.count(number)} {'file is' if number == 1 else 'files are'} {_STOPPED[state]}"
        newest = next((problem for problem in declaring.problems if problem.state == state.value), None)
        if newest is not None:
            message += f"; the newest, {newest.name}: {newest.reason[:MOST_MESSAGE]}"
        yield Finding("stopped", state.value, Severity.WARNING, message, "/")


_STOPPED = {
    FileState.QUARANTINED: "in the quarantine",
    FileState.CONFLICT: "in conflict with what a catalogue says",
    FileState.UNMATCHED: "of no stream of the site file",
}


def _times(value: float) -> str:
    return f"{value:g} × slots.drain_within"


def _part(value: float) -> str:
    return f"{words.percent(value)} of the attempts of an hour"


def _files(value: float) -> str:
    return "1 file" if value == 1 else f"{words.count(value)} files"


def _tasks(value: float) -> str:
    return "1 task" if value == 1 else f"{words.count(value)} tasks"


RULES = (
    Rule(
        "behind",
        "the backlog takes too long to work off",
        "Files come faster than they are processed: what comes now waits too long to be prompt, and may leave the buffer unprocessed.",
        "`dune-prompt campaign status --why` says what limits it. Raise `slots.max` if the batch system has room; look at failures and at "
        "batch systems that are out.",
        _times,
        _behind,
    ),
    Rule(
        "late",
        "files are late",
        "They are processed after those that can still be prompt; when the buffer gives them up before, they must be read back from tape.",
        "Nothing for the files themselves. Look why the work was behind: backlog, failures, a paused campaign.",
        _tasks,
        _late,
    ),
    Rule(
        "failures",
        "too many attempts fail in one way",
        "The class says whose problem it is. Attempts are repeated by its policy; what keeps failing is parked.",
        "Read the log of one of them. `site` and `input`: the batch system or the storage. `memory` and `time_limit`: the campaign's "
        "limits. `payload` and `internal`: the payload's author. `data`: the detector or the data acquisition.",
        _part,
        _failures,
    ),
    Rule(
        "parked",
        "tasks are parked",
        "They failed their last allowed attempt and wait for a person; their files are kept in the buffer as long as they are required.",
        "Read the log of one, repair the cause, then `dune-prompt campaign retry --parked`.",
        _tasks,
        _parked,
    ),
    Rule(
        "stopped",
        "files wait for a person",
        "They are not processed. Quarantined: data or metadata are bad. Conflict: two truths about one name, nothing was overwritten. "
        "Unmatched: they fit no stream.",
        "The reason is with each file. Repair it and `dune-prompt declare retry NAME`; for an unmatched one add a stream to the site file, "
        "or move it away.",
        _files,
        _stopped,
    ),
)
