"""Stands in for Fermilab's `wsdbtools`, which no index has: the connection pool MetaCat's code asks for its database."""

from __future__ import annotations

import threading
from typing import Any

import psycopg2
from metacat.common import Transaction
from psycopg2.extensions import TRANSACTION_STATUS_IDLE


class ConnectionPool:
    """Connections that commit by themselves; one goes back into the pool when nobody refers to it any more."""

    def __init__(self, postgres: str, max_idle_connections: int = 1, idle_timeout: float = 60.0) -> None:
        self._address = postgres
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def connect(self) -> Connection:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = psycopg2.connect(self._address)
            connection.autocommit = True
        return Connection(connection, self)

    def give_back(self, connection: Any) -> None:
        good = not connection.closed and connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        if not good:
            connection.close()
        with self._lock:
            # After one that broke the others are of no use either: the database was restarted.
            self._idle = [*self._idle, connection] if good else []


class Connection:
    """A database connection with MetaCat's transactions."""

    def __init__(self, connection: Any, pool: ConnectionPool) -> None:
        self._connection, self._pool = connection, pool

    def transaction(self) -> Any:
        return Transaction(self._connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __del__(self) -> None:
        self._pool.give_back(self._connection)
