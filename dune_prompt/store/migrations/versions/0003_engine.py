"""The engine keeps up: a smaller ledger, pauses, exclusions, second passes, and the health of batch systems."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("done_at IS NULL")
_OF_SLICE = sa.text("slice_id IS NOT NULL")


def upgrade() -> None:
    for column in (
        sa.Column("role", sa.String(length=16), server_default="full", nullable=False),
        sa.Column("paused_at", sa.Float(), nullable=True),
        sa.Column("paused_by", sa.String(length=100), nullable=True),
        sa.Column("paused_why", sa.Text(), nullable=True),
        sa.Column("resumed_at", sa.Float(), nullable=True),
    ):
        op.add_column("campaign", column)
    _tasks()
    commits = _take_commits()
    _attempts()
    _give_commits(commits)
    op.create_table(
        "exclusion",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.String(length=100), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run", "campaign", name=op.f("pk_exclusion")),
        comment="runs that are not processed; `campaign` '' means all of them",
    )
    op.create_table(
        "redo",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.String(length=100), nullable=False),
        sa.Column("retire_old", sa.Boolean(), nullable=False),
        sa.Column("taken_in_at", sa.Float(), nullable=True),
        sa.Column("retired_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_redo_campaign_id")),
        sa.PrimaryKeyConstraint("campaign_id", "run", name=op.f("pk_redo")),
        comment="runs that a version processes though its `inputs` do not cover them: the explicit second pass",
    )
    op.create_table(
        "launcher",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("refused", sa.Integer(), server_default="0", nullable=False),
        sa.Column("answered_at", sa.Float(), nullable=True),
        sa.Column("out_since", sa.Float(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_launcher")),
        comment="how the batch systems are: `refused` submissions in a row, last answer, since when it is out",
    )


def _tasks() -> None:
    op.add_column("task", sa.Column("input_id", _ID, nullable=False, server_default="0"))
    op.add_column("task", sa.Column("needs", sa.JSON(), nullable=True))
    op.execute(
        "UPDATE task SET input_id = (SELECT min(f.id) FROM task f WHERE f.campaign_id = task.campaign_id AND f.input_did = task.input_did)"
    )
    # A task that is waived needs no more work either, but it can be asked for again: it stays among the open ones.
    op.execute("UPDATE task SET done_at = NULL WHERE state <> 'done'")
    op.execute("UPDATE task SET done_at = created_at WHERE state = 'done' AND done_at IS NULL")
    op.drop_index("ix_task_queue", table_name="task")
    op.create_index("ix_task_open", "task", ["state", "late", "deadline"], sqlite_where=_OPEN, postgresql_where=_OPEN)


def _take_commits() -> list[dict[str, object]]:
    """The commits, with the outputs of their stage and an integer instead of the input's name as key; their old tables go."""
    connection = op.get_bind()
    outputs: dict[tuple[str, str], list[list[object]]] = {}
    for row in connection.execute(sa.text("SELECT attempt_id, stage, name, size_bytes, adler32, did FROM output ORDER BY name")):
        outputs.setdefault((row.attempt_id, row.stage), []).append([row.name, row.size_bytes, row.adler32, row.did is not None])
    commits = connection.execute(
        sa.text(
            "SELECT DISTINCT t.input_id, c.stage, c.attempt_id FROM stage_commit c "
            "JOIN task t ON t.campaign_id = c.campaign_id AND t.input_did = c.input_did"
        )
    ).all()
    op.drop_table("output")
    op.drop_table("stage_commit")
    return [
        {"input_id": row.input_id, "stage": row.stage, "attempt_id": row.attempt_id, "outputs": outputs.get((row.attempt_id, row.stage))}
        for row in commits
    ]


def _give_commits(rows: list[dict[str, object]]) -> None:
    table = op.create_table(
        "stage_commit",
        sa.Column("input_id", _ID, autoincrement=False, nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("attempt_id", sa.String(length=26), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_stage_commit_attempt_id")),
        sa.PrimaryKeyConstraint("input_id", "stage", name=op.f("pk_stage_commit")),
        sqlite_with_rowid=False,
        comment="exactly one attempt counts for each stage of an input; `outputs`: name (~ is the input's stem), size, adler32, declared",
    )
    if rows:
        op.get_bind().execute(sa.insert(table), rows)


def _attempts() -> None:
    connection = op.get_bind()
    for column in (
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("lifetime_s", sa.Float(), nullable=True),
        sa.Column("cpu_s", sa.Float(), nullable=True),
        sa.Column("rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("stage_names", sa.String(length=100), nullable=False, server_default=""),
    ):
        op.add_column("attempt", column)
    attempts = connection.execute(sa.text("SELECT id, stages FROM attempt")).all()
    names = [{"this": row.id, "names": ",".join(json.loads(row.stages) if isinstance(row.stages, str) else row.stages)} for row in attempts]
    if names:
        connection.execute(sa.text("UPDATE attempt SET stage_names = :names WHERE id = :this"), names)
    connection.execute(sa.text("UPDATE attempt SET token_hash = substr(token_hash, 1, 32)"))
    with op.batch_alter_table("attempt") as batch:
        for name in ("stages", "job_dir", "output_dir", "report"):
            batch.drop_column(name)
        batch.alter_column("stage_names", new_column_name="stages", server_default=None)
        batch.alter_column("slice_id", existing_type=sa.String(length=26), nullable=True)
        batch.alter_column("token_hash", existing_type=sa.String(length=64), nullable=True)
    op.create_index("ix_attempt_slice", "attempt", ["slice_id"], sqlite_where=_OF_SLICE, postgresql_where=_OF_SLICE)
