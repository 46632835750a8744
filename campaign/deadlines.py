"""When the buffer must give a file up, and in which order tasks are started because of it. Pure; engine and simulation share it."""

from __future__ import annotations


def deadline_of(arrived: float, lifetime_s: float, room_s: float | None = None) -> float:
    """When a file that `arrived` then has to be processed: its lifetime later, earlier when the buffer fills up before.

    `room_s` is the time in which new files fill the buffer to its high water mark at the present rate (None: not known).
    """
    return arrived + (lifetime_s if room_s is None else min(lifetime_s, room_s))


def room_s(capacity_bytes: int | None, high_water: float, bytes_per_s: float) -> float | None:
    """The time in which files that come at this rate fill the whole buffer up to its high water mark: longer none can stay.
    None: there is no limit, or nothing comes."""
    return None if capacity_bytes is None or bytes_per_s <= 0 else capacity_bytes * high_water / bytes_per_s


def late_before(now: float, job_s: float | None) -> float:
    """Tasks that have not been started and whose deadline is before this cannot be prompt any more.

    What is begun now ends within twice the usual job time almost surely. Without that margin an overloaded system would always begin
    with what is just too late, and nothing would be in time.
    """
    return now + 2 * (job_s or 0.0)


def is_late(deadline: float, now: float, job_s: float | None = None) -> bool:
    """Whether a task that has not been started cannot be prompt any more; `job_s` is how long jobs take."""
    return deadline < late_before(now, job_s)


def queue_key(late: bool, deadline: float, task_id: int) -> tuple[bool, float, int]:
    """Tasks are started in the order of this key: the earliest deadline first, late ones after all that can still be prompt."""
    return (late, deadline, task_id)
