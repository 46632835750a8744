"""The tables of draining and of inputs: files others declared, how far each dataset was looked at, and what is read back from tape."""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

_coming = sa.text("there_at IS NULL")

catalog_input_table = sa.Table(
    "catalog_input",
    metadata,
    sa.Column("did", sa.String(400), primary_key=True),
    sa.Column("dataset", sa.String(400), nullable=False, index=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("adler32", sa.String(8), nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("file_index", sa.Integer),
    sa.Column("declared_at", sa.Float),
    sa.Column("found_at", sa.Float, nullable=False),
    comment="inputs that came from a dataset of a catalogue and not through the journal: what their jobs are told of them",
)

drained_table = sa.Table(
    "drained_dataset",
    metadata,
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), primary_key=True),
    sa.Column("dataset", sa.String(400), primary_key=True),
    sa.Column("mark", sa.String(100), nullable=False),
    sa.Column("answered_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    comment="how far a dataset was looked at for a campaign's version; `mark` is the catalogue's own",
)

recall_table = sa.Table(
    "recall",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), nullable=False, index=True),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("dataset", sa.String(400), nullable=False),
    sa.Column("rse", sa.String(200), nullable=False),
    sa.Column("lifetime_s", sa.Float, nullable=False),
    sa.Column("rule", sa.String(64)),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    comment="files of a run read back from tape together: written before it is asked for, so that a crash asks for it once",
)

recall_file_table = sa.Table(
    "recall_file",
    metadata,
    sa.Column("recall_id", sa.String(26), sa.ForeignKey("recall.id"), primary_key=True),
    sa.Column("did", sa.String(400), primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("there_at", sa.Float),
    sa.Index("ix_recall_file_coming", "did", sqlite_where=_coming, postgresql_where=_coming),
    comment="the files of a recall; `there_at`: since when a copy is on disk",
)
