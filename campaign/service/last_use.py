"""When named tokens were last used: kept in memory, and written once a minute by a thread of its own, so that no request waits for it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import structlog

from campaign.service import named_tokens
from dune_prompt.errors import TransientError
from dune_prompt.store import Store

log = structlog.get_logger(__name__)

WRITE_EVERY_S = 60.0


class LastUse:
    """Filled by every request with a named token."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}
        self._written_at = float("-inf")

    def note(self, token_id: str, now: float) -> None:
        """The token was used now."""
        with self._lock:
            self._used[token_id] = now
            if abs(now - self._written_at) < WRITE_EVERY_S:
                return
            used, self._used, self._written_at = self._used, {}, now
        threading.Thread(target=self._write, args=(used,), name="last use of tokens", daemon=True).start()

    def _write(self, used: Mapping[str, float]) -> None:
        try:
            with self._store.write() as connection:
                named_tokens.note_use(connection, used)
        except TransientError as error:
            log.warning("the last use of tokens was not written down", error=str(error))
