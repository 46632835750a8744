"""The tables of the ledger: campaigns, tasks, attempts, what stages committed, counts of tasks by state, what people asked for, tokens.

A task and all that is kept of it stay below a kilobyte: what can be derived from an attempt's id (its folders) or from times in the rows
(the events of a task that went well) is not stored a second time.
"""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_open = sa.text("done_at IS NULL")
_is_done = sa.text("done_at IS NOT NULL")
_in_flight = sa.text("ended_at IS NULL")
_of_slice = sa.text("slice_id IS NOT NULL")
_not_revoked = sa.text("revoked_at IS NULL")

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
    sa.Column("role", sa.String(16), nullable=False, server_default="full"),
    sa.Column("paused_at", sa.Float),
    sa.Column("paused_by", sa.String(100)),
    sa.Column("paused_why", sa.Text),
    sa.Column("resumed_at", sa.Float),
    sa.UniqueConstraint("name", "version"),
    comment="each (campaign, version) run here, with its file as last loaded; `taken_in_at`: all files there were have tasks",
)

task_table = sa.Table(
    "task",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("input_id", _id, nullable=False),
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
    sa.Column("needs", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("campaign_id", "input_did", "step"),
    # What is done is out of the way of all that is still to do.
    sa.Index("ix_task_open", "state", "late", "deadline", sqlite_where=_open, postgresql_where=_open),
    sa.Index("ix_task_run", "run", "campaign_id"),
    # What was done lately: rates, latencies, hand-overs.
    sa.Index("ix_task_done", "done_at", sqlite_where=_is_done, postgresql_where=_is_done),
    comment="one input x one stage chain (step 'chain', fused) or one stage (staged); `input_id` is the input's first task",
)

slice_table = sa.Table(
    "slice",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    # Not written any more: launches keep it (below). SQLite could drop it only by writing table and attempts anew.
    sa.Column("request_id", sa.String(100), unique=True),
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), nullable=False),
    sa.Column("step", sa.String(32), nullable=False),
    sa.Column("launcher", sa.String(32), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    comment="the inputs handed out together",
)

launch_table = sa.Table(
    "launch",
    metadata,
    sa.Column("request_id", sa.String(100), primary_key=True),
    sa.Column("slice_id", sa.String(26), sa.ForeignKey("slice.id"), nullable=False),
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), nullable=False),
    sa.Column("step", sa.String(32), nullable=False),
    sa.Column("task_id", sa.Integer, nullable=False),
    sa.Column("stage_id", sa.Integer),
    sa.Column("poms_campaign_id", sa.Integer),
    sa.Column("host", sa.String(200)),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("handle", sa.String(200)),
    sa.Column("submitted_at", sa.Float),
    sa.Column("replaced_at", sa.Float),
    sa.Column("told_at", sa.Float),
    sa.Index("ix_launch_slice", "slice_id"),
    sa.Index("ix_launch_asked", "asked_at"),
    comment="launches of POMS that got a slice; `task_id`, `stage_id`, `poms_campaign_id` are its numbers, `told_at`: it knows the end",
)

attempt_table = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("task_id", _id, sa.ForeignKey("task.id"), nullable=False),
    sa.Column("slice_id", sa.String(26), sa.ForeignKey("slice.id")),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("stages", sa.String(100), nullable=False),
    sa.Column("launcher", sa.String(32), nullable=False),
    sa.Column("handle", sa.String(200)),
    sa.Column("token_hash", sa.String(64)),
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("submitted_at", sa.Float),
    sa.Column("started_at", sa.Float),
    sa.Column("heartbeat_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("host", sa.String(200)),
    sa.Column("error_class", sa.String(32)),
    sa.Column("message", sa.Text),
    sa.Column("memory_bytes", sa.BigInteger),
    sa.Column("lifetime_s", sa.Float),
    sa.Column("cpu_s", sa.Float),
    sa.Column("rss_bytes", sa.BigInteger),
    # One attempt without an end per task: what is in flight, as a key the database keeps.
    sa.Index("uq_attempt_in_flight", "task_id", unique=True, sqlite_where=_in_flight, postgresql_where=_in_flight),
    sa.Index("ix_attempt_task", "task_id"),
    sa.Index("ix_attempt_ended", "ended_at"),
    sa.Index(
        "ix_attempt_slice", "slice_id", sqlite_where=sa.text("slice_id IS NOT NULL"), postgresql_where=sa.text("slice_id IS NOT NULL")
    ),
    comment="one try at a task; `memory_bytes` and `lifetime_s` are what it was given, `cpu_s` and `rss_bytes` what it used",
)

commit_table = sa.Table(
    "stage_commit",
    metadata,
    sa.Column("input_id", _id, primary_key=True, autoincrement=False),
    sa.Column("stage", sa.String(32), primary_key=True),
    sa.Column("attempt_id", sa.String(26), sa.ForeignKey("attempt.id"), nullable=False),
    sa.Column("outputs", sa.JSON(none_as_null=True)),
    sqlite_with_rowid=False,
    comment="exactly one attempt counts for each stage of an input; `outputs`: name (~ is the input's stem), size, adler32, declared",
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

exclusion_table = sa.Table(
    "exclusion",
    metadata,
    sa.Column("run", sa.Integer, primary_key=True),
    sa.Column("campaign", sa.String(64), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.String(100), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    comment="runs that are not processed; `campaign` '' means all of them",
)

redo_table = sa.Table(
    "redo",
    metadata,
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), primary_key=True),
    sa.Column("run", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.String(100), nullable=False),
    sa.Column("retire_old", sa.Boolean, nullable=False),
    sa.Column("taken_in_at", sa.Float),
    sa.Column("retired_at", sa.Float),
    comment="runs that a version processes though its `inputs` do not cover them: the explicit second pass",
)

launcher_table = sa.Table(
    "launcher",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("refused", sa.Integer, nullable=False, server_default="0"),
    sa.Column("answered_at", sa.Float),
    sa.Column("out_since", sa.Float),
    sa.Column("message", sa.Text),
    comment="how the batch systems are: `refused` submissions in a row, last answer, since when it is out",
)

token_table = sa.Table(
    "token",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("scopes", sa.String(200), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("created_by", sa.String(100), nullable=False),
    sa.Column("expires_at", sa.Float),
    sa.Column("revoked_at", sa.Float),
    sa.Column("last_used_at", sa.Float),
    sa.Index("uq_token_name", "name", unique=True, sqlite_where=_not_revoked, postgresql_where=_not_revoked),
    comment="named tokens of the HTTP interface; `revoked_at` lies ahead while one that was replaced is still good",
)
