"""Tries the store: whether it can be reached, and whether its tables are those this dune-prompt works with. Changes nothing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

import dune_prompt.store
from declare_daemon.checks.result import Result, failed, good
from dune_prompt.errors import ConfigError, DunePromptError
from dune_prompt.store import Store, open_store

NEW = "not there yet; the first service that starts makes it"


def check_store(url: str) -> list[Result]:
    """One result: reached and at the right revision, or what is wrong."""
    try:
        parsed = make_url(url)
        what = f"store {parsed.render_as_string(hide_password=True)}"
    except (ArgumentError, ValueError) as error:
        return [failed("store", ConfigError(f"store: not the address of a database: {error}"))]
    if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).exists():
        return [good(what, NEW)]
    try:
        with closing(open_store(url, migrate=False)) as store:
            current, wanted = revision_of(store), newest_revision()
    except (DunePromptError, OSError) as error:
        return [failed(what, error)]
    if current is None:
        return [good(what, NEW)]
    if current != wanted:
        return [
            failed(
                what,
                ConfigError(
                    f"its tables are at revision {current}, this dune-prompt works with {wanted}: stop the older services, start this one"
                ),
            )
        ]
    return [good(what, f"reached, revision {current}")]


def open_current(url: str) -> Store | None:
    """The store if it is there and its tables are this dune-prompt's; nothing is made or changed.

    Raises:
        TransientError: the store is away.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).exists():
        return None
    store = open_store(url, migrate=False)
    if revision_of(store) == newest_revision():
        return store
    store.close()
    return None


def revision_of(store: Store) -> str | None:
    """The revision of the store's tables, None if it has none.

    Raises:
        TransientError: the store is away.
    """
    with store.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str | None:
    """The revision this dune-prompt works with."""
    return ScriptDirectory(str(Path(dune_prompt.store.__file__).parent / "migrations")).get_current_head()
