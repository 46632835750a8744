"""Launches that came from POMS."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "launch",
        sa.Column("request_id", sa.String(length=100), nullable=False),
        sa.Column("slice_id", sa.String(length=26), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("stage_id", sa.Integer(), nullable=True),
        sa.Column("poms_campaign_id", sa.Integer(), nullable=True),
        sa.Column("host", sa.String(length=200), nullable=True),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("handle", sa.String(length=200), nullable=True),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column("replaced_at", sa.Float(), nullable=True),
        sa.Column("told_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_launch")),
        sa.ForeignKeyConstraint(["slice_id"], ["slice.id"], name=op.f("fk_launch_slice_id")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_launch_campaign_id")),
        comment="launches of POMS that got a slice; `task_id`, `stage_id`, `poms_campaign_id` are its numbers, `told_at`: it knows the end",
    )
    op.create_index("ix_launch_slice", "launch", ["slice_id"])
    op.create_index("ix_launch_asked", "launch", ["asked_at"])
