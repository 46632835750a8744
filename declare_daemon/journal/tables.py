"""The tables of the journal: every file the daemon has seen, how far it got, and what must happen before it may leave."""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

file_table = sa.Table(
    "journal_file",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("origin", sa.String(16), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("target", sa.Text),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_try", sa.Float, nullable=False, server_default="0"),
    sa.Column("stream", sa.String(64)),
    sa.Column("did", sa.String(400), unique=True),
    sa.Column("fid", sa.String(64)),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("adler32", sa.String(8)),
    sa.Column("metadata", sa.JSON),
    sa.Column("parents", sa.JSON),
    sa.Column("dataset", sa.String(400)),
    sa.Column("run", sa.Integer, index=True),
    sa.Column("file_index", sa.Integer),
    sa.Column("attempt", sa.String(26), index=True),
    sa.Column("closed_at", sa.Float),
    sa.Column("found_at", sa.Float, nullable=False),
    sa.Column("verified_at", sa.Float),
    sa.Column("declared_at", sa.Float),
    sa.Column("left_at", sa.Float),
    sa.Column("place", sa.Text),
    sa.Column("proof", _id),
    sa.CheckConstraint("state <> 'leaving' OR proof IS NOT NULL", name="nothing_leaves_unproven"),
    sa.UniqueConstraint("origin", "name"),
    sa.Index("ix_journal_file_work", "state", "next_try"),
    sa.Index("ix_journal_file_count", "origin", "state"),
    sa.Index("ix_journal_file_stream", "stream", "id"),
    sa.Index("ix_journal_file_age", "stream", "state", "closed_at"),
    sa.Index(
        "ix_journal_file_moving",
        "id",
        sqlite_where=sa.text("target IS NOT NULL"),
        postgresql_where=sa.text("target IS NOT NULL"),
    ),
    comment=(
        "one row a file; `origin` is 'buffer' or 'outbox', `path` where it is, `target` where it moves to, `place` where its copy on the "
        "storage element is, `proof` the row of journal_proof it leaves by, `fid` its SAM file id; times in seconds"
    ),
)

step_table = sa.Table(
    "journal_step",
    metadata,
    sa.Column("file_id", _id, sa.ForeignKey("journal_file.id"), primary_key=True),
    sa.Column("catalog", sa.String(32), primary_key=True),
    sa.Column("step", sa.String(32), primary_key=True),
    sa.Column("done_at", sa.Float, nullable=False),
    comment="what each catalogue has confirmed of a file",
)

queue_table = sa.Table(
    "journal_queue",
    metadata,
    sa.Column("catalog", sa.String(32), primary_key=True),
    sa.Column("step", sa.String(32), primary_key=True),
    sa.Column("file_id", _id, sa.ForeignKey("journal_file.id"), primary_key=True),
    comment="steps that can be done now: all they need is confirmed; with catalog '' the file's steps still have to be worked out",
)

dataset_table = sa.Table(
    "journal_dataset",
    metadata,
    sa.Column("did", sa.String(400), primary_key=True),
    sa.Column("rse", sa.String(64)),
    sa.Column("rules", sa.JSON),
    sa.Column("lifetime_s", sa.Float),
    comment="how the files of a dataset are kept, where a campaign says so",
)

pause_table = sa.Table(
    "journal_pause",
    metadata,
    sa.Column("catalog", sa.String(32), primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("until", sa.Float),
    sa.Column("by", sa.String(100), nullable=False),
    sa.Column("why", sa.Text),
    comment="catalogues that are not to be called, until a time or until somebody resumes them",
)

waiver_table = sa.Table(
    "journal_waiver",
    metadata,
    sa.Column("file_id", _id, sa.ForeignKey("journal_file.id"), primary_key=True),
    sa.Column("catalog", sa.String(32), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.String(100), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    comment="a person lets a file leave though a catalogue has not confirmed it",
)

proof_table = sa.Table(
    "journal_proof",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("file_id", _id, sa.ForeignKey("journal_file.id"), nullable=False, index=True),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("target", sa.Text),
    sa.Column("checks", sa.JSON, nullable=False),
    sa.Column("ended_at", sa.Float),
    comment="why a file was safe to release: the checklist that held; `action` is 'move' (to `target`) or 'delete'",
)

intake_table = sa.Table(
    "journal_intake",
    metadata,
    sa.Column("file_id", _id, sa.ForeignKey("journal_file.id"), primary_key=True),
    comment="verified raw files the engine has not taken in yet; it deletes the row in the transaction that makes the task",
)

obligation_table = sa.Table(
    "obligation",
    metadata,
    sa.Column("did", sa.String(400), primary_key=True),
    sa.Column("campaign", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("child", sa.String(255), nullable=False),
    sa.Column("met_at", sa.Float),
    sa.Column("waived_by", sa.String(100)),
    sa.Column("waived_why", sa.Text),
    comment="a reason to keep a file: (campaign, version) must have declared the child first",
)
