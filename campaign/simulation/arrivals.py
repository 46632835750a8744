"""When files come: one time axis of data taking, with its spills and runs, laid onto the clock."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import count

from campaign.simulation.parameters import StreamParameters

Arrival = tuple[float, int, int]


def arrivals(streams: Sequence[StreamParameters], duration_s: float, seed: int) -> Iterator[Arrival]:
    """(time, number of the stream, run) of each file in the order they come, all before `duration_s`."""
    return merge(
        *(_steady(number, stream, duration_s, random.Random(f"{seed}/{stream.name}")) for number, stream in enumerate(streams)),  # noqa: S311
        *(_bursts(number, stream, duration_s) for number, stream in enumerate(streams)),
    )


def on_the_clock(taking_s: float, stream: StreamParameters) -> tuple[float, int]:
    """When `taking_s` seconds of data taking have passed, pauses between spills and runs left out; and the run, counted from 1."""
    passed, run = taking_s, 1
    if stream.spills is not None:
        spill, within = divmod(passed, stream.spills.length)
        passed = spill * stream.spills.every + within
    if stream.runs is not None:
        before, within = divmod(passed, stream.runs.length)
        passed, run = before * (stream.runs.length + stream.runs.pause) + within, int(before) + 1
    return passed, run


def _steady(number: int, stream: StreamParameters, duration_s: float, luck: random.Random) -> Iterator[Arrival]:
    rate = stream.files_hz
    if not rate:
        return
    at_random = stream.arrive == "at_random"
    taking = 0.0
    for index in count():
        taking = taking + luck.expovariate(rate) if at_random else index / rate
        clock, run = on_the_clock(taking, stream)
        if clock >= duration_s:
            return
        yield clock, number, run


def _bursts(number: int, stream: StreamParameters, duration_s: float) -> Iterator[Arrival]:
    if stream.bursts is None:
        return
    for index in count():
        at = stream.bursts.first + index * stream.bursts.every
        if at >= duration_s:
            return
        run = 1 if stream.runs is None else int(at // (stream.runs.length + stream.runs.pause)) + 1
        for _ in range(stream.bursts.files):
            yield at, number, run
