"""`dune-prompt campaign poms`: what an operator does with a campaign that is in POMS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dune_prompt.cli.options import json_option, print_table, site_option
from dune_prompt.errors import ConfigError

if TYPE_CHECKING:
    from campaign.poms.client import PomsClient, PomsStage
    from dune_prompt.settings.launchers import PomsLauncherSettings

Function = TypeVar("Function", bound=Callable[..., Any])

_dry_run = click.option("--dry-run", is_flag=True, help="show which stages, change nothing")
_stage = click.option("--stage", help="only this stage")


def _campaign(function: Function) -> Function:
    """What all of these commands take."""
    return site_option(json_option(click.argument("name", metavar="CAMPAIGN")(function)))


@click.group()
def poms() -> None:
    """Hold, release, retire or launch a campaign that is in POMS, and see its submissions.

    CAMPAIGN is the name of a campaign of the site or, with its version, any campaign in POMS: pdhd-prompt_v1.
    """


@poms.command()
@_campaign
@_stage
@_dry_run
def hold(site_path: Path, as_json: bool, name: str, stage: str | None, dry_run: bool) -> None:
    """Launch no more of a campaign; running jobs go on. POMS takes the schedule away and queues other launches."""
    with _open(site_path, name) as house:
        stages = house.stages(stage)
        if not dry_run:
            house.client.hold([item.id for item in stages])
        _show(house, stages, "would be held" if dry_run else "held", as_json=as_json)


@poms.command()
@_campaign
@_stage
@_dry_run
def release(site_path: Path, as_json: bool, name: str, stage: str | None, dry_run: bool) -> None:
    """Launch a held campaign again; its first stage gets its schedule back, which a hold takes away."""
    with _open(site_path, name) as house:
        stages = house.stages(stage)
        if not dry_run:
            house.client.release([item.id for item in stages])
            if (first := house.first()).id in [item.id for item in stages]:
                house.schedule(first)
        _show(house, stages, "would be released" if dry_run else "released", as_json=as_json)


@poms.command()
@_campaign
@_dry_run
def retire(site_path: Path, as_json: bool, name: str, dry_run: bool) -> None:
    """Take a campaign out of use: no schedules, and not among POMS's active campaigns."""
    with _open(site_path, name) as house:
        stages = house.stages(None)
        if not dry_run:
            for item in stages:
                house.client.unschedule(item.id)
            house.client.retire(house.campaign)
        _show(house, stages, "would be retired" if dry_run else "retired", as_json=as_json)


@poms.command()
@_campaign
@_dry_run
def activate(site_path: Path, as_json: bool, name: str, dry_run: bool) -> None:
    """Take a retired campaign into use again: active, and its first stage on its schedule unless it is held."""
    with _open(site_path, name) as house:
        stages = house.stages(None)
        if not dry_run:
            house.client.activate(house.campaign)
            if not (first := house.first()).held:
                house.schedule(first)
        _show(house, stages, "would be active" if dry_run else "active", as_json=as_json)


@poms.command()
@_campaign
@click.option("--stage", help="this stage; default: the first one")
@click.option("--dataset", help="on this dataset, not its own")
@click.option("--test", is_flag=True, help="as a test: a single job")
@click.option("--dry-run", is_flag=True, help="show which stage, launch nothing")
def launch(site_path: Path, as_json: bool, name: str, stage: str | None, dataset: str | None, test: bool, dry_run: bool) -> None:
    """Have POMS launch a stage once, now."""
    with _open(site_path, name) as house:
        (item,) = house.stages(stage or house.first().name)
        row: dict[str, Any] = {"campaign": house.campaign, "stage": item.name, "dataset": dataset or item.dataset, "held": item.held}
        if not dry_run:
            submission = house.client.launch(item.id, dataset, test)
            row |= {"submission": submission, "page": house.client.submission_page(submission)}
        print_table([row], as_json=as_json)


@poms.command()
@_campaign
@_stage
@click.option("--days", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, help="of the last so many days")
def submissions(site_path: Path, as_json: bool, name: str, stage: str | None, days: float) -> None:
    """Show what POMS has launched of a campaign."""
    with _open(site_path, name) as house:
        found = [item for each in house.stages(stage) for item in house.client.submissions(each.id, days)]
        rows = [
            {
                "submission": item.id,
                "stage": item.stage,
                "status": item.status,
                "created": item.created,
                "job": item.job_id,
                "page": house.client.submission_page(item.id),
            }
            for item in sorted(found, key=lambda item: item.id)
        ]
    print_table(rows, as_json=as_json)
    if not rows and not as_json:
        click.echo("no submissions")


@dataclass(frozen=True, slots=True)
class _House:
    """A campaign in POMS, and what speaks to it."""

    client: PomsClient
    settings: PomsLauncherSettings
    campaign: str

    def stages(self, name: str | None) -> list[PomsStage]:
        """All stages, or the one of this name.

        Raises:
            ConfigError: there is none.
        """
        every = self.client.stages(self.campaign)
        found = [stage for stage in every if name in (None, stage.name)]
        if not every:
            raise ConfigError(f"POMS has no campaign {self.campaign!r} with stages; `dune-prompt campaign upload` brings it there")
        if not found:
            raise ConfigError(f"{self.campaign} has no stage {name!r} in POMS; there are: {', '.join(stage.name for stage in every)}")
        return found

    def first(self) -> PomsStage:
        """The stage that follows from no other."""
        from campaign.poms.ini import parse
        from campaign.poms.upload import first_stage

        every = {stage.name: stage for stage in self.stages(None)}
        return every[first_stage(parse(self.client.campaign_ini(self.campaign) or ""))]

    def schedule(self, stage: PomsStage) -> None:
        from campaign.poms.upload import every_minutes

        self.client.schedule(stage.id, every_minutes(self.settings))


@contextmanager
def _open(site_path: Path, name: str) -> Iterator[_House]:
    """The campaign called `name`, by the site's launcher of kind `poms`."""
    from campaign.definition import load_campaigns
    from campaign.poms.client import PomsClient
    from campaign.poms.names import campaign_name
    from campaign.poms.rendering import poms_settings
    from dune_prompt.settings import load_site

    site = load_site(site_path)
    settings = poms_settings(site)
    versions = [campaign_name(file.settings) for file in load_campaigns(site, site_path) if file.settings.campaign == name]
    if len(versions) > 1:
        raise ConfigError(f"{name} has several versions; give one of {', '.join(versions)}")
    client = PomsClient.of(settings)
    try:
        yield _House(client, settings, versions[0] if versions else name)
    finally:
        client.close()


def _show(house: _House, stages: list[PomsStage], state: str, *, as_json: bool) -> None:
    print_table([{"campaign": house.campaign, "stage": stage.name, "id": stage.id, "state": state} for stage in stages], as_json=as_json)
