"""The operations page as it changes: its parts rendered once a second for everybody who looks, and sent to each tab as they change.

A part is a piece of HTML (or of JSON). Every sample has a number, and each part knows in which sample it changed last, so that a tab
that was away gets exactly what it missed, however long that was. Tabs that have the same are sent the same bytes, made once.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from dashboard.operations.snapshot import SAMPLE_S, Operations, OperationsReader
from dune_prompt.errors import TransientError

log = structlog.get_logger(__name__)

TROUBLE = "trouble"
RECONNECT_MS = 2000


@dataclass(frozen=True, slots=True)
class Update:
    """What a tab is sent: the parts that changed since what it has, as JSON `{"at": …, "parts": {name: text}}`; `frame` is the event."""

    id: str
    data: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the page, and the number of the sample that changed it last."""

    text: str
    changed_in: int


class LiveOperations:
    """Samples the numbers while somebody looks. `render` turns them into the page's parts, `complain` an error into one."""

    def __init__(
        self,
        reader: OperationsReader,
        render: Callable[[Operations], Mapping[str, str]],
        complain: Callable[[str], str],
        *,
        clock: Callable[[], float] = time.time,
        sample_s: float = SAMPLE_S,
    ) -> None:
        self.reader = reader
        self._render, self._complain, self._clock, self._sample_s = render, complain, clock, sample_s
        self._lock = threading.Lock()
        self._sampled = asyncio.Event()
        self._watchers = 0
        self._sampling: asyncio.Task[None] | None = None
        # Numbers begin anew with each process; its start tells ids of different processes apart.
        self._epoch = f"{clock():.3f}"
        self._number = 0
        self._at = 0.0
        self._parts: dict[str, Part] = {}
        # The updates to the present sample, by what the tab has and wants.
        self._updates: dict[tuple[int, frozenset[str] | None], Update] = {}

    @property
    def watchers(self) -> int:
        """Open streams."""
        return self._watchers

    @property
    def at(self) -> float:
        """When the numbers of the parts were read."""
        return self._at

    @property
    def newest_id(self) -> str:
        """The id of the newest sample, for pages that show none of its parts: they are sent what changed after it."""
        return self._id(self._number)

    def sample(self) -> tuple[str, dict[str, str]]:
        """The id and the parts of the page now. Reads the store at most once a second.

        Raises:
            TransientError: the store is away and was never read.
        """
        with self._lock:
            try:
                now = self._clock()
                operations = self.reader.read(now)
                if operations.at != self._at:
                    self._keep({**self._render(operations), TROUBLE: ""}, operations.at)
            except TransientError as error:
                if not self._parts:
                    raise
                log.warning("numbers are old", error=str(error))
                self._keep({TROUBLE: self._complain(str(error))}, self._at)
            return self._id(self._number), {name: part.text for name, part in self._parts.items()}

    def _keep(self, texts: Mapping[str, str], at: float) -> None:
        self._number += 1
        self._at = at
        self._updates.clear()
        for name, text in texts.items():
            known = self._parts.get(name)
            if known is None or known.text != text:
                self._parts[name] = Part(text, self._number)

    async def follow(self, last_id: str | None, wanted: Collection[str] | None = None) -> AsyncIterator[Update]:
        """Everything that changed after `last_id` (all, when it is none of ours), and then every sample; only parts that are `wanted`."""
        has = self._number_of(last_id)
        only = None if wanted is None else frozenset(wanted)
        async with self._watched():
            while True:
                while self._number <= has:
                    await self._sampled.wait()
                update, has = self._since(has, only)
                yield update

    def _since(self, has: int, wanted: frozenset[str] | None) -> tuple[Update, int]:
        with self._lock:
            update = self._updates.get((has, wanted))
            if update is None:
                changed = {name: part.text for name, part in self._parts.items() if part.changed_in > has}
                parts = {name: text for name, text in changed.items() if wanted is None or name in wanted or name == TROUBLE}
                update = self._updates[has, wanted] = _update(self._id(self._number), json.dumps({"at": self._at, "parts": parts}))
            return update, self._number

    def _id(self, number: int) -> str:
        return f"{self._epoch}/{number}"

    def _number_of(self, update_id: str | None) -> int:
        epoch, _, number = (update_id or "").partition("/")
        known = epoch == self._epoch and number.isdecimal() and len(number) < 16
        return min(int(number), self._number) if known else 0

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Keep the sampler going while anybody looks."""
        self._watchers += 1
        if self._sampling is None:
            self._sampling = asyncio.create_task(self._sample_on())
        try:
            yield
        finally:
            self._watchers -= 1
            if self._watchers == 0 and self._sampling is not None:
                self._sampling.cancel()
                self._sampling = None

    async def _sample_on(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await asyncio.to_thread(self.sample)
            except TransientError as error:
                log.warning("no numbers yet", error=str(error))
            except Exception:
                # A fault in the code must be seen in the log every time, and must not end the updates for good.
                log.exception("numbers cannot be read or drawn")
            # Who waits is woken; who comes from now on waits for the next sample.
            sampled, self._sampled = self._sampled, asyncio.Event()
            sampled.set()
            await asyncio.sleep(max(0.0, self._sample_s - (time.monotonic() - began)))


def _update(update_id: str, data: str) -> Update:
    """The update with its bytes as they go over the wire (server-sent events; JSON has no line breaks)."""
    return Update(update_id, data, f"event: update\ndata: {data}\nid: {update_id}\nretry: {RECONNECT_MS}\n\n".encode())
