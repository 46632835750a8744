"""Leases: which process may act for a buffer or a ledger, across hosts, with a fencing token.

A process that was frozen and wakes up late finds another token in the store: its next write fails instead of being done twice.
"""

from __future__ import annotations

import os
import socket

import sqlalchemy as sa

from dune_prompt.errors import ConflictError
from dune_prompt.process import start_time
from dune_prompt.store.database import Store, metadata

lease_table = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("holder", sa.String(200), nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)

_TOKEN = sa.select(lease_table.c.token).where(lease_table.c.name == sa.bindparam("of"))


class LeaseHeldError(ConflictError):
    """Another process does this work now."""

    def __init__(self, name: str, holder: str) -> None:
        self.holder = holder
        super().__init__(f"{name} is held by {holder}: stop that process first, or let it do the work")


class LeaseLostError(ConflictError):
    """Another process took over while this one was silent; this one must stop."""


class Lease:
    """The right to act under `name`, renewed by its holder, taken over when it expires or its holder on this host is dead."""

    def __init__(self, store: Store, name: str, token: int, duration_s: float, renewed_at: float) -> None:
        self.store, self.name, self.token, self.duration_s, self.renewed_at = store, name, token, duration_s, renewed_at

    @classmethod
    def acquire(cls, store: Store, name: str, *, now: float, duration_s: float = 30.0) -> Lease:
        """Take the lease.

        Raises:
            LeaseHeldError: another living process has it.
        """
        me = _this_process()
        with store.write() as connection:
            row = connection.execute(sa.select(lease_table).where(lease_table.c.name == name)).one_or_none()
            if row is not None and row.holder != me and row.expires_at > now and not _is_dead_here(row.holder):
                raise LeaseHeldError(name, row.holder)
            token = 1 if row is None else row.token + 1
            values = {"holder": me, "token": token, "expires_at": now + duration_s}
            if row is None:
                connection.execute(sa.insert(lease_table).values(name=name, **values))
            else:
                connection.execute(sa.update(lease_table).where(lease_table.c.name == name).values(**values))
        return cls(store, name, token, duration_s, now)

    def check(self, connection: sa.Connection) -> None:
        """Call first in every transaction that acts under the lease.

        Raises:
            LeaseLostError: another process has taken over.
        """
        token = connection.execute(_TOKEN, {"of": self.name}).scalar_one_or_none()
        if token != self.token:
            raise LeaseLostError(f"{self.name}: another process took over")

    def renew(self, now: float) -> None:
        """Keep the lease; does nothing until a third of its time has passed.

        Raises:
            LeaseLostError: another process has taken over.
        """
        if abs(now - self.renewed_at) < self.duration_s / 3:
            return
        with self.store.write() as connection:
            self.check(connection)
            mine = sa.update(lease_table).where(lease_table.c.name == self.name)
            connection.execute(mine.values(expires_at=now + self.duration_s))
        self.renewed_at = now

    def release(self) -> None:
        """Give the lease back, so that the next process need not wait."""
        with self.store.write() as connection:
            mine = (lease_table.c.name == self.name) & (lease_table.c.token == self.token)
            connection.execute(sa.update(lease_table).where(mine).values(expires_at=0.0))


def holder_of(connection: sa.Connection, name: str, *, now: float) -> str | None:
    """Who holds the lease `name` now, None when nobody does."""
    row = connection.execute(sa.select(lease_table).where(lease_table.c.name == name)).one_or_none()
    return None if row is None or row.expires_at <= now or _is_dead_here(row.holder) else str(row.holder)


def _this_process() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{start_time(os.getpid())}"


def _is_dead_here(holder: str) -> bool:
    """Whether the holder was a process of this host that is gone: no need to wait for its lease to expire."""
    host, _, rest = holder.partition("/")
    pid, _, started = rest.partition("/")
    return host == socket.gethostname() and pid.isdigit() and str(start_time(int(pid))) != started
