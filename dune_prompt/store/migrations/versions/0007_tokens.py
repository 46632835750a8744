"""Named tokens of the HTTP interface."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_NOT_REVOKED = sa.text("revoked_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "token",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.Column("last_used_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        comment="named tokens of the HTTP interface; `revoked_at` lies ahead while one that was replaced is still good",
    )
    op.create_index("uq_token_name", "token", ["name"], unique=True, sqlite_where=_NOT_REVOKED, postgresql_where=_NOT_REVOKED)
