"""The first tables: events and leases, the journal, the ledger, data-quality records."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "campaign",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("detector", sa.String(length=16), nullable=False),
        sa.Column("layout", sa.String(length=16), nullable=False),
        sa.Column("required", sa.Boolean(), nullable=False),
        sa.Column("file_hash", sa.String(length=64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.Column("taken_in_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_campaign_name")),
        comment="each (campaign, version) run here, with its file as last loaded; `taken_in_at`: all files there were have tasks",
    )
    op.create_table(
        "dqm_record",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("input_did", sa.String(length=400), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("file_index", sa.Integer(), nullable=True),
        sa.Column("detector", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.String(length=26), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dqm_record")),
        sa.UniqueConstraint("campaign", "version", "input_did", name=op.f("uq_dqm_record_campaign")),
        comment="`summary` holds the scalars by element and plane, `folder` (relative to the workspace) record.json and the pictures",
    )
    op.create_index(op.f("ix_dqm_record_run"), "dqm_record", ["run"], unique=False)
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("room", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("before", sa.String(length=32), nullable=True),
        sa.Column("after", sa.String(length=32), nullable=False),
        sa.Column("by", sa.String(length=100), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index(op.f("ix_event_at"), "event", ["at"], unique=False)
    op.create_index(op.f("ix_event_subject"), "event", ["subject"], unique=False)
    op.create_table(
        "journal_file",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try", sa.Float(), server_default="0", nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=True),
        sa.Column("did", sa.String(length=400), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("adler32", sa.String(length=8), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.Column("parents", sa.JSON(), nullable=True),
        sa.Column("dataset", sa.String(length=400), nullable=True),
        sa.Column("run", sa.Integer(), nullable=True),
        sa.Column("file_index", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.String(length=26), nullable=True),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.Column("found_at", sa.Float(), nullable=False),
        sa.Column("verified_at", sa.Float(), nullable=True),
        sa.Column("declared_at", sa.Float(), nullable=True),
        sa.Column("left_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_file")),
        sa.UniqueConstraint("did", name=op.f("uq_journal_file_did")),
        sa.UniqueConstraint("origin", "name", name=op.f("uq_journal_file_origin")),
        comment="one row a file; `origin` is 'buffer' or 'outbox', `path` where it is, `target` where it moves to, times in seconds",
    )
    op.create_index(op.f("ix_journal_file_attempt"), "journal_file", ["attempt"], unique=False)
    op.create_index(op.f("ix_journal_file_run"), "journal_file", ["run"], unique=False)
    op.create_index("ix_journal_file_age", "journal_file", ["stream", "state", "closed_at"], unique=False)
    op.create_index("ix_journal_file_count", "journal_file", ["origin", "state"], unique=False)
    op.create_index(
        "ix_journal_file_moving",
        "journal_file",
        ["id"],
        unique=False,
        sqlite_where=sa.text("target IS NOT NULL"),
        postgresql_where=sa.text("target IS NOT NULL"),
    )
    op.create_index("ix_journal_file_stream", "journal_file", ["stream", "id"], unique=False)
    op.create_index("ix_journal_file_work", "journal_file", ["state", "next_try"], unique=False)
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "obligation",
        sa.Column("did", sa.String(length=400), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("child", sa.String(length=255), nullable=False),
        sa.Column("met_at", sa.Float(), nullable=True),
        sa.Column("waived_by", sa.String(length=100), nullable=True),
        sa.Column("waived_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("did", "campaign", "version", name=op.f("pk_obligation")),
        comment="a reason to keep a file: (campaign, version) must have declared the child first",
    )
    op.create_table(
        "journal_intake",
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["journal_file.id"], name=op.f("fk_journal_intake_file_id")),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_journal_intake")),
        comment="verified raw files the engine has not taken in yet; it deletes the row in the transaction that makes the task",
    )
    op.create_table(
        "journal_step",
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("catalog", sa.String(length=32), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("done_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["journal_file.id"], name=op.f("fk_journal_step_file_id")),
        sa.PrimaryKeyConstraint("file_id", "catalog", "step", name=op.f("pk_journal_step")),
        comment="what each catalogue has confirmed of a file",
    )
    op.create_table(
        "slice",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("request_id", sa.String(length=100), nullable=True),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("launcher", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_slice_campaign_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slice")),
        sa.UniqueConstraint("request_id", name=op.f("uq_slice_request_id")),
        comment="the inputs handed out together; `request_id` makes a repeated request get the same slice",
    )
    op.create_table(
        "task",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("input_did", sa.String(length=400), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("late", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("file_index", sa.Integer(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("deadline", sa.Float(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("allowed_failures", sa.Integer(), nullable=False),
        sa.Column("ready_at", sa.Float(), nullable=False),
        sa.Column("error_class", sa.String(length=32), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.Column("declared_at", sa.Float(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("reported_at", sa.Float(), nullable=True),
        sa.Column("done_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_task_campaign_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("campaign_id", "input_did", "step", name=op.f("uq_task_campaign_id")),
        comment="one input x one stage chain (step 'chain', fused) or one stage (staged)",
    )
    op.create_index("ix_task_queue", "task", ["state", "late", "deadline"], unique=False)
    op.create_index("ix_task_run", "task", ["run", "campaign_id"], unique=False)
    op.create_table(
        "task_count",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("tasks", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_task_count_campaign_id")),
        sa.PrimaryKeyConstraint("campaign_id", "run", "step", "state", "late", name=op.f("pk_task_count")),
        comment="tasks by run, step and state, kept in the transaction of every transition",
    )
    op.create_table(
        "attempt",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("slice_id", sa.String(length=26), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stages", sa.JSON(), nullable=False),
        sa.Column("launcher", sa.String(length=32), nullable=False),
        sa.Column("handle", sa.String(length=200), nullable=True),
        sa.Column("job_dir", sa.Text(), nullable=False),
        sa.Column("output_dir", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("heartbeat_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("host", sa.String(length=200), nullable=True),
        sa.Column("error_class", sa.String(length=32), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["slice_id"], ["slice.id"], name=op.f("fk_attempt_slice_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_attempt_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        comment="one try at a task",
    )
    op.create_index("ix_attempt_ended", "attempt", ["ended_at"], unique=False)
    op.create_index("ix_attempt_task", "attempt", ["task_id"], unique=False)
    op.create_index(
        "uq_attempt_in_flight",
        "attempt",
        ["task_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "output",
        sa.Column("attempt_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("adler32", sa.String(length=8), nullable=False),
        sa.Column("did", sa.String(length=400), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_output_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "name", name=op.f("pk_output")),
        comment="files of committed stages; `did` of those that go into the catalogues",
    )
    op.create_index(op.f("ix_output_did"), "output", ["did"], unique=False)
    op.create_table(
        "stage_commit",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("input_did", sa.String(length=400), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("attempt_id", sa.String(length=26), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_stage_commit_attempt_id")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_stage_commit_campaign_id")),
        sa.PrimaryKeyConstraint("campaign_id", "input_did", "stage", name=op.f("pk_stage_commit")),
        comment="exactly one attempt counts for each stage of an input",
    )
