"""What is to be thought of a probe: late, different, failed or fine; and what is usual. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from campaign.probe.hops import HOPS, SENT, Hop
from dune_prompt.state import State


class Outcome(State):
    """How a probe ended."""

    OK = "ok", "it went through in time, with the expected results"
    DIFFERENT = "different", "it went through, but its results are not the expected ones"
    LATE = "late", "it was not through in time"
    FAILED = "failed", "it will not get through: its file or its task has failed"
    LOST = "lost", "its process ended before it did"


# The exit codes of `campaign probe`; those of the error classes that come nearest.
EXIT_CODES = {Outcome.OK: 0, Outcome.FAILED: 10, Outcome.LATE: 20, Outcome.LOST: 20, Outcome.DIFFERENT: 40}


def differences(found: Mapping[str, float], expected: Mapping[str, float], tolerance: float) -> list[str]:
    """The numbers that differ by more than the relative `tolerance`, in words; also those that only one side has."""
    words = []
    for key in sorted(found.keys() | expected.keys()):
        here, there = found.get(key), expected.get(key)
        if here is None or there is None:
            words.append(f"{key} is {'missing' if here is None else 'new'}")
        elif abs(here - there) > tolerance * abs(there):
            change = f" ({(here - there) / there:+.2%})" if there else ""
            words.append(f"{key} is {here:g} instead of {there:g}{change}")
    return words


def durations(hops: Mapping[str, float], sent_at: float | None) -> dict[str, float]:
    """Seconds each hop took that was passed; hosts' clocks may differ a little, no hop takes less than nothing."""
    times = dict(hops) | ({} if sent_at is None else {SENT: sent_at})
    return {hop.key: max(times[hop.key] - begin, 0.0) for hop in HOPS if hop.key in times and (begin := _begin(hop, times)) is not None}


def _begin(hop: Hop, times: Mapping[str, float]) -> float | None:
    """When the hop began; one that is not known (a stage that reported nothing) is passed over."""
    before = {item.key: item.after for item in HOPS}
    after = hop.after
    while after not in times and after in before:
        after = before[after]
    return times.get(after)


@dataclass(frozen=True, slots=True)
class Usual:
    """What a hop usually takes, in seconds, from `n` probes."""

    n: int
    p50: float
    p95: float
    longest: float


def usual(all_durations: Sequence[Mapping[str, float]]) -> dict[str, Usual]:
    """Percentiles (nearest rank) by hop; hops nobody passed are absent."""
    found = {}
    for hop in HOPS:
        values = sorted(each[hop.key] for each in all_durations if hop.key in each)
        if values:
            found[hop.key] = Usual(len(values), _rank(values, 0.5), _rank(values, 0.95), values[-1])
    return found


def _rank(ordered: Sequence[float], fraction: float) -> float:
    return ordered[max(ceil(fraction * len(ordered)), 1) - 1]


def slowest(taken: Mapping[str, float], habits: Mapping[str, Usual]) -> str | None:
    """The hop that took the most over what is usual, in words; None when nothing stands out."""
    over = {key: seconds - habits[key].p50 for key, seconds in taken.items() if key in habits}
    if not over:
        return None
    key = max(over, key=lambda item: over[item])
    if taken[key] <= 2 * habits[key].p95 or over[key] < 1.0:
        return None
    words = next(hop.words for hop in HOPS if hop.key == key)
    return f"slowest: {words}, after {taken[key]:.1f} s (usually {habits[key].p50:.1f} s)"
