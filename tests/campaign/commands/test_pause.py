"""A campaign is paused and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.commands.pause import PauseArguments, ResumeArguments, pause, resume
from campaign.ledger import campaigns as ledger_campaigns
from campaign.ledger import versions as ledger_versions
from dune_prompt.errors import ConfigError
from tests.campaign.two_versions import NOW, TwoVersions

V2 = "inputs: {from_run: 2}"


def startable(house: TwoVersions) -> set[str]:
    with house.installation.store.read() as connection:
        ids = ledger_campaigns.startable(connection, house.installation.campaigns)
    return {house.installation.campaigns[campaign_id].settings.version for campaign_id in ids}


def test_a_paused_campaign_starts_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        rows = pause(house, PauseArguments(campaign="prompt", why="new calibration", by="ann"), NOW)
        assert [(row["version"], row["paused_by"], row["why"]) for row in rows] == [
            ("v1", "ann", "new calibration"),
            ("v2", "ann", "new calibration"),
        ]
        assert startable(house) == set()
        assert len(resume(house, ResumeArguments(campaign="prompt"), NOW + 1)) == 2
        assert startable(house) == {"v1", "v2"}
        assert resume(house, ResumeArguments(campaign="prompt"), NOW + 2) == []


def test_one_version_is_paused_alone(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2=V2) as house:
        pause(house, PauseArguments(campaign="prompt", version="v2", why="it crashes"), NOW)
        assert startable(house) == {"v1"}


def test_the_first_reason_stays(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        campaign_id = house.version("v1").id
        with house.writing() as connection:
            assert ledger_versions.pause(connection, campaign_id, NOW, "engine", "48 of the last 50 jobs failed the same way: memory")
            assert not ledger_versions.pause(connection, campaign_id, NOW, "ann", "lunch")
        (row,) = pause(house, PauseArguments(campaign="prompt", why="other", by="bob"), NOW)
        assert (row["paused_by"], row["why"]) == ("engine", "48 of the last 50 jobs failed the same way: memory")


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house:
        pause(house, PauseArguments(campaign="prompt", why="x", dry_run=True), NOW)
        assert startable(house) == {"v1"}
        pause(house, PauseArguments(campaign="prompt", why="x"), NOW)
        resume(house, ResumeArguments(campaign="prompt", dry_run=True), NOW)
        assert startable(house) == set()


def test_a_campaign_nobody_knows_is_refused(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path) as house, pytest.raises(ConfigError, match="other: not in the ledger; there are: prompt v1"):
        pause(house, PauseArguments(campaign="other", why="x"), NOW)
