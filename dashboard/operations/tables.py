"""The table of samples: what the operations page showed, kept for its history charts."""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

sample_table = sa.Table(
    "operations_sample",
    metadata,
    sa.Column("interval_s", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, primary_key=True),
    sa.Column("running", sa.Integer, nullable=False),
    sa.Column("queued", sa.Integer, nullable=False),
    sa.Column("slots_wanted", sa.Integer),
    sa.Column("backlog", sa.Integer, nullable=False),
    sa.Column("parked", sa.Integer, nullable=False),
    sa.Column("late", sa.Integer, nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("done", sa.Integer, nullable=False),
    sa.Column("in_time", sa.Integer),
    sa.Column("decided", sa.Integer),
    sa.Column("buffer_bytes", sa.BigInteger),
    sa.Column("buffer_fraction", sa.Float),
    sa.Column("undeclared", sa.Integer),
    sqlite_with_rowid=False,
    comment="samples of the operations page, one every `interval_s`; coarser ones are kept longer",
)
