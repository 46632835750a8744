"""Quantities of a simulation as people write them, and written back the same way: `0s`, `3GB/s`, `800s`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from dune_prompt.settings.units import parse_duration, parse_fraction, parse_size

_RATES = (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def _plain(value: float) -> str:
    """A number without an exponent, which the parsers of quantities do not take."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def duration_text(seconds: float) -> str:
    return f"{_plain(seconds)}s"


def parse_rate(value: object) -> float:
    """Bytes per second of `3GB/s`, `250MB/s`."""
    text = str(value)
    if not isinstance(value, str) or not text.endswith("/s"):
        raise ValueError(f"{value!r} is no rate; write it as 3GB/s")
    return float(parse_size(text.removesuffix("/s")))


def rate_text(bytes_per_s: float) -> str:
    return next((f"{_plain(bytes_per_s / size)}{unit}/s" for unit, size in _RATES if bytes_per_s >= size), f"{_plain(bytes_per_s)}B/s")


_written_duration = PlainSerializer(duration_text, return_type=str)

WaitS = Annotated[float, BeforeValidator(parse_duration), Field(ge=0), _written_duration]
LengthS = Annotated[float, BeforeValidator(parse_duration), Field(gt=0), _written_duration]
ByteRate = Annotated[float, BeforeValidator(parse_rate), Field(gt=0), PlainSerializer(rate_text, return_type=str)]
SizeBytes = Annotated[int, BeforeValidator(parse_size), Field(ge=0), PlainSerializer(lambda size: f"{size}B", return_type=str)]
Share = Annotated[float, BeforeValidator(parse_fraction), PlainSerializer(lambda share: f"{_plain(100 * share)}%", return_type=str)]
