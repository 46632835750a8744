"""The tables of judging: versions of the limits, reference runs, verdicts, and the flags people gave to runs. Rows are only ever added."""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

limits_table = sa.Table(
    "quality_limits",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("set_at", sa.Float, nullable=False),
    sa.Column("set_by", sa.String(100), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    comment="versions of the limits; the highest counts",
)

reference_table = sa.Table(
    "quality_reference",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("detector", sa.String(16), nullable=False),
    sa.Column("run_type", sa.String(64), nullable=False),
    sa.Column("campaign", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("set_at", sa.Float, nullable=False),
    sa.Column("set_by", sa.String(100), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Index("ix_quality_reference_for", "detector", "run_type"),
    comment="reference runs; of a (detector, run type) the newest counts; `path` (in the workspace): what was kept of the run",
)

verdict_table = sa.Table(
    "quality_verdict",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("result_id", _id, sa.ForeignKey("dqm_result.id"), nullable=False, index=True),
    sa.Column("judged_at", sa.Float, nullable=False),
    sa.Column("limits_version", sa.Integer, nullable=False),
    sa.Column("reference_id", sa.Integer),
    sa.Column("flag", sa.SmallInteger, nullable=False),
    sa.Column("tiles", sa.JSON, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    comment="verdicts, each with the versions it was made with; `tiles`: {element: {group: flag}}, `findings`: what is not good",
)

run_flag_table = sa.Table(
    "quality_run_flag",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("run", sa.Integer, nullable=False, index=True),
    sa.Column("flag", sa.SmallInteger, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("set_at", sa.Float, nullable=False),
    sa.Column("set_by", sa.String(100), nullable=False),
    comment="what people say of a run; the newest counts, NULL (0) withdraws",
)
