"""Calls the engine's step at an interval, and at once when something happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from campaign.engine import Engine
from dune_prompt.errors import TransientError
from dune_prompt.store import LeaseLostError

log = structlog.get_logger(__name__)

GLANCE_S = 0.05
LONGEST_PAUSE_S = 60.0


class StepLoop(threading.Thread):
    """The engine's own thread. It ends when asked to, or when another engine has taken over (`lost`)."""

    def __init__(self, engine: Engine, interval_s: float) -> None:
        super().__init__(name="engine", daemon=True)
        self.engine, self.interval_s = engine, interval_s
        self.lost = threading.Event()
        self.on_lost: Callable[[], None] = lambda: None
        self._stop_asked = threading.Event()
        self._wake = threading.Event()
        self._mark: int | None = None

    def wake(self) -> None:
        """Let the next step begin now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the step that runs now."""
        self._stop_asked.set()
        self.join(timeout=LONGEST_PAUSE_S)

    def run(self) -> None:
        pause = self.interval_s
        while not self._stop_asked.is_set():
            try:
                self.engine.step(time.time())
                pause = self.interval_s
            except LeaseLostError as error:
                log.error("stopping", error=str(error))
                self.lost.set()
                self.on_lost()
                return
            except TransientError as error:
                pause = min(pause * 2, LONGEST_PAUSE_S)
                log.warning("step failed, trying again", error=str(error), pause_s=pause)
                self._stop_asked.wait(pause)
                continue
            except Exception:
                # A fault in the code at one task must not stop the others for good; it is seen in the log every time.
                pause = min(pause * 2, LONGEST_PAUSE_S)
                log.exception("step failed by a fault in the code", pause_s=pause)
                self._stop_asked.wait(pause)
                continue
            self._wait()

    def _wait(self) -> None:
        """Until the interval is over, a job has ended, or another process has written the store."""
        end = time.monotonic() + self.interval_s
        while not self._stop_asked.is_set() and time.monotonic() < end:
            if self._wake.wait(GLANCE_S):
                self._wake.clear()
                return
            mark = self.engine.installation.store.change_mark()
            changed, self._mark = mark != self._mark, mark
            if changed or any(launcher.something_ended() for launcher in self.engine.launchers.values()):
                return
