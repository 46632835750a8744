"""Reads and moves files beside the loop, so that a file of many gigabytes holds nothing else up."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

QUICK_BYTES = 256 << 20
THREADS = 4
MAX_QUICK, MAX_SLOW = 256, 2 * THREADS

Result = TypeVar("Result")


class SlowWork(Generic[Result]):
    """Work in threads, one piece a file, in two lanes: large files have their own threads and never stand before small ones."""

    def __init__(self, name: str, *, wake: Callable[[], None]) -> None:
        """`wake` is called from a thread when a file is through."""
        self._lanes = {lane: ThreadPoolExecutor(THREADS, f"{name}-{lane}") for lane in ("quick", "slow")}
        self._wake = wake
        self._quick: dict[int, Future[Result]] = {}
        self._slow: dict[int, Future[Result]] = {}

    def __contains__(self, file_id: int) -> bool:
        return file_id in self._quick or file_id in self._slow

    def __len__(self) -> int:
        return len(self._quick) + len(self._slow)

    def room(self, *, slow: bool) -> int:
        """How many more files of that kind may be given."""
        return max(0, MAX_SLOW - len(self._slow) if slow else MAX_QUICK - len(self._quick))

    def start(self, file_id: int, work: Callable[[], Result], *, slow: bool) -> None:
        """Begin with a file that is not in work."""
        future = self._lanes["slow" if slow else "quick"].submit(work)
        (self._slow if slow else self._quick)[file_id] = future
        future.add_done_callback(lambda _: self._wake())

    def finished(self, patience_s: float) -> dict[int, Future[Result]]:
        """What is done, by file. Waits for the small files, at most `patience_s` seconds (their disk may hang)."""
        wait(self._quick.values(), timeout=patience_s)
        done = {file_id: future for file_id, future in (self._quick | self._slow).items() if future.done()}
        for file_id in done:
            self._quick.pop(file_id, None)
            self._slow.pop(file_id, None)
        return done

    def close(self) -> None:
        """Give up what has not begun, wait for the rest."""
        for lane in self._lanes.values():
            lane.shutdown(wait=True, cancel_futures=True)
