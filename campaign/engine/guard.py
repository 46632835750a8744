"""The poison guard: a campaign whose last jobs mostly failed in the same way is paused, before it burns all its tasks' tries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import sqlalchemy as sa
import structlog

from campaign.installation import Installation
from campaign.ledger import versions
from campaign.ledger.tables import attempt_table, campaign_table, task_table

log = structlog.get_logger(__name__)

BY = "poison guard"
# What the world around the jobs does to them says nothing about the campaign.
_OUTSIDE = frozenset({"lost", "launch", "transient", "input", "site"})


def watch_over(installation: Installation, connection: sa.Connection, campaign_ids: Collection[int], now: float) -> list[int]:
    """Pause those of the campaigns (which had failures just now) that fail for one reason; their ids.

    Counted are jobs since the campaign was resumed the last time. A paused campaign starts nothing, its running jobs go on.
    """
    paused = []
    a, t, k = attempt_table.c, task_table.c, campaign_table.c
    for campaign_id in sorted(campaign_ids):
        settings = installation.campaigns[campaign_id].settings.poison
        row = connection.execute(sa.select(k.paused_at, k.resumed_at).where(k.id == campaign_id)).one()
        if row.paused_at is not None:
            continue
        # A job that began before the campaign was resumed says nothing about what was changed then.
        last = (
            sa.select(a.error_class, a.message)
            .join_from(attempt_table, task_table, t.id == a.task_id)
            .where(t.campaign_id == campaign_id, a.ended_at.is_not(None), a.created_at > (row.resumed_at or 0.0))
            .order_by(a.ended_at.desc())
            .limit(settings.last)
        )
        ended = connection.execute(last).all()
        ways = Counter(attempt.error_class for attempt in ended if attempt.error_class and attempt.error_class not in _OUTSIDE)
        if len(ended) < settings.last or not ways:
            continue
        (way, times) = ways.most_common(1)[0]
        if times < settings.fraction * len(ended):
            continue
        example = next(attempt.message for attempt in ended if attempt.error_class == way)
        why = f"{times} of the last {len(ended)} jobs failed the same way ({way}), such as: {(example or 'no message')[:300]}"
        versions.pause(connection, campaign_id, now, BY, why)
        log.error("campaign paused", campaign=campaign_id, reason=why)
        paused.append(campaign_id)
    return paused
