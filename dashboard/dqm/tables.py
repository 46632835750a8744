"""The tables of data-quality results: one row a record that came in, and the roll-up of each run.

Content and pictures are files beside it. Of the attempts at one input exactly one is shown; the others are history.
"""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _partial(name: str, *columns: str, only: str, unique: bool = False) -> sa.Index:
    """An index over the rows in which a column is true (`only`: its name) or false (`NOT name`).

    SQLite has no booleans, and uses the index only for a condition in the same words: those SQLAlchemy writes.
    """
    on_sqlite = f"{only.removeprefix('NOT ')} = {0 if only.startswith('NOT ') else 1}"
    return sa.Index(name, *columns, unique=unique, sqlite_where=sa.text(on_sqlite), postgresql_where=sa.text(only))


result_table = sa.Table(
    "dqm_result",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("campaign", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("input_did", sa.String(400), nullable=False),
    sa.Column("stage", sa.String(32), nullable=False),
    sa.Column("attempt", sa.String(26), nullable=False),
    sa.Column("shown", sa.Boolean, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("file_index", sa.Integer),
    sa.Column("detector", sa.String(16), nullable=False),
    sa.Column("run_type", sa.String(64), nullable=False, server_default=""),
    sa.Column("data_at", sa.Float),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("received_at", sa.Float, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("payload", sa.String(64), nullable=False),
    sa.Column("notes", sa.JSON, nullable=False),
    sa.Column("n_records", sa.Integer),
    sa.Column("n_used", sa.Integer),
    sa.Column("n_problems", sa.Integer),
    sa.Column("pictures_missing", sa.JSON, nullable=False),
    sa.Column("elements", sa.JSON, nullable=False),
    sa.Column("scalars", sa.LargeBinary, nullable=False),
    sa.Column("flag", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("verdict_id", _id),
    sa.UniqueConstraint("campaign", "version", "input_did", "stage", "attempt"),
    _partial("uq_dqm_result_shown", "campaign", "version", "input_did", "stage", only="shown", unique=True),
    _partial("ix_dqm_result_run", "run", "campaign", "version", only="shown"),
    # Made so that counting what was judged in some hours reads the index only.
    _partial("ix_dqm_result_received", "received_at", "campaign", "flag", only="shown"),
    # The few records that are history.
    _partial("ix_dqm_result_history", "received_at", only="NOT shown"),
    comment="`elements` names the rows of `scalars`, `folder` (in the workspace) holds the files, `data_at`: when the data were taken",
)

run_table = sa.Table(
    "dqm_run",
    metadata,
    sa.Column("campaign", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("run", sa.Integer, primary_key=True),
    sa.Column("detector", sa.String(16), nullable=False),
    sa.Column("run_type", sa.String(64), nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("n_null", sa.Integer, nullable=False),
    sa.Column("n_good", sa.Integer, nullable=False),
    sa.Column("n_medium", sa.Integer, nullable=False),
    sa.Column("n_bad", sa.Integer, nullable=False),
    sa.Column("n_problems", sa.Integer, nullable=False),
    sa.Column("data_from", sa.Float),
    sa.Column("data_to", sa.Float),
    sa.Column("received_at", sa.Float, nullable=False),
    sa.Column("rolled_at", sa.Float, nullable=False),
    sa.Column("stale", sa.Boolean, nullable=False),
    sa.Column("tiles", sa.JSON, nullable=False),
    sa.Column("outliers", sa.JSON, nullable=False),
    sa.Index("ix_dqm_run_run", "run"),
    _partial("ix_dqm_run_stale", "stale", only="stale"),
    comment="a run as its shown records make it, rolled up soon after each upload; `stale`: a record came after `rolled_at`",
)

run_element_table = sa.Table(
    "dqm_run_element",
    metadata,
    sa.Column("campaign", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("element", sa.String(64), primary_key=True),
    sa.Column("run", sa.Integer, primary_key=True),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("scalars", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
    comment="one element of a run: `scalars` is float32 [median, lowest, highest over the files][planes][scalars]",
)
