"""What people say of runs: the newest counts, nothing is forgotten, and NULL takes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.quality.flags import Flag
from dashboard.quality.run_flags import RunFlag, history, read_run_flags, set_run_flag
from dune_prompt.errors import ConfigError
from dune_prompt.store import Store, event_table

NOW = 1_718_795_400.0


def say(store: Store, run: int, flag: Flag, comment: str, by: str = "ana", at: float = NOW) -> RunFlag:
    with store.write() as connection:
        return set_run_flag(connection, run, flag, comment, by, at)


@pytest.fixture(autouse=True)
def known(ledger: Any, make: Callable[..., Any], keep: Callable[..., Any]) -> None:
    """Run 3 is known by its files, runs 4 and 5 by their records."""
    ledger.campaign()
    ledger.task(3, 0)
    ledger.write()
    keep(make(4))
    keep(make(5))


def test_the_newest_flag_counts_and_every_word_stays(store: Store) -> None:
    first = say(store, 4, Flag.BAD, "beam plug leak")
    second = say(store, 4, Flag.MEDIUM, "only the first files", by="bo", at=NOW + 5)
    say(store, 3, Flag.GOOD, "fine")
    with store.read() as connection:
        found = read_run_flags(connection, [3, 4, 5])
        assert found == {3: RunFlag(Flag.GOOD, "fine", NOW, "ana"), 4: second}
        assert history(connection, 4) == [second, first]
        assert history(connection, 5) == []


def test_null_takes_the_flag_back(store: Store) -> None:
    say(store, 4, Flag.BAD, "leak")
    say(store, 4, Flag.NULL, "it was another run", by="bo")
    with store.read() as connection:
        assert read_run_flags(connection, [4]) == {}
        assert [flag.comment for flag in history(connection, 4)] == ["it was another run", "leak"]
    with pytest.raises(ConfigError, match="no flag that could be taken back"):
        say(store, 4, Flag.NULL, "again")


def test_a_run_nobody_knows_cannot_be_flagged(store: Store) -> None:
    with pytest.raises(ConfigError, match="run 99: nothing is known of it"):
        say(store, 99, Flag.BAD, "a slip of the pen")
    with store.read() as connection:
        assert history(connection, 99) == []


def test_who_said_it_is_in_the_events(store: Store) -> None:
    say(store, 4, Flag.BAD, "leak")
    say(store, 4, Flag.GOOD, "no leak", by="bo", at=NOW + 1)
    e = event_table.c
    with store.read() as connection:
        rows = connection.execute(
            sa.select(e.at, e.room, e.before, e.after, e.by, e.message).where(e.subject == "run:4").order_by(e.id)
        ).all()
    assert [tuple(row) for row in rows] == [
        (NOW, "dashboard", None, "bad", "ana", "leak"),
        (NOW + 1, "dashboard", "bad", "good", "bo", "no leak"),
    ]
