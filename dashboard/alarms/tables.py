"""The tables of alarms and of the notices that were, or have to be, sent about them."""

from __future__ import annotations

import sqlalchemy as sa

from dune_prompt.store import metadata

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_open = sa.text("cleared_at IS NULL")
_unsent = sa.text("sent_at IS NULL")

alarm_table = sa.Table(
    "alarm",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("rule", sa.String(32), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(300), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("link", sa.Text, nullable=False),
    sa.Column("seen", sa.Integer, nullable=False),
    sa.Column("first_seen_at", sa.Float, nullable=False),
    sa.Column("last_seen_at", sa.Float, nullable=False),
    sa.Column("raised_at", sa.Float),
    sa.Column("cleared_at", sa.Float),
    sa.Column("cleared_by", sa.String(100)),
    sa.Column("acknowledged_at", sa.Float),
    sa.Column("acknowledged_by", sa.String(100)),
    sa.Column("acknowledged_until", sa.Float),
    sa.Column("acknowledged_why", sa.Text),
    # Of one thing there is one alarm without an end.
    sa.Index("uq_alarm_open", "key", unique=True, sqlite_where=_open, postgresql_where=_open),
    sa.Index("ix_alarm_raised", "raised_at"),
    comment="`seen` times in a row the rule held; `raised_at`: often enough to be an alarm; it is over when it has `cleared_at`",
)

notice_table = sa.Table(
    "alarm_notice",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("alarm_id", _id, sa.ForeignKey("alarm.id"), nullable=False),
    sa.Column("target", sa.String(300), nullable=False),
    sa.Column("what", sa.String(16), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("sent_at", sa.Float),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_try", sa.Float, nullable=False),
    sa.Column("error", sa.Text),
    sa.Index("ix_alarm_notice_unsent", "next_try", sqlite_where=_unsent, postgresql_where=_unsent),
    comment="notices to webhooks and by mail; one without `sent_at` is tried again",
)
