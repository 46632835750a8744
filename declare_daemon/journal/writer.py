"""The journal as the daemon, its one writer, sees it: transactions that count only as long as the daemon's lease does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from dune_prompt.store import Lease, Store


class Journal:
    """The store with the lease checked in every transaction that writes, and the clock of the daemon."""

    def __init__(self, store: Store, lease: Lease, clock: Callable[[], float]) -> None:
        self.store, self._lease, self.now = store, lease, clock

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self.store.read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction under the lease.

        Raises:
            LeaseLostError: another daemon took over; this one must stop.
        """
        self._lease.renew(self.now())
        with self.store.write() as connection:
            self._lease.check(connection)
            yield connection

    def check_lease(self) -> None:
        """Call right before files are changed outside a transaction.

        Raises:
            LeaseLostError: another daemon took over.
        """
        with self.store.read() as connection:
            self._lease.check(connection)


def lease_name(buffer: str) -> str:
    """The name of the lease of the daemon that works on `buffer`; long paths are cut to what the table holds."""
    name = f"buffer:{buffer}"
    return name if len(name) <= 100 else f"buffer:{hashlib.sha256(name.encode()).hexdigest()}"
