"""How a batch system is doing, as its thread has seen it: what the choice between launchers looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Health:
    """Times in seconds since the Unix epoch.

    `answered_at` is the last sign of life, `answering_since` since when no question has failed (None: the last one did).
    `unanswered_since` is when the first question was asked that has had no answer yet, or only failures (None: all are answered).
    `refused_at` is the last refused submission, `pending` how many submissions wait here or are being handed over now.
    """

    refused_in_a_row: int = 0
    answered_at: float | None = None
    last_error: str | None = None
    refused_at: float | None = None
    unanswered_since: float | None = None
    answering_since: float | None = None
    pending: int = 0


@runtime_checkable
class Remote(Protocol):
    """A launcher that can be out, and has something running that must be closed."""

    def health(self) -> Health: ...

    def close(self) -> None: ...
