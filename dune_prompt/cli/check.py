"""`dune-prompt check`: is everything reachable, and what about our credentials?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import date, json_option, print_table, site_option

if TYPE_CHECKING:
    from campaign.definition import Campaign
    from declare_daemon.checks import Group, Result
    from dune_prompt.settings import Site
    from dune_prompt.settings.launchers import PomsLauncherSettings


@click.command()
@site_option
@click.option("--watch", is_flag=True, help="for a timer: note alarms in the store, and print only what has changed since the last time")
@click.option("--patience", type=click.FloatRange(min=1), default=60, show_default=True, help="seconds to wait for what hangs")
@json_option
def command(site_path: Path, watch: bool, patience: float, as_json: bool) -> None:
    """Try everything for real: catalogues and our rights there, mounts, the store, credentials.

    Exit code 0 if all is well (a credential may end soon), 20 if something is away, 30 if a person has to act: a right is missing, a
    credential has expired. Alarms are given 7 days, 24 hours and 1 hour before a credential ends.
    """

    from declare_daemon.checks import exit_code, survey
    from dune_prompt import log
    from dune_prompt.settings import load_site

    log.configure()
    site = load_site(site_path)
    results = survey(_groups(site, site_path), patience_s=patience)
    rows = _changes(site, results, time.time()) if watch else [_row(result) for result in results]
    if as_json:
        print_table(rows, as_json=True)
    else:
        print_table([_shown(row) for row in rows], as_json=False)
    click.get_current_context().exit(exit_code(results))


def _groups(site: Site, site_path: Path) -> list[Group]:
    """All checks of a site, in the order they are shown."""
    from declare_daemon.checks import Group
    from declare_daemon.checks.credentials import check_credentials
    from declare_daemon.checks.database import check_store
    from declare_daemon.checks.mounts import check_buffer, check_folders, check_workspace
    from declare_daemon.checks.servers import catalog_groups, raw_wanted

    campaigns, results = _campaigns(site, site_path)
    places = [campaign.outputs.place for campaign in campaigns if campaign.outputs.place is not None]
    return [
        Group("campaigns", lambda: results),
        Group(f"buffer {site.buffer.path}", partial(check_buffer, site)),
        Group(f"workspace {site.workspace}", partial(check_workspace, site)),
        Group("folders", partial(check_folders, site, places)),
        Group("store", partial(check_store, site.store_url)),
        *catalog_groups(site, list(dict.fromkeys([*raw_wanted(site), *_derived(campaigns)]))),
        Group("credentials", partial(check_credentials, site)),
        *[
            Group(f"launcher {item.kind}", partial(_launcher, site, item.kind))
            for item in site.launchers
            if item.kind not in ("local", "poms")
        ],
        *[Group("launcher poms", partial(_poms, item, campaigns)) for item in site.launchers if item.kind == "poms"],
        Group("slots", partial(_capacity, site, campaigns)),
    ]


def _launcher(site: Site, kind: str) -> list[Result]:
    """Whether a batch system answers."""
    from campaign.launchers import open_blocking
    from declare_daemon.checks.result import failed, good, warned
    from dune_prompt.errors import DunePromptError
    from dune_prompt.settings.launchers import RemoteLauncherSettings

    try:
        settings = next(item for item in site.launchers if item.kind == kind)
        open_blocking(settings).available()
    except DunePromptError as error:
        return [failed(f"launcher {kind}", error)]
    if isinstance(settings, RemoteLauncherSettings) and site.service.url is None and not settings.share_files:
        unheard = f"the queue answers, but jobs elsewhere cannot reach {site.service.base_url}: set service.url in the site file"
        return [warned(f"launcher {kind}", unheard)]
    return [good(f"launcher {kind}", "the queue answers")]


def _poms(settings: PomsLauncherSettings, campaigns: Sequence[Campaign]) -> list[Result]:
    """Whether POMS answers us, and knows the campaigns that it is to launch."""
    from contextlib import closing

    from campaign.poms.client import PomsClient
    from campaign.poms.names import campaign_name
    from declare_daemon.checks.result import failed, good, warned
    from dune_prompt.errors import DunePromptError

    results: list[Result] = []
    with closing(PomsClient.of(settings)) as client:
        for campaign in campaigns:
            name = campaign_name(campaign)
            what = f"launcher poms: {name}"
            try:
                number = client.campaign_id(name)
            except DunePromptError as error:
                return [*results, failed("launcher poms", error)]
            unknown = f"POMS does not know it: dune-prompt campaign upload {campaign.campaign}"
            results.append(warned(what, unknown) if number is None else good(what, f"campaign {number} in POMS"))
    return results


def _capacity(site: Site, campaigns: Sequence[Campaign]) -> list[Result]:
    """Whether the slots can carry what comes, as the ledger has measured it."""
    from contextlib import closing

    from campaign.capacity import Load, warnings
    from campaign.simulation.measured import measure
    from declare_daemon.checks.database import open_current
    from declare_daemon.checks.result import good, warned
    from dune_prompt.errors import DunePromptError

    loads: dict[tuple[str, str], Load] = {}
    try:
        if (store := open_current(site.store_url)) is not None:
            with closing(store), store.read() as connection:
                for item in campaigns:
                    found = measure(connection, item.campaign, item.version, time.time())
                    loads[item.campaign, item.version] = Load(found.files_per_s, found.file_bytes, found.job_mean_s)
    except DunePromptError:
        loads = {}  # the store has a line of its own
    return [warned("slots", text) for text in warnings(site, campaigns, loads)] or [good("slots", f"slots.max {site.slots.max} is enough")]


def _campaigns(site: Site, site_path: Path) -> tuple[list[Campaign], list[Result]]:
    """The campaigns of the site; a site that only declares has none."""
    from campaign.definition import load_campaigns
    from declare_daemon.checks.result import failed, good
    from dune_prompt.errors import ConfigError

    if not any(stream.process for stream in site.streams):
        return [], []
    try:
        campaigns = [item.settings for item in load_campaigns(site, site_path)]
    except ConfigError as error:
        return [], [failed("campaigns", error)]
    return campaigns, [good("campaigns", ", ".join(f"{item.campaign} {item.version}" for item in campaigns))]


def _derived(campaigns: Sequence[Campaign]) -> list[Any]:
    """What the campaigns' outputs will be declared as."""
    from declare_daemon.catalogs import Wanted

    return [Wanted(campaign.outputs.namespace, campaign.outputs.data_tier, campaign.outputs.keeping) for campaign in campaigns]


def _changes(site: Site, results: list[Result], now: float) -> list[dict[str, Any]]:
    """The rows of what changed. While the store is away, or not made yet, there is nothing to compare with and all troubles are rows."""
    from contextlib import closing

    from declare_daemon.checks.database import open_current
    from declare_daemon.checks.watch import record_changes
    from dune_prompt.errors import DunePromptError

    try:
        if (store := open_current(site.store_url)) is not None:
            with closing(store):
                return [_row(change.result) | {"before": change.before} for change in record_changes(store, results, now)]
    except DunePromptError as error:
        click.echo(f"dune-prompt: alarms are not noted: {error}", err=True)
    return [_row(result) for result in results if result.alarm]


def _row(result: Result) -> dict[str, Any]:
    return {key: value for key, value in asdict(result).items() if key != "is_credential"}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as people read it."""
    end = row["expires_at"]
    return {
        "what": row["what"],
        "state": str(row["verdict"]),
        "owner": row["owner"],
        "expires": None if end is None else date(end),
        "renewed by": row["renewed_by"],
        "detail": row["detail"],
    }
