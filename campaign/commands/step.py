"""One step of the engine, for cron."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from campaign.commands.protocol import Arguments, Command, Rows

if TYPE_CHECKING:
    from campaign.engine import Engine


def step(engine: Engine, arguments: Arguments, now: float) -> Rows:
    """Let the engine do one step; what it did."""
    return [] if arguments.dry_run else [asdict(engine.step(now))]


def step_alone(engine: Engine, arguments: Arguments, now: float) -> Rows:
    """The same in a process that ends after it: it waits until batch systems have taken what the step gave them, and looks again."""
    rows = step(engine, arguments, now)
    if engine.drain():
        engine.step(time.time())
    return rows


STEP = Command("step", Arguments, step, step_alone)
