"""The tables of the ledger: campaigns, tasks, attempts, what each stage committed, and the counts of tasks by state."""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

campaign_table = sa.Table(
    "campaign",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("stream", sa.String(64), nullable=False),
    sa.Column("detector", sa.String(16), nullable=False),
    sa.Column("layout", sa.String(16), nullable=False),
    sa.Column("required", sa.Boolean, nullable=False),
    sa.Column("file_hash", sa.String(64), nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("first_seen", sa.Float, nullable=False),
    sa.Column("taken_in_at", sa.Float),
    sa.UniqueConstraint("name", "version"),
    comment="each (campaign, version) run here, with its file as last loaded; `taken_in_at`: all files there were have tasks",
)

task_table = sa.Table(
    "task",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), nullable=False),
    sa.Column("input_did", sa.String(400), nullable=False),
    sa.Column("step", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("late", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("file_index", sa.Integer),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("deadline", sa.Float, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("allowed_failures", sa.Integer, nullable=False),
    sa.Column("ready_at", sa.Float, nullable=False),
    sa.Column("error_class", sa.String(32)),
    sa.Column("message", sa.Text),
    sa.Column("closed_at", sa.Float),
    sa.Column("declared_at", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("submitted_at", sa.Float),
    sa.Column("started_at", sa.Float),
    sa.Column("reported_at", sa.Float),
    sa.Column("done_at", sa.Float),
    sa.UniqueConstraint("campaign_id", "input_did", "step"),
    sa.Index("ix_task_queue", "state", "late", "deadline"),
    sa.Index("ix_task_run", "run", "campaign_id"),
    comment="one input x one stage chain (step 'chain', fused) or one stage (staged)",
)

slice_table = sa.Table(
    "slice",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("request_id", sa.String(100), unique=True),
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), nullable=False),
    sa.Column("step", sa.String(32), nullable=False),
    sa.Column("launcher", sa.String(32), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    comment="the inputs handed out together; `request_id` makes a repeated request get the same slice",
)

attempt_table = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("task_id", _id, sa.ForeignKey("task.id"), nullable=False),
    sa.Column("slice_id", sa.String(26), sa.ForeignKey("slice.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("stages", sa.JSON, nullable=False),
    sa.Column("launcher", sa.String(32), nullable=False),
    sa.Column("handle", sa.String(200)),
    sa.Column("job_dir", sa.Text, nullable=False),
    sa.Column("output_dir", sa.Text, nullable=False),
    sa.Column("token_hash", sa.String(64), nullable=False),
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("submitted_at", sa.Float),
    sa.Column("started_at", sa.Float),
    sa.Column("heartbeat_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("host", sa.String(200)),
    sa.Column("error_class", sa.String(32)),
    sa.Column("message", sa.Text),
    sa.Column("report", sa.JSON),
    # One attempt without an end per task: what is in flight, as a key the database keeps.
    sa.Index(
        "uq_attempt_in_flight",
        "task_id",
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    ),
    sa.Index("ix_attempt_task", "task_id"),
    sa.Index("ix_attempt_ended", "ended_at"),
    comment="one try at a task",
)

commit_table = sa.Table(
    "stage_commit",
    metadata,
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), primary_key=True),
    sa.Column("input_did", sa.String(400), primary_key=True),
    sa.Column("stage", sa.String(32), primary_key=True),
    sa.Column("attempt_id", sa.String(26), sa.ForeignKey("attempt.id"), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    comment="exactly one attempt counts for each stage of an input",
)

output_table = sa.Table(
    "output",
    metadata,
    sa.Column("attempt_id", sa.String(26), sa.ForeignKey("attempt.id"), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("stage", sa.String(32), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("adler32", sa.String(8), nullable=False),
    sa.Column("did", sa.String(400), index=True),
    comment="files of committed stages; `did` of those that go into the catalogues",
)

count_table = sa.Table(
    "task_count",
    metadata,
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), primary_key=True),
    sa.Column("run", sa.Integer, primary_key=True),
    sa.Column("step", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), primary_key=True),
    sa.Column("late", sa.Boolean, primary_key=True),
    sa.Column("tasks", sa.Integer, nullable=False),
    comment="tasks by run, step and state, kept in the transaction of every transition",
)
