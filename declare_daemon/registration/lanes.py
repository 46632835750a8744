"""The threads catalogues are called from: one each, so that one that is slow or away keeps nobody else waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class Lanes:
    """One thread for each catalogue. All calls of a catalogue go through its lane, one after the other."""

    def __init__(self, names: Iterable[str], *, wake: Callable[[], None]) -> None:
        """`wake` is called from a thread when a call is through."""
        self._threads = {name: ThreadPoolExecutor(1, f"catalog-{name}") for name in names}
        self._times = dict.fromkeys(self._threads, (0, 0.0))
        self._wake = wake

    def call(self, name: str, function: Callable[[], Result]) -> Future[Result]:
        """Have `function` called in the lane of catalogue `name`, after what waits there."""
        future = self._threads[name].submit(self._timed, name, function)
        future.add_done_callback(lambda _: self._wake())
        return future

    def _timed(self, name: str, function: Callable[[], Result]) -> Result:
        began = time.monotonic()
        try:
            return function()
        finally:
            count, total_s = self._times[name]
            self._times[name] = (count + 1, total_s + time.monotonic() - began)

    def times(self) -> dict[str, tuple[int, float]]:
        """By catalogue: how many calls there were, and how many seconds they took."""
        return dict(self._times)

    def close(self) -> None:
        """Give up what has not begun, wait for the calls in hand (each ends with its time limit)."""
        for thread in self._threads.values():
            thread.shutdown(wait=True, cancel_futures=True)
