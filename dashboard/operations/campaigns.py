"""Which campaigns are counted, and which of their steps ends a file's processing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.layout import last_step
from campaign.ledger.tables import campaign_table, task_table


@dataclass(frozen=True, slots=True)
class CountedCampaign:
    """A campaign's version. A file is processed when its task of `final_step` is done."""

    id: int
    name: str
    version: str
    layout: str
    detector: str
    final_step: str


Campaigns = Mapping[int, CountedCampaign]


def counted_campaigns(connection: sa.Connection, active: Collection[int] | None = None) -> Campaigns:
    """The ledger's campaigns by id, newest first; only those in `active` if given."""
    statement = sa.select(campaign_table).order_by(campaign_table.c.id.desc())
    if active is not None:
        statement = statement.where(campaign_table.c.id.in_(active))
    return {
        row.id: CountedCampaign(row.id, row.name, row.version, row.layout, row.detector, last_step(row.layout))
        for row in connection.execute(statement)
    }


def final_steps(campaigns: Campaigns) -> list[str]:
    """The steps that end the processing of a file, in these campaigns."""
    return sorted({campaign.final_step for campaign in campaigns.values()})


def of_campaigns(campaigns: Campaigns) -> sa.ColumnElement[bool]:
    """That a task is of one of these campaigns.

    Written so that no index is taken for it: SQLite would prefer the key, which begins with the campaign, to the times that say more.
    """
    return (task_table.c.campaign_id + 0).in_(campaigns)
