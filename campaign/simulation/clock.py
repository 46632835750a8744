"""Simulated time: SimPy's event queue, and a cheap way to say that something happens after a while."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from dune_prompt.errors import ConfigError

try:
    import simpy
except ImportError:
    raise ConfigError("simulations need SimPy, which is not installed: pip install 'dune-prompt[simulation]'") from None

Course = Generator[simpy.Event, Any, None]


class Clock(simpy.Environment):
    """Seconds from 0. Things that go on for long are SimPy processes; what happens once, as the end of a job, is one event."""

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Do something after `delay` seconds; at once when there is no delay."""
        if delay <= 0:
            action()
            return
        event = self.timeout(delay)
        event.callbacks.append(lambda _: action())
