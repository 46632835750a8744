"""Brings the tables of a store up to date with Alembic. The history is in `migrations/versions`, one file a change."""

from __future__ import annotations

from pathlib import Path

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from dune_prompt.errors import ConfigError
from dune_prompt.store.database import Store


def upgrade(store: Store) -> None:
    """Apply the migrations the store has not seen, in one transaction; quick when there is none.

    Raises:
        ConfigError: the store was written by a newer dune-prompt.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with store.read() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision == script.get_current_head():
        return
    if revision is not None and revision not in {known.revision for known in script.walk_revisions()}:
        raise ConfigError(f"the store is at revision {revision}, which this dune-prompt does not know: install the newer one that wrote it")
    with store.write() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")
