"""The dashboard: records with their history and roll-ups, limits, references and verdicts, alarms, samples of the operations page."""

import struct
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

# The scalars of a plane in the order they had when this was written: a range gives three numbers.
_SCALARS = (
    ("n_channels", None),
    ("n_missing", None),
    ("n_dead", None),
    ("n_noisy", None),
    ("n_low", None),
    ("n_high", None),
    ("missing_fraction", None),
    ("saturated_fraction", None),
    ("pedestal_adc", "median"),
    ("pedestal_adc", "p05"),
    ("pedestal_adc", "p95"),
    ("std_raw_adc", "median"),
    ("rms_raw_adc", "median"),
    ("rms_raw_adc", "p05"),
    ("rms_raw_adc", "p95"),
    ("rms_nf_adc", "median"),
    ("rms_nf_adc", "p05"),
    ("rms_nf_adc", "p95"),
    ("coherent_rms_before_adc", None),
    ("coherent_rms_after_adc", None),
    ("coherent_fraction", None),
    ("charge_e", None),
    ("hits", None),
    ("sp_nonzero_fraction", None),
)
_A_TIME = 500


def upgrade() -> None:
    op.create_table(
        "alarm",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("rule", sa.String(length=32), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.Column("last_seen_at", sa.Float(), nullable=False),
        sa.Column("raised_at", sa.Float(), nullable=True),
        sa.Column("cleared_at", sa.Float(), nullable=True),
        sa.Column("cleared_by", sa.String(length=100), nullable=True),
        sa.Column("acknowledged_at", sa.Float(), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=100), nullable=True),
        sa.Column("acknowledged_until", sa.Float(), nullable=True),
        sa.Column("acknowledged_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
        comment="`seen` times in a row the rule held; `raised_at`: often enough to be an alarm; it is over when it has `cleared_at`",
    )
    op.create_index("ix_alarm_raised", "alarm", ["raised_at"], unique=False)
    op.create_index(
        "uq_alarm_open",
        "alarm",
        ["key"],
        unique=True,
        sqlite_where=sa.text("cleared_at IS NULL"),
        postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.create_table(
        "dqm_result",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("input_did", sa.String(length=400), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.String(length=26), nullable=False),
        sa.Column("shown", sa.Boolean(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("file_index", sa.Integer(), nullable=True),
        sa.Column("detector", sa.String(length=16), nullable=False),
        sa.Column("run_type", sa.String(length=64), server_default="", nullable=False),
        sa.Column("data_at", sa.Float(), nullable=True),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("payload", sa.String(length=64), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("n_records", sa.Integer(), nullable=True),
        sa.Column("n_used", sa.Integer(), nullable=True),
        sa.Column("n_problems", sa.Integer(), nullable=True),
        sa.Column("pictures_missing", sa.JSON(), nullable=False),
        sa.Column("elements", sa.JSON(), nullable=False),
        sa.Column("scalars", sa.LargeBinary(), nullable=False),
        sa.Column("flag", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("verdict_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dqm_result")),
        sa.UniqueConstraint("campaign", "version", "input_did", "stage", "attempt", name=op.f("uq_dqm_result_campaign")),
        comment="`elements` names the rows of `scalars`, `folder` (in the workspace) holds the files, `data_at`: when the data were taken",
    )
    shown: dict[str, Any] = {"sqlite_where": sa.text("shown = 1"), "postgresql_where": sa.text("shown")}
    history: dict[str, Any] = {"sqlite_where": sa.text("shown = 0"), "postgresql_where": sa.text("NOT shown")}
    op.create_index("ix_dqm_result_received", "dqm_result", ["received_at", "campaign", "flag"], unique=False, **shown)
    op.create_index("ix_dqm_result_history", "dqm_result", ["received_at"], unique=False, **history)
    op.create_index(
        "ix_dqm_result_run",
        "dqm_result",
        ["run", "campaign", "version"],
        unique=False,
        **shown,
    )
    op.create_index(
        "uq_dqm_result_shown",
        "dqm_result",
        ["campaign", "version", "input_did", "stage"],
        unique=True,
        **shown,
    )
    op.create_table(
        "dqm_run",
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("detector", sa.String(length=16), nullable=False),
        sa.Column("run_type", sa.String(length=64), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("n_null", sa.Integer(), nullable=False),
        sa.Column("n_good", sa.Integer(), nullable=False),
        sa.Column("n_medium", sa.Integer(), nullable=False),
        sa.Column("n_bad", sa.Integer(), nullable=False),
        sa.Column("n_problems", sa.Integer(), nullable=False),
        sa.Column("data_from", sa.Float(), nullable=True),
        sa.Column("data_to", sa.Float(), nullable=True),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("rolled_at", sa.Float(), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("tiles", sa.JSON(), nullable=False),
        sa.Column("outliers", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", "version", "run", name=op.f("pk_dqm_run")),
        comment="a run as its shown records make it, rolled up soon after each upload; `stale`: a record came after `rolled_at`",
    )
    op.create_index("ix_dqm_run_run", "dqm_run", ["run"], unique=False)
    op.create_index(
        "ix_dqm_run_stale", "dqm_run", ["stale"], unique=False, sqlite_where=sa.text("stale = 1"), postgresql_where=sa.text("stale")
    )
    op.create_table(
        "dqm_run_element",
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("element", sa.String(length=64), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("scalars", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", "version", "element", "run", name=op.f("pk_dqm_run_element")),
        comment="one element of a run: `scalars` is float32 [median, lowest, highest over the files][planes][scalars]",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "operations_sample",
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("slots_wanted", sa.Integer(), nullable=True),
        sa.Column("backlog", sa.Integer(), nullable=False),
        sa.Column("parked", sa.Integer(), nullable=False),
        sa.Column("late", sa.Integer(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("in_time", sa.Integer(), nullable=True),
        sa.Column("decided", sa.Integer(), nullable=True),
        sa.Column("buffer_bytes", sa.BigInteger(), nullable=True),
        sa.Column("buffer_fraction", sa.Float(), nullable=True),
        sa.Column("undeclared", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("interval_s", "at", name=op.f("pk_operations_sample")),
        comment="samples of the operations page, one every `interval_s`; coarser ones are kept longer",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quality_limits",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.Column("set_by", sa.String(length=100), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_quality_limits")),
        comment="versions of the limits; the highest counts",
    )
    op.create_table(
        "quality_reference",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("detector", sa.String(length=16), nullable=False),
        sa.Column("run_type", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.Column("set_by", sa.String(length=100), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_reference")),
        comment="reference runs; of a (detector, run type) the newest counts; `path` (in the workspace): what was kept of the run",
    )
    op.create_index("ix_quality_reference_for", "quality_reference", ["detector", "run_type"], unique=False)
    op.create_table(
        "quality_run_flag",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("flag", sa.SmallInteger(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.Column("set_by", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_run_flag")),
        comment="what people say of a run; the newest counts, NULL (0) withdraws",
    )
    op.create_index(op.f("ix_quality_run_flag_run"), "quality_run_flag", ["run"], unique=False)
    op.create_table(
        "alarm_notice",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("alarm_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("target", sa.String(length=300), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try", sa.Float(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_alarm_notice_alarm_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_notice")),
        comment="notices to webhooks and by mail; one without `sent_at` is tried again",
    )
    op.create_index(
        "ix_alarm_notice_unsent",
        "alarm_notice",
        ["next_try"],
        unique=False,
        sqlite_where=sa.text("sent_at IS NULL"),
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_table(
        "quality_verdict",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("result_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("judged_at", sa.Float(), nullable=False),
        sa.Column("limits_version", sa.Integer(), nullable=False),
        sa.Column("reference_id", sa.Integer(), nullable=True),
        sa.Column("flag", sa.SmallInteger(), nullable=False),
        sa.Column("tiles", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["dqm_result.id"], name=op.f("fk_quality_verdict_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_verdict")),
        comment="verdicts, each with the versions it was made with; `tiles`: {element: {group: flag}}, `findings`: what is not good",
    )
    op.create_index(op.f("ix_quality_verdict_result_id"), "quality_verdict", ["result_id"], unique=False)
    # ### end Alembic commands ###

    done = sa.text("done_at IS NOT NULL")
    op.create_index("ix_task_done", "task", ["done_at"], unique=False, sqlite_where=done, postgresql_where=done)
    _take_over()
    op.drop_table("dqm_record")


def _take_over() -> None:
    """The records that were kept so far: each is the one that is shown, and its run has to be rolled up."""
    connection = op.get_bind()
    old = sa.table(
        "dqm_record",
        *(sa.column(name) for name in ("id", "campaign", "version", "input_did", "run", "file_index", "detector", "attempt")),
        *(sa.column(name) for name in ("made_at", "received_at", "folder")),
        sa.column("summary", sa.JSON),
    )
    new = sa.Table("dqm_result", sa.MetaData(), autoload_with=connection)
    runs = sa.Table("dqm_run", sa.MetaData(), autoload_with=connection)
    last, seen = 0, set()
    while rows := connection.execute(sa.select(old).where(old.c.id > last).order_by(old.c.id).limit(_A_TIME)).all():
        last = rows[-1].id
        connection.execute(sa.insert(new), [_result(row) for row in rows])
        for row in rows:
            key = (row.campaign, row.version, row.run)
            if key not in seen:
                seen.add(key)
                connection.execute(sa.insert(runs).values(_unrolled(row)))


def _result(row: Any) -> dict[str, Any]:
    summary = row.summary
    values = [number for element in summary["elements"] for number in _block(element["planes"])]
    same = ("id", "campaign", "version", "input_did", "run", "file_index", "detector", "attempt", "made_at", "received_at", "folder")
    return {
        **{name: getattr(row, name) for name in same},
        "stage": "evaluate",
        "shown": True,
        "run_type": "",
        "payload": summary["payload"],
        "notes": summary["notes"],
        "n_records": summary["n_records"],
        "n_used": summary["n_used"],
        "n_problems": summary["n_problems"],
        "pictures_missing": summary["pictures_missing"],
        "elements": [element["element"] for element in summary["elements"]],
        "scalars": struct.pack(f"<{len(values)}f", *values),
        "flag": 0,
    }


def _block(planes: list[dict[str, Any]]) -> list[float]:
    """The numbers of an element: those of U, V and W, NaN where there is none."""
    by_name = {plane["plane"]: plane for plane in planes}
    numbers = []
    for name in ("U", "V", "W"):
        plane = by_name.get(name, {})
        for key, part in _SCALARS:
            value = plane.get(key)
            if part is not None and value is not None:
                value = value[part]
            numbers.append(float("nan") if value is None else float(value))
    return numbers


def _unrolled(row: Any) -> dict[str, Any]:
    zeros = dict.fromkeys(("files", "n_null", "n_good", "n_medium", "n_bad", "n_problems"), 0)
    key = {"campaign": row.campaign, "version": row.version, "run": row.run, "detector": row.detector, "run_type": ""}
    return key | zeros | {"received_at": row.received_at, "rolled_at": 0.0, "stale": True, "tiles": {}, "outliers": []}
