"""How many jobs should run at once. A pure decision, explained in words; the engine and the simulation ask the same function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil

from dune_prompt.settings.site import SlotSettings


@dataclass(frozen=True, slots=True)
class SlotInputs:
    """What the decision looks at. Times in seconds since the Unix epoch.

    `backlog` tasks could start now, `in_flight` are with a batch system. `arrivals_per_s` new tasks came per second lately.
    `job_s` is how long a job holds its slot, as measured (None: no job has ended yet). `deadlines` are the waiting tasks that can still
    be prompt, as (deadline, number of tasks), earliest first.
    """

    now: float
    backlog: int
    in_flight: int
    arrivals_per_s: float = 0.0
    job_s: float | None = None
    deadlines: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """`wanted` jobs at once, and why. `needs` are the numbers behind it, by what asks for them, `fewer_since` since when fewer would do."""

    wanted: int
    reason: str
    needs: Mapping[str, int] = field(default_factory=dict)
    fewer_since: float | None = None


_WORDS = {
    "backlog": "one slot for every {goal} open tasks",
    "pace": "to keep pace with {rate:.3g} new tasks/s at {job:.3g} s a job",
    "drain": "to keep pace and work the backlog off within {drain:.0f} s",
    "deadlines": "to finish in time what the buffer gives up first",
}


def decide(inputs: SlotInputs, settings: SlotSettings, before: SlotDecision | None = None) -> SlotDecision:
    """The number of slots: the largest of the needs, no more than there are open tasks, between `min` and `max`.

    More slots are wanted at once, fewer only after fewer were enough for `settings.hold`: numbers that swing do not make the answer
    swing. The same inputs always give the same answer, and a running job is never counted out.
    """
    needs = _needs(inputs, settings)
    open_tasks = inputs.backlog + inputs.in_flight
    what, most = max(needs.items(), key=lambda item: item[1])
    target = min(max(min(most, open_tasks), settings.min), settings.max)
    because = _because(inputs, settings, needs, what, target)
    if before is None or target >= before.wanted:
        return SlotDecision(target, because, needs)
    since = inputs.now if before.fewer_since is None or before.fewer_since > inputs.now else before.fewer_since
    if inputs.now - since >= settings.hold:
        return SlotDecision(target, because, needs)
    wanted = min(before.wanted, settings.max)
    return SlotDecision(wanted, f"{because}; {wanted} are kept until that was enough for {settings.hold:.0f} s", needs, since)


def _needs(inputs: SlotInputs, settings: SlotSettings) -> dict[str, int]:
    needs = {"backlog": ceil((inputs.backlog + inputs.in_flight) / settings.backlog_goal)}
    if (job_s := inputs.job_s) is None:
        return needs
    pace = inputs.arrivals_per_s * job_s
    needs["pace"] = ceil(pace)
    needs["drain"] = ceil(pace + inputs.backlog * job_s / settings.drain_within)
    # What has to be done until each deadline, one after the other; a job started now ends in `job_s` at the earliest.
    work = accumulate(tasks for _, tasks in inputs.deadlines)
    needs["deadlines"] = max(
        (ceil(tasks * job_s / max(deadline - inputs.now, job_s, 1.0)) for (deadline, _), tasks in zip(inputs.deadlines, work, strict=True)),
        default=0,
    )
    return needs


def _because(inputs: SlotInputs, settings: SlotSettings, needs: Mapping[str, int], what: str, target: int) -> str:
    words = _WORDS[what].format(
        goal=settings.backlog_goal, rate=inputs.arrivals_per_s, job=inputs.job_s or 0.0, drain=settings.drain_within
    )
    state = f"{inputs.backlog} tasks wait and {inputs.in_flight} are at work"
    if not inputs.backlog and not inputs.in_flight:
        return f"nothing waits: the minimum of {settings.min} slots"
    if target == settings.max and needs[what] > settings.max:
        return f"{state}: {needs[what]} slots are needed ({words}), {settings.max} are allowed (slots.max)"
    return f"{state}: {target} slots ({words})"
