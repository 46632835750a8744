"""The tables of the probe: each one that was sent, and the numbers that are expected."""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

probe_table = sa.Table(
    "probe",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("did", sa.String(400), nullable=False),
    sa.Column("campaign", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("code_version", sa.String(64), nullable=False),
    sa.Column("raw", sa.String(64), nullable=False),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("sent_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("outcome", sa.String(16)),
    sa.Column("message", sa.Text),
    sa.Column("hops", sa.JSON, nullable=False),
    sa.Column("numbers", sa.JSON, nullable=False),
    sa.Column("launcher", sa.String(32)),
    sa.Column("host", sa.String(200)),
    comment=(
        "`raw` says what is in the file, `sent_at` when it was whole in the buffer, `outcome` none while it is under way, "
        "`hops` when it passed each, in seconds since the Unix epoch"
    ),
)

expected_table = sa.Table(
    "probe_expected",
    metadata,
    sa.Column("campaign", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("code_version", sa.String(64), primary_key=True),
    sa.Column("raw", sa.String(64), primary_key=True),
    sa.Column("numbers", sa.JSON, nullable=False),
    sa.Column("probe_id", sa.String(26), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    comment="the results of the first probe that went well, or of one that a person has accepted",
)
