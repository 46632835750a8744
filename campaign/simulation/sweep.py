"""Many simulations: over one or two parameters, or in search of the value that is just enough."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any

from campaign.simulation.outcome import Outcome
from campaign.simulation.parameters import Parameters, changed, place_of
from campaign.simulation.quantities import rate_text
from campaign.simulation.resources import resources
from campaign.simulation.run import Simulation
from dune_prompt.errors import ConfigError

MOST_POINTS = 1000
_RANGE = re.compile(r"([0-9]*\.?[0-9]+)([A-Za-z%/]*)")
FINDABLE = ("slots", "rate", "launcher-slots")


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter and the values it takes, as they would be written in a file."""

    key: str
    values: tuple[str, ...]

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values without their unit, for a plot."""
        return tuple(float(match[1]) if (match := _RANGE.match(value)) else float(place) for place, value in enumerate(self.values))


def parse_axis(text: str) -> Axis:
    """`slots.max=100:900:100` (from, to, step) or `slots.max=100,200,400`.

    Raises:
        ConfigError: it is written otherwise, the key is unknown, or there are too many values.
    """
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise ConfigError(f"--sweep {text}: write it as slots.max=100:900:100, or slots.max=100,200,400")
    place_of(key)
    if ":" not in values:
        return Axis(key, tuple(values.split(",")))
    parts = [_RANGE.fullmatch(part) for part in values.split(":")]
    found = [part for part in parts if part is not None]
    units = {part[2] for part in found} - {""}
    if len(found) != len(parts) or len(parts) != 3 or len(units) > 1:
        raise ConfigError(f"--sweep {text}: a range is from:to:step, all in the same unit, such as rate=1GB/s:4GB/s:0.5GB/s")
    first, last, step = (float(part[1]) for part in found)
    if step <= 0 or last < first:
        raise ConfigError(f"--sweep {text}: the range is empty")
    count = int((last - first) / step + 1e-9) + 1
    if count > MOST_POINTS:
        raise ConfigError(f"--sweep {text}: {count} values are too many")
    unit = next(iter(units), "")
    return Axis(key, tuple(f"{first + i * step:.10g}{unit}" for i in range(count)))


@dataclass(frozen=True, slots=True)
class Point:
    """The outcome at one combination of values. `offered_bytes_per_s` is what came on average."""

    values: dict[str, str]
    outcome: Outcome

    def row(self) -> dict[str, Any]:
        """As a line of a table."""
        outcome = self.outcome
        return self.values | {
            "prompt": outcome.fraction_prompt,
            "late": outcome.late,
            "given_up": outcome.given_up,
            "overflowed": outcome.overflowed,
            "backlog_peak": outcome.backlog_peak,
            "occupancy_peak_TB": outcome.occupancy_peak_bytes / 1e12,
            "slots_mean": outcome.slots_mean,
            "latency_p95_s": outcome.latency.p95 if outcome.latency else None,
            "makespan_s": outcome.makespan_s,
        }


def sweep(parameters: Parameters, axes: Sequence[Axis], *, workers: int = 1) -> Iterator[Point]:
    """Simulate every combination of values, the last axis changing fastest; points come as they are ready, in that order.

    Raises:
        ConfigError: a value is not allowed, more than two axes, or too many combinations; before anything is simulated.
    """
    if not 1 <= len(axes) <= 2 or len({axis.key for axis in axes}) < len(axes):
        raise ConfigError("sweep over one or two different parameters")
    combinations = [dict(zip([axis.key for axis in axes], values, strict=True)) for values in product(*(axis.values for axis in axes))]
    if len(combinations) > MOST_POINTS:
        raise ConfigError(f"{len(combinations)} combinations are too many; {MOST_POINTS} are allowed")
    return _outcomes(combinations, [changed(parameters, values) for values in combinations], workers)


def _outcomes(combinations: Sequence[dict[str, str]], settings: Sequence[Parameters], workers: int) -> Iterator[Point]:
    with ExitStack() as stack:
        ready = stack.enter_context(ProcessPoolExecutor(workers)).map(_summary, settings) if workers > 1 else map(_summary, settings)
        for values, outcome in zip(combinations, ready, strict=True):
            yield Point(values, outcome)


def _summary(parameters: Parameters) -> Outcome:
    return Simulation(parameters).run()


@dataclass(frozen=True, slots=True)
class Answer:
    """What was looked for: the least `slots`, or the highest `rate`, at which `wanted` of all files are prompt.

    `value` is None when there is none in reach; `tried` are the values simulated, with the fraction prompt of those run to the end.
    """

    what: str
    wanted: float
    value: float | None
    outcome: Outcome | None
    tried: tuple[tuple[float, bool], ...]


def find(parameters: Parameters, what: str, wanted: float, *, tell: Callable[[float, bool], None] = lambda _value, _enough: None) -> Answer:
    """Bisect for the least `slots` or `launcher-slots`, or the highest `rate` (to 1 %), at which the fraction `wanted` is prompt.

    A simulation that can no longer reach it is ended at once.

    Raises:
        ConfigError: `what` cannot be looked for.
    """
    if what not in FINDABLE:
        raise ConfigError(f"--find {what}: can be looked for: {', '.join(FINDABLE)}")
    search = _Search(parameters, what, wanted, tell)
    return search.highest_rate() if what == "rate" else search.least_slots()


class _Search:
    def __init__(self, parameters: Parameters, what: str, wanted: float, tell: Callable[[float, bool], None]) -> None:
        self._parameters, self._what, self._wanted, self._tell = parameters, what, wanted, tell
        self._tried: list[tuple[float, bool]] = []
        self._outcomes: dict[float, Outcome] = {}

    def least_slots(self) -> Answer:
        guess = max(ceil(sum(item.slots for item in resources(self._parameters))), 1)
        enough = guess
        most = 64 * guess + 64
        short = 0
        while not self._is_enough(enough):
            short, enough = enough, 2 * enough
            if short >= most:
                return self._answer(None)
        if short == 0 and enough > 1:  # the guess was enough: is half of it?
            while enough > 1 and self._is_enough(enough // 2):
                enough //= 2
            short = enough // 2
        while enough - short > 1:
            middle = (short + enough) // 2
            if self._is_enough(middle):
                enough = middle
            else:
                short = middle
        return self._answer(enough)

    def highest_rate(self) -> Answer:
        stream = self._parameters.streams[0]
        rate = stream.files_hz * stream.file_size
        if rate <= 0:
            raise ConfigError("--find rate: the stream has no rate")
        good, bad = 0.0, rate
        while self._is_enough(bad):
            good, bad = bad, 2 * bad
            if bad > 1000 * rate:
                return self._answer(good)
        while bad - good > 0.01 * bad:
            if bad < rate / 1000:
                return self._answer(None)
            middle = (good + bad) / 2
            if self._is_enough(middle):
                good = middle
            else:
                bad = middle
        return self._answer(good)

    def _is_enough(self, value: float) -> bool:
        parameters = changed(self._parameters, self._setting(value))
        # How many files come is known only afterwards; this is near enough to stop hopeless runs, the fraction itself decides.
        expected = sum(stream.mean_files_hz for stream in parameters.streams) * parameters.duration
        outcome = Simulation(parameters, bad_files_at_most=ceil((1 - self._wanted) * expected * 1.05) + 10).run()
        enough = outcome.fraction_prompt >= self._wanted
        if enough:
            self._outcomes[value] = outcome
        self._tried.append((value, enough))
        self._tell(value, enough)
        return enough

    def _setting(self, value: float) -> dict[str, Any]:
        if self._what == "rate":
            return {"rate": rate_text(value)}
        if self._what == "slots":
            return {"slots.max": int(value), "slots.min": min(self._parameters.slots.min, int(value))}
        return {"launchers.0.slots": int(value)}

    def _answer(self, value: float | None) -> Answer:
        return Answer(self._what, self._wanted, value, None if value is None else self._outcomes.get(value), tuple(self._tried))
