"""The disk buffer: what lies in it, what must stay, and what leaves when, by the same rules as the daemon's release.

A processed file leaves when its lifetime is over; above the high water mark the oldest processed ones leave down to the low one, none
younger than its stream's `min_age`. Only then, and only of streams that may be sacrificed, unprocessed ones follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from campaign.simulation.files import File, State
from campaign.simulation.parameters import BufferParameters, StreamParameters

_WAITS = (State.COMING, State.READY, State.WAITING, State.PARKED)


class Buffer:
    """Bytes and files. `release` says what is given up unprocessed."""

    def __init__(self, settings: BufferParameters, streams: Sequence[StreamParameters]) -> None:
        self._settings, self._streams = settings, streams
        self.used_bytes = self.unprocessed_bytes = self.peak_bytes = 0
        self._processed: list[list[tuple[float, int, File]]] = [[] for _ in streams]  # heaps, the oldest file first
        self._unprocessed: list[deque[File]] = [deque() for _ in streams]  # in the order of arrival
        self._pressure = False

    def arrive(self, file: File) -> bool:
        """Put a file in; False when there is no room for it."""
        size = self._streams[file.stream].file_size
        capacity = self._settings.capacity
        if capacity is not None and self.used_bytes + size > capacity:
            return False
        self.used_bytes += size
        self.unprocessed_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        stream = self._streams[file.stream]
        if stream.leaves and (stream.sacrifice or not stream.required):
            self._unprocessed[file.stream].append(file)
        return True

    def processed(self, file: File) -> None:
        """The file need not stay any more for its processing."""
        if file.gone:
            return
        self.unprocessed_bytes -= self._streams[file.stream].file_size
        if self._streams[file.stream].leaves:
            heappush(self._processed[file.stream], (file.arrived, file.number, file))

    def release(self, now: float) -> list[File]:
        """Let go what may go; the files among it that are not processed."""
        for number, stream in enumerate(self._streams):
            heap = self._processed[number]
            while heap and heap[0][0] + stream.lifetime <= now:
                self._leave(heappop(heap)[2])
        given_up = [file for number, stream in enumerate(self._streams) if not stream.required for file in self._outlived(number, now)]
        capacity = self._settings.capacity
        if capacity is None:
            return given_up
        if self.used_bytes > self._settings.high_water * capacity:
            self._pressure = True
        if self._pressure:
            low = self._settings.low_water * capacity
            while self.used_bytes > low and (file := self._oldest_processed(now)):
                self._leave(file)
            while self.used_bytes > low and (file := self._oldest_unprocessed(now)):
                self._leave(file)
                given_up.append(file)
            self._pressure = self.used_bytes > low
        return given_up

    def _outlived(self, number: int, now: float) -> Iterator[File]:
        """Files that no campaign requires, unprocessed, their lifetime over: they go all the same."""
        waiting = self._unprocessed[number]
        while waiting and waiting[0].arrived + self._streams[number].lifetime <= now:
            file = waiting.popleft()
            if file.state in _WAITS and not file.gone:
                self._leave(file)
                yield file

    def _oldest_processed(self, now: float) -> File | None:
        heaps = [
            heap
            for heap, stream in zip(self._processed, self._streams, strict=True)
            if heap and heap[0][0] + min(stream.min_age, stream.lifetime) <= now
        ]
        return heappop(min(heaps))[2] if heaps else None

    def _oldest_unprocessed(self, now: float) -> File | None:
        oldest: deque[File] | None = None
        for waiting, stream in zip(self._unprocessed, self._streams, strict=True):
            while waiting and (waiting[0].state not in _WAITS or waiting[0].gone):
                waiting.popleft()
            old_enough = stream.sacrifice and waiting and waiting[0].arrived + min(stream.min_age, stream.lifetime) <= now
            if old_enough and (oldest is None or waiting[0].arrived < oldest[0].arrived):
                oldest = waiting
        return None if oldest is None else oldest.popleft()

    def _leave(self, file: File) -> None:
        size = self._streams[file.stream].file_size
        file.gone = True
        self.used_bytes -= size
        if file.state is not State.PROCESSED:
            self.unprocessed_bytes -= size
