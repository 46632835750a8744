"""What the engine decided last about slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class SlotView(Protocol):
    """How many jobs should run at once, and why."""

    @property
    def wanted(self) -> int: ...

    @property
    def reason(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Slots:
    """The engine's last decision, and the most the site allows."""

    wanted: int
    max: int
    reason: str
