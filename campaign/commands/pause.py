"""A campaign is paused and resumed: paused, it starts nothing new, and running jobs go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from campaign.commands.protocol import Arguments, Command, Rows
from campaign.ledger import versions as ledger_versions

if TYPE_CHECKING:
    from campaign.engine import Engine


class PauseArguments(Arguments):
    """Which campaign, and why; without `version` all its versions."""

    campaign: str
    version: str | None = None
    why: str = Field(min_length=1, max_length=1000)


class ResumeArguments(Arguments):
    """Which campaign; without `version` all its versions."""

    campaign: str
    version: str | None = None


def pause(engine: Engine, arguments: PauseArguments, now: float) -> Rows:
    """Let a campaign start nothing new. One that is paused already stays so for its first reason.

    Raises:
        ConfigError: there is no such campaign.
    """
    with engine.writing() as connection:
        found = ledger_versions.find(connection, arguments.campaign, arguments.version)
        if not arguments.dry_run:
            for version in found:
                ledger_versions.pause(connection, version.id, now, arguments.by, arguments.why)
            found = ledger_versions.find(connection, arguments.campaign, arguments.version)
    return [
        {
            "campaign": version.name,
            "version": version.version,
            "paused_by": version.paused_by or arguments.by,
            "why": version.paused_why or arguments.why,
        }
        for version in found
    ]


def resume(engine: Engine, arguments: ResumeArguments, now: float) -> Rows:
    """Let a paused campaign start jobs again.

    Raises:
        ConfigError: there is no such campaign.
    """
    with engine.writing() as connection:
        found = ledger_versions.find(connection, arguments.campaign, arguments.version)
        paused = [version for version in found if version.paused_at is not None]
        if not arguments.dry_run:
            for version in paused:
                ledger_versions.resume(connection, version.id, now, arguments.by)
    return [
        {"campaign": version.name, "version": version.version, "paused_by": version.paused_by, "why": version.paused_why}
        for version in paused
    ]


PAUSE = Command("pause", PauseArguments, pause)
RESUME = Command("resume", ResumeArguments, resume)
