"""When the buffer must give a file up, and in which order tasks are started because of it. Pure; engine and simulation share it."""

from __future__ import annotations


def deadline_of(arrived: float, lifetime_s: float, room_s: float | None = None) -> float:
    """When a file that `arrived` then has to be processed: its lifetime later, earlier when the buffer fills up before.

    `room_s` is the time in which new files fill the buffer to its high water mark at the present rate (None: not known).
    """
    return arrived + (lifetime_s if room_s is None else min(lifetime_s, room_s))


def is_late(deadline: float, now: float) -> bool:
    """Whether a task that has not been started cannot be prompt any more."""
    return deadline < now


def queue_key(late: bool, deadline: float, task_id: int) -> tuple[bool, float, int]:
    """Tasks are started in the order of this key: the earliest deadline first, late ones after all that can still be prompt."""
    return (late, deadline, task_id)
