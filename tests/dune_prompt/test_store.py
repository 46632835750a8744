"""The store: migrations, transactions, leases."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import campaign.draining.tables
import campaign.ledger.tables
import campaign.probe.tables  # noqa: F401
import dashboard.alarms.tables
import dashboard.dqm.tables
import dashboard.operations.tables
import dashboard.quality.tables  # noqa: F401
import declare_daemon.journal.tables  # noqa: F401
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.store import Event, Lease, LeaseHeldError, LeaseLostError, Store, event_table, metadata, open_store, record_events


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path}/store.sqlite")


def test_the_migrations_make_the_tables_that_the_code_has(store: Store) -> None:
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_opening_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    with store.write() as connection:
        record_events(connection, [Event(1.0, "test", "a", None, "b")])
    again = open_store(f"sqlite:///{tmp_path}/store.sqlite")
    with again.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(event_table)).scalar_one() == 1


def test_a_store_of_a_newer_version_is_refused(store: Store, tmp_path: Path) -> None:
    with store.write() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(ConfigError, match=r"9999.*newer"):
        open_store(f"sqlite:///{tmp_path}/store.sqlite")


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as connection:
        record_events(connection, [Event(1.0, "test", "a", None, "b")])
        raise RuntimeError
    with store.read() as connection:
        assert connection.execute(sa.select(event_table)).all() == []


def test_a_reader_does_not_wait_for_a_writer(store: Store) -> None:
    with store.write() as writing:
        record_events(writing, [Event(1.0, "test", "a", None, "b")])
        with store.read() as reading:
            assert reading.execute(sa.select(event_table)).all() == []


def _write_from_another_process(url: str) -> None:
    with open_store(url).write() as connection:
        record_events(connection, [Event(1.0, "test", "a", None, "b")])


def test_the_change_mark_moves_when_another_process_writes(store: Store, tmp_path: Path) -> None:
    before = store.change_mark()
    assert store.change_mark() == before
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=_write_from_another_process, args=(f"sqlite:///{tmp_path}/store.sqlite",))
    other.start()
    other.join()
    assert other.exitcode == 0
    assert store.change_mark() != before


def test_a_folder_that_cannot_be_made_is_an_outage_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TransientError):
        open_store(f"sqlite:///{tmp_path}/file/store.sqlite")
    with pytest.raises(ConfigError):
        open_store("nonsense")


def test_a_lease_is_held_by_one_and_taken_over_when_it_expires(store: Store) -> None:
    other = {"name": "engine", "holder": "elsewhere/1/1", "token": 7, "expires_at": 100.0}
    with store.write() as connection:
        connection.execute(sa.insert(metadata.tables["lease"]).values(**other))
    with pytest.raises(LeaseHeldError, match="elsewhere/1/1"):
        Lease.acquire(store, "engine", now=99.0)
    lease = Lease.acquire(store, "engine", now=101.0)
    assert lease.token == 8


def test_the_lease_of_a_dead_process_of_this_host_is_free_at_once(store: Store) -> None:
    dead = {"name": "engine", "holder": f"{os.uname().nodename}/{os.getpid()}/123", "token": 1, "expires_at": 1e12}
    with store.write() as connection:
        connection.execute(sa.insert(metadata.tables["lease"]).values(**dead))
    Lease.acquire(store, "engine", now=1.0)


def test_a_frozen_holder_that_wakes_up_cannot_write(store: Store) -> None:
    frozen = Lease.acquire(store, "engine", now=0.0, duration_s=30)
    Lease.acquire(store, "engine", now=100.0)
    with pytest.raises(LeaseLostError):
        frozen.renew(101.0)
    with pytest.raises(LeaseLostError), store.write() as connection:
        frozen.check(connection)


def test_a_released_lease_is_free(store: Store) -> None:
    lease = Lease.acquire(store, "engine", now=0.0)
    lease.release()
    assert Lease.acquire(store, "engine", now=1.0).token == lease.token + 1
