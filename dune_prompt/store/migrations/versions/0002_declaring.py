"""Real catalogues: the queue of steps, pauses, waivers, kept datasets, and the proof that a file was safe to release."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BEFORE = [{"check": "before", "ok": True, "evidence": "its release had begun before proofs were kept"}]


def upgrade() -> None:
    op.create_table(
        "journal_queue",
        sa.Column("catalog", sa.String(length=32), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("file_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["journal_file.id"], name=op.f("fk_journal_queue_file_id")),
        sa.PrimaryKeyConstraint("catalog", "step", "file_id", name=op.f("pk_journal_queue")),
        comment="steps that can be done now: all they need is confirmed; with catalog '' the file's steps still have to be worked out",
    )
    op.create_table(
        "journal_dataset",
        sa.Column("did", sa.String(length=400), nullable=False),
        sa.Column("rse", sa.String(length=64), nullable=True),
        sa.Column("rules", sa.JSON(), nullable=True),
        sa.Column("lifetime_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("did", name=op.f("pk_journal_dataset")),
        comment="how the files of a dataset are kept, where a campaign says so",
    )
    op.create_table(
        "journal_pause",
        sa.Column("catalog", sa.String(length=32), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("by", sa.String(length=100), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("catalog", name=op.f("pk_journal_pause")),
        comment="catalogues that are not to be called, until a time or until somebody resumes them",
    )
    op.create_table(
        "journal_waiver",
        sa.Column("file_id", _ID, nullable=False),
        sa.Column("catalog", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.String(length=100), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["journal_file.id"], name=op.f("fk_journal_waiver_file_id")),
        sa.PrimaryKeyConstraint("file_id", "catalog", name=op.f("pk_journal_waiver")),
        comment="a person lets a file leave though a catalogue has not confirmed it",
    )
    op.create_table(
        "journal_proof",
        sa.Column("id", _ID, nullable=False),
        sa.Column("file_id", _ID, nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["file_id"], ["journal_file.id"], name=op.f("fk_journal_proof_file_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_proof")),
        comment="why a file was safe to release: the checklist that held; `action` is 'move' (to `target`) or 'delete'",
    )
    op.create_index(op.f("ix_journal_proof_file_id"), "journal_proof", ["file_id"], unique=False)
    op.add_column("journal_file", sa.Column("fid", sa.String(length=64), nullable=True))
    op.add_column("journal_file", sa.Column("place", sa.Text(), nullable=True))
    _add_proof()


def _add_proof() -> None:
    """The column, with the rule that nothing leaves without it; a release that had begun gets a row that says so."""
    connection = op.get_bind()
    rule = "state <> 'leaving' OR proof IS NOT NULL"
    # The rule is checked against the rows that are there, which have no proof yet: they are called otherwise meanwhile.
    op.execute("UPDATE journal_file SET state = 'leaving (old)' WHERE state = 'leaving'")
    if connection.dialect.name == "sqlite":
        op.execute(f"ALTER TABLE journal_file ADD COLUMN proof INTEGER CONSTRAINT nothing_leaves_unproven CHECK ({rule})")
    else:
        op.add_column("journal_file", sa.Column("proof", sa.BigInteger(), nullable=True))
        op.create_check_constraint("nothing_leaves_unproven", "journal_file", rule)
    connection.execute(
        sa.text(
            "INSERT INTO journal_proof (file_id, made_at, action, target, checks) "
            "SELECT id, found_at, 'move', target, :checks FROM journal_file WHERE state = 'leaving (old)'"
        ).bindparams(sa.bindparam("checks", _BEFORE, type_=sa.JSON()))
    )
    op.execute(
        "UPDATE journal_file SET state = 'leaving', proof = (SELECT p.id FROM journal_proof p WHERE p.file_id = journal_file.id) "
        "WHERE state = 'leaving (old)'"
    )
