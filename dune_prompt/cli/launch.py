"""`dune-prompt launch`: what POMS runs on its launch host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dune_prompt.cli.options import seconds

if TYPE_CHECKING:
    from campaign.poms.engine_client import EngineClient
    from campaign.poms.launching import Launch


@click.command()
@click.option("--service", required=True, help="address of the engine service")
@click.option(
    "--token-file", type=click.Path(path_type=Path), required=True, help="file that holds a token of the service with the scope launch"
)
@click.option("--campaign", required=True, help="name of the campaign")
@click.option("--campaign-version", required=True, help="version of its payload")
@click.option("--stage", "step", required=True, help="stage to launch; `chain` in the fused layout")
@click.option("--dataset", help="dataset POMS hands out; the engine knows better what is open")
@click.option("--site", help="where jobs must run; refused if the engine restricts them to another site")
@click.option("--jobs", type=click.IntRange(min=1), help="no more than so many jobs; default: as many as the backlog asks for")
@click.option("--wait", "wait_s", default="0s", callback=seconds, help="stay until the outputs are registered, at most so long: 30min")
@click.option("--poms-url", help="address of the POMS server; default: POMS is told nothing")
@click.option("--poms-role", default="production", show_default=True, help="role of the campaign in POMS")
@click.option("--folder", type=click.Path(path_type=Path), help="where bundles are kept; default: ~/.cache/dune-prompt")
@click.option("--dry-run", is_flag=True, help="say who gets jobs now and how many wait; submit nothing")
def command(
    service: str,
    token_file: Path,
    campaign: str,
    campaign_version: str,
    step: str,
    dataset: str | None,
    site: str | None,
    jobs: int | None,
    wait_s: float,
    poms_url: str | None,
    poms_role: str,
    folder: Path | None,
    dry_run: bool,
) -> None:
    """Fetch a slice of a campaign's stage from the engine, submit its jobs with jobsub, and tell POMS.

    POMS's numbers are taken from the environment it gives to launches (POMS_TASK_ID and others); without them it is a launch by hand, and
    POMS is told nothing. The engine decides what is open and how many jobs there should be. The same task of POMS gets the same slice.

    Ends with 0 when jobs were submitted or nothing waits, with 20 when the engine, jobsub or POMS is away (the next launch completes what
    was begun), with 30 when a setting is wrong.
    """
    from ulid import ULID

    from campaign.poms.client import PomsClient
    from campaign.poms.engine_client import EngineClient
    from campaign.poms.launching import Launch, carry_out, numbers_of
    from dune_prompt import log

    log.configure()
    numbers = numbers_of(os.environ)
    task_id = numbers["task_id"]
    group = os.environ.get("JOBSUB_GROUP") or os.environ.get("GROUP") or "dune"
    launch = Launch(
        request_id=f"by-hand-{ULID()}" if task_id is None else f"poms-{group}-{task_id}",
        campaign=campaign,
        version=campaign_version,
        step=step,
        jobs=jobs,
        site=site,
        wait_s=wait_s,
        **numbers,
    )
    if dataset:
        click.echo(f"dataset {dataset}")
    with EngineClient(service, _token(token_file)) as engine:
        if dry_run:
            _say_what_waits(engine, launch)
            return
        poms = PomsClient.of_environment(poms_url, group, os.environ, role=poms_role) if poms_url and task_id is not None else None
        carry_out(launch, engine, poms, folder or _cache(), click.echo)


def _say_what_waits(engine: EngineClient, launch: Launch) -> None:
    status = engine.status()
    click.echo(status["launcher_reason"])
    click.echo(f"{status['slots_wanted']} slots: {status['slots_reason']}")
    for item in status["campaigns"]:
        if (item["campaign"], item["version"]) == (launch.campaign, launch.version):
            click.echo(f"{item['campaign']} {item['version']}: {item['backlog']} tasks wait, {item['in_flight']} are at work")


def _token(path: Path) -> str:
    from dune_prompt.errors import ConfigError

    try:
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: the token cannot be read: {error}; put one there that `dune-prompt token create NAME --scope launch` makes"
        ) from None
    if not token or path.stat().st_mode & 0o077:
        raise ConfigError(f"{path}: {'holds no token' if not token else 'others can read it; chmod 600 it'}")
    return token


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dune-prompt"
