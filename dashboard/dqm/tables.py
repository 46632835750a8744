"""The table of data-quality results: one row an input of a campaign's version; content and pictures are files beside it."""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

dqm_table = sa.Table(
    "dqm_record",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("campaign", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("input_did", sa.String(400), nullable=False),
    sa.Column("run", sa.Integer, nullable=False, index=True),
    sa.Column("file_index", sa.Integer),
    sa.Column("detector", sa.String(16), nullable=False),
    sa.Column("attempt", sa.String(26), nullable=False),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("received_at", sa.Float, nullable=False),
    sa.Column("summary", sa.JSON, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.UniqueConstraint("campaign", "version", "input_did"),
    comment="`summary` holds the scalars by element and plane, `folder` (relative to the workspace) record.json and the pictures",
)
