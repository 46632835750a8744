"""Opens the database. SQLite in WAL mode on a local disk by default, PostgreSQL by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from dune_prompt.errors import ConfigError, TransientError

BUSY_TIMEOUT_S = 30

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Store:
    """A database with transactions for reading and for writing. Safe to share between threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database and never waits for a writer (SQLite WAL)."""
        with self._transaction(write=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that may write: all of it is kept, or nothing.

        On SQLite it takes the write lock at its start (`BEGIN IMMEDIATE`); a deferred one would fail in the middle.

        Raises:
            TransientError: the database is away, locked for too long, or its disk is full.
        """
        with self._transaction(write=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[sa.Connection]:
        try:
            with self.engine.connect() as plain:
                connection = plain.execution_options(write=write)
                with connection.begin():
                    yield connection
        except sa.exc.OperationalError as error:
            raise TransientError(f"store {self.engine.url.render_as_string(hide_password=True)}: {error.orig}") from error

    def change_mark(self) -> int | None:
        """A number that differs when another process has written since the last call; None where the database cannot tell (PostgreSQL).

        One SQLite pragma on a connection kept for it, 10 µs: cheap enough to poll.
        """
        if self.engine.dialect.name != "sqlite":
            return None
        if not hasattr(self, "_mark_connection"):
            self._mark_connection = self.engine.raw_connection()
        cursor = self._mark_connection.cursor()
        cursor.execute("PRAGMA data_version")
        row = cursor.fetchone()
        cursor.close()
        return None if row is None else int(row[0])

    def close(self) -> None:
        if hasattr(self, "_mark_connection"):
            self._mark_connection.close()
        self.engine.dispose()


def open_store(url: str, *, migrate: bool = True) -> Store:
    """Open the database at `url` and bring its tables up to date.

    Raises:
        ConfigError: the URL is none, or names a database driver that is not installed.
        TransientError: the database cannot be reached.
    """
    store = Store(open_database(url))
    if migrate:
        from dune_prompt.store.migrate import upgrade

        upgrade(store)
    return store


def open_database(url: str) -> sa.Engine:
    """An engine for `url`, set up so that transactions on SQLite are real ones (SQLAlchemy's pysqlite recipe)."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
        else:
            engine = sa.create_engine(parsed, pool_pre_ping=True)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise ConfigError(f"store {url.split('@')[-1]}: {error} (PostgreSQL needs the extra 'postgres')") from None
    except OSError as error:
        raise TransientError(f"store {url}: {error.strerror}: {error.filename}") from None
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _on_connect)
        sa.event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # NORMAL survives the death of any process. A power cut may lose the last commits, and both ledger and journal can be
    # derived again from catalogues and buffer.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")
