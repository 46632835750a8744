"""Draining from datasets of catalogues, and inputs read back from tape."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_COMING = sa.text("there_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "catalog_input",
        sa.Column("did", sa.String(length=400), nullable=False),
        sa.Column("dataset", sa.String(length=400), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("adler32", sa.String(length=8), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("file_index", sa.Integer(), nullable=True),
        sa.Column("declared_at", sa.Float(), nullable=True),
        sa.Column("found_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("did", name=op.f("pk_catalog_input")),
        comment="inputs that came from a dataset of a catalogue and not through the journal: what their jobs are told of them",
    )
    op.create_index(op.f("ix_catalog_input_dataset"), "catalog_input", ["dataset"])
    op.create_table(
        "drained_dataset",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.String(length=400), nullable=False),
        sa.Column("mark", sa.String(length=100), nullable=False),
        sa.Column("answered_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_drained_dataset_campaign_id")),
        sa.PrimaryKeyConstraint("campaign_id", "dataset", name=op.f("pk_drained_dataset")),
        comment="how far a dataset was looked at for a campaign's version; `mark` is the catalogue's own",
    )
    op.create_table(
        "recall",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.String(length=400), nullable=False),
        sa.Column("rse", sa.String(length=200), nullable=False),
        sa.Column("lifetime_s", sa.Float(), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_recall_campaign_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recall")),
        comment="files of a run read back from tape together: written before it is asked for, so that a crash asks for it once",
    )
    op.create_index(op.f("ix_recall_campaign_id"), "recall", ["campaign_id"])
    op.create_table(
        "recall_file",
        sa.Column("recall_id", sa.String(length=26), nullable=False),
        sa.Column("did", sa.String(length=400), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("there_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["recall_id"], ["recall.id"], name=op.f("fk_recall_file_recall_id")),
        sa.PrimaryKeyConstraint("recall_id", "did", name=op.f("pk_recall_file")),
        comment="the files of a recall; `there_at`: since when a copy is on disk",
    )
    op.create_index("ix_recall_file_coming", "recall_file", ["did"], sqlite_where=_COMING, postgresql_where=_COMING)
