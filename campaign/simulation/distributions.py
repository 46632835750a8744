"""How long things take: distributions as quantile functions, so that one random number in 0..1 gives one time, whatever else is drawn."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from math import exp, log
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from campaign.simulation.quantities import LengthS, WaitS
from dune_prompt.settings import Strict

_normal = NormalDist().inv_cdf
_EDGE = 1e-9  # a normal distribution has no quantiles at 0 and 1
_MASK = (1 << 64) - 1


class Fixed(Strict):
    """The same time always."""

    kind: Literal["fixed"] = "fixed"
    seconds: WaitS = Field(description="the time")

    def at(self, _u: float) -> float:
        return self.seconds

    @property
    def mean(self) -> float:
        return self.seconds


class Lognormal(Strict):
    """Many factors multiplied: what job times mostly look like."""

    kind: Literal["lognormal"] = "lognormal"
    median: LengthS = Field(description="half of all are shorter")
    sigma: float = Field(0.25, ge=0, le=3, description="spread of the logarithm; 0.25: two in three are within a quarter of the median")

    def at(self, u: float) -> float:
        return self.median * exp(self.sigma * _normal(min(max(u, _EDGE), 1 - _EDGE)))

    @property
    def mean(self) -> float:
        return self.median * exp(self.sigma**2 / 2)


class Exponential(Strict):
    """Waiting for something that comes at random."""

    kind: Literal["exponential"] = "exponential"
    mean: LengthS = Field(description="the mean")

    def at(self, u: float) -> float:
        return -self.mean * log(1 - min(u, 1 - _EDGE))


class Empirical(Strict):
    """As measured: times at evenly spaced quantiles, the shortest first, straight lines between them."""

    kind: Literal["empirical"] = "empirical"
    quantiles: tuple[WaitS, ...] = Field(min_length=2, description="the shortest time, …, the median, …, the longest")

    @field_validator("quantiles")
    @classmethod
    def _ascending(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if any(later < earlier for earlier, later in pairwise(quantiles)):
            raise ValueError("the quantiles must not fall")
        return quantiles

    def at(self, u: float) -> float:
        place = u * (len(self.quantiles) - 1)
        left = min(int(place), len(self.quantiles) - 2)
        return self.quantiles[left] + (place - left) * (self.quantiles[left + 1] - self.quantiles[left])

    @property
    def mean(self) -> float:
        inner = sum(self.quantiles[1:-1])
        return (inner + (self.quantiles[0] + self.quantiles[-1]) / 2) / (len(self.quantiles) - 1)


def _from_scalar(value: object) -> object:
    """`12s` is short for a fixed time."""
    return {"kind": "fixed", "seconds": value} if isinstance(value, str) else value


def _kind(value: object) -> object:
    return value.get("kind", "lognormal" if "median" in value else None) if isinstance(value, dict) else getattr(value, "kind", None)


Distribution = Annotated[
    Annotated[Fixed, Tag("fixed")]
    | Annotated[Lognormal, Tag("lognormal")]
    | Annotated[Exponential, Tag("exponential")]
    | Annotated[Empirical, Tag("empirical")],
    Discriminator(
        _kind,
        custom_error_type="no_distribution",
        custom_error_message="write a time such as 12s, or {median: 800s, sigma: 0.25}, or {kind: exponential, mean: 10s}, "
        "or {kind: empirical, quantiles: [1s, 2s, 9s]}",
    ),
    BeforeValidator(_from_scalar),
]


def empirical(values: Sequence[float], parts: int = 100) -> Empirical:
    """The distribution of measured `values` (at least one)."""
    ordered = sorted(values)
    parts = max(1, min(parts, len(ordered) - 1))
    return Empirical.model_construct(quantiles=tuple(_quantile(ordered, i / parts) for i in range(parts + 1)))


def _quantile(ordered: Sequence[float], fraction: float) -> float:
    place = fraction * (len(ordered) - 1)
    left = int(place)
    right = min(left + 1, len(ordered) - 1)
    return ordered[left] + (place - left) * (ordered[right] - ordered[left])


class Choices:
    """Chooses one of several names with given probabilities, or none, by one random number in 0..1."""

    def __init__(self, probabilities: dict[str, float]) -> None:
        self._names = sorted(name for name, share in probabilities.items() if share > 0)
        total = 0.0
        self._edges = [total := total + probabilities[name] for name in self._names]

    def at(self, u: float) -> str | None:
        place = bisect_left(self._edges, u)
        return self._names[place] if place < len(self._names) else None

    def __bool__(self) -> bool:
        return bool(self._names)


def unit(seed: int, *keys: int) -> float:
    """A number in 0..1 that depends on nothing but its arguments (SplitMix64, Steele et al. 2014).

    What happens to a file's third attempt is thereby the same whatever happened to other files: two simulations that differ in one
    setting differ by that setting only, not by luck.
    """
    state = seed & _MASK
    for key in keys:
        state = (state + 0x9E3779B97F4A7C15 * (key + 1)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return (state >> 11) * 2.0**-53
