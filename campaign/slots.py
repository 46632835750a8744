"""How many jobs should run at once. A pure decision, explained in words."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from dune_prompt.settings.site import SlotSettings


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """`wanted` jobs at once, and why."""

    wanted: int
    reason: str


def wanted_slots(backlog: int, in_flight: int, settings: SlotSettings) -> SlotDecision:
    """One slot for every `backlog_goal` waiting tasks, on top of those at work, between `min` and `max`.

    The same numbers always give the same answer; a running job is never counted out.
    """
    needed = in_flight + ceil(backlog / settings.backlog_goal)
    if needed > settings.max:
        return SlotDecision(settings.max, f"{backlog} tasks wait and {in_flight} are at work: all {settings.max} slots are wanted")
    if needed < settings.min:
        return SlotDecision(settings.min, f"{backlog} tasks wait: the minimum of {settings.min} slots is enough")
    return SlotDecision(
        needed, f"{backlog} tasks wait, {settings.backlog_goal} to a slot, and {in_flight} are at work: {needed} slots are wanted"
    )
