"""The PostgreSQL of our tests keeps what was committed through crashes, and ends with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from tests.servers.postgres import Postgres

ORPHAN = """
import sys
from pathlib import Path
from tests.servers.postgres import Postgres

with Postgres(Path(sys.argv[1])) as postgres:
    print(postgres.url, flush=True)
    sys.stdin.read()
"""


def ask(postgres: Postgres, *statements: str) -> object:
    connection = psycopg2.connect(postgres.url)
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None
    finally:
        connection.close()


def test_what_was_committed_survives_a_kill_and_a_restart_at_the_same_address(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as postgres:
        url = postgres.url
        ask(postgres, "create table number (it int)", "insert into number values (5)")
        postgres.kill()
        with pytest.raises(psycopg2.OperationalError):
            ask(postgres, "select 1")
        postgres.start()
        assert ask(postgres, "select it from number") == (5,)
        postgres.restart()
        assert (ask(postgres, "select it from number"), postgres.url) == ((5,), url)
    with Postgres(tmp_path / "postgres") as postgres:
        assert ask(postgres, "select it from number") == (5,)


def test_two_at_once_do_not_know_each_other(tmp_path: Path) -> None:
    with Postgres(tmp_path / "a") as one, Postgres(tmp_path / "b") as other:
        ask(one, "create table number (it int)")
        assert ask(other, "select count(*) from pg_tables where tablename = 'number'") == (0,)
        assert other.address("x", "psycopg") == f"postgresql+psycopg://postgres@127.0.0.1:{other.port}/x"


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHAN, str(tmp_path / "postgres")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        connection = psycopg2.connect(url)
        connection.autocommit = True
        os.kill(parent.pid, signal.SIGKILL)
    # The one way for this to end within its hour is that the server does.
    with connection.cursor() as cursor, pytest.raises(psycopg2.OperationalError):
        cursor.execute("select pg_sleep(3600)")
    connection.close()
