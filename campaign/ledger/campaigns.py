"""Campaigns as the ledger knows them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from campaign.definition import CampaignFile
from campaign.ledger.tables import campaign_table
from dune_prompt.errors import ConfigError


def register(connection: sa.Connection, file: CampaignFile, now: float) -> tuple[int, bool]:
    """The ledger's id of the campaign's version, and whether files that were there before it still have to be taken in: it is new, or
    its file has changed, or the engine was killed before it had done so.

    Raises:
        ConfigError: the version is another than before, and its file does not say which inputs it covers.
    """
    settings = file.settings
    of_campaign = sa.select(campaign_table.c.id, campaign_table.c.version).where(campaign_table.c.name == settings.campaign)
    known = {row.version: row.id for row in connection.execute(of_campaign)}
    values: dict[str, Any] = {
        "stream": settings.stream,
        "detector": settings.detector,
        "layout": settings.layout,
        "required": settings.required,
        "file_hash": file.file_hash,
        "content": settings.model_dump(mode="json"),
    }
    if settings.version in known:
        campaign_id = known[settings.version]
        row = connection.execute(sa.select(campaign_table).where(campaign_table.c.id == campaign_id)).one()
        if row.layout != settings.layout:
            raise ConfigError(
                f"{file.path}: layout: version {settings.version} began as {row.layout!r} and cannot change to {settings.layout!r}; "
                "raise `version`"
            )
        if row.file_hash != file.file_hash:
            before = row.content.get("outputs", {}).get("place")
            if before != values["content"]["outputs"]["place"]:
                raise ConfigError(
                    f"{file.path}: outputs.place: version {settings.version} puts its outputs into {before or 'the outbox'} "
                    "and cannot change that; raise `version`"
                )
            changed = sa.update(campaign_table).where(campaign_table.c.id == campaign_id)
            connection.execute(changed.values(**values, taken_in_at=None))
            return campaign_id, True
        return campaign_id, row.taken_in_at is None
    if known and not settings.inputs.bounded:
        raise ConfigError(
            f"{file.path}: inputs: version {settings.version} comes after {', '.join(sorted(known))}: say which inputs it covers "
            "(inputs.from_run, to_run, exclude_runs or where), or all files would be processed again"
        )
    statement = sa.insert(campaign_table).values(name=settings.campaign, version=settings.version, first_seen=now, **values)
    campaign_id = int(connection.execute(statement.returning(campaign_table.c.id)).scalar_one())
    return campaign_id, True


def has_taken_in(connection: sa.Connection, campaign_id: int, now: float) -> None:
    """All files that were there before the campaign have their tasks."""
    connection.execute(sa.update(campaign_table).where(campaign_table.c.id == campaign_id).values(taken_in_at=now))


def startable(connection: sa.Connection, campaign_ids: Collection[int]) -> list[int]:
    """Which of these campaigns may start jobs: those that nobody has paused."""
    return [of for of in connection.execute(_NOT_PAUSED).scalars() if of in campaign_ids]


_NOT_PAUSED = sa.select(campaign_table.c.id).where(campaign_table.c.paused_at.is_(None))
