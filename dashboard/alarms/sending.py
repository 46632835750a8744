"""Sends the notices that wait for one target, in order, each until it has arrived. Every target has a sender, and a thread, of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from dashboard.alarms import notices
from dashboard.alarms.targets import Target, deliver
from dune_prompt.store import Store

log = structlog.get_logger(__name__)

SEND_EVERY_S = 5.0
MOST_A_ROUND = 20


class Sender:
    """Serves one target. A notice may arrive twice, when we die between its arrival and our note of it."""

    def __init__(self, store: Store, target: Target, clock: Callable[[], float] = time.time) -> None:
        self._store, self.target, self._clock = store, target, clock

    def send(self, now: float) -> int:
        """Send what waits, until the target refuses one, and not so many that a stop has to wait; how many arrived.

        Raises:
            TransientError: the store is away.
        """
        for sent in range(MOST_A_ROUND):
            # Nothing is held in the store while we wait for somebody outside.
            with self._store.read() as connection:
                notice = notices.next_notice(connection, self.target.name, now)
            if notice is None:
                return sent
            why = deliver(self.target, notice)
            with self._store.write() as connection:
                if why is None:
                    notices.was_sent(connection, notice, self._clock())
                else:
                    notices.was_refused(connection, notice, why, self._clock())
            if why is not None:
                log.warning("notice not delivered", target=self.target.name, notice=notice.id, tries=notice.tries + 1, why=why)
                return sent
        return MOST_A_ROUND
