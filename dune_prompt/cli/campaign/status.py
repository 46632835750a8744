"""`dune-prompt campaign status`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import json_option, print_table, site_option

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from dune_prompt.settings import Site


@click.command()
@site_option
@json_option
@click.option("--run", type=int, help="only this run")
@click.option("--parked", is_flag=True, help="list the parked tasks and why they are parked")
@click.option("--poms", is_flag=True, help="list the launches that came from POMS, with its numbers and pages")
@click.option("--why", is_flag=True, help="say why the service wants so many slots, and who takes the jobs")
def status(site_path: Path, as_json: bool, run: int | None, parked: bool, poms: bool, why: bool) -> None:
    """Show how far each campaign is: files, processed, backlog, at work, parked, late."""
    from dataclasses import asdict

    from campaign.commands.retry import parked as parked_tasks
    from campaign.status import campaign_statuses
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    site = load_site(site_path)
    if why:
        _say_why(f"{site.service.base_url}/api/v1/status", as_json)
        return
    store = open_store(site.store_url)
    rows: list[dict[str, Any]]
    with store.read() as connection:
        if poms:
            rows = _launches(site, connection)
        elif parked:
            rows = [
                {"input": task.input_did, "step": task.step, "class": task.error_class, "attempts": task.attempts, "message": task.message}
                for task in parked_tasks(connection, run=run)
            ]
        else:
            rows = [asdict(item) for item in campaign_statuses(connection, run, leave_out=site.probe.run if site.probe else None)]
    store.close()
    columns = ["campaign", "version", "files", "processed", "fraction_processed", "fraction_prompt", "backlog", "in_flight", "reported"]
    columns += ["parked", "late", "paused"]
    print_table(rows, as_json=as_json, columns=None if parked or poms else columns)
    if not rows and not as_json:
        click.echo("no parked tasks" if parked else "no launch of POMS has come yet" if poms else "no campaign has run here yet")


def _launches(site: Site, connection: Connection) -> list[dict[str, Any]]:
    """The launches of POMS, newest first, each with its page there."""
    from campaign.ledger.launches import progress
    from campaign.poms import pages
    from campaign.poms.rendering import poms_settings

    poms = poms_settings(site)
    return [
        {
            "task": item.launch.task_id or None,
            "campaign": item.launch.poms_campaign_id,
            "stage": item.launch.stage_id,
            "step": item.launch.step,
            "slice": item.launch.slice_id,
            "job": item.launch.handle,
            "done": item.done,
            "open": item.open,
            "of": item.tasks,
            "page": pages.submission(str(poms.url), poms.group, poms.poms_role, item.launch.task_id) if item.launch.task_id else None,
        }
        for item in progress(connection, limit=50)
    ]


def _say_why(url: str, as_json: bool) -> None:
    """What the service's engine thinks."""
    import requests

    from dune_prompt.errors import TransientError

    try:
        answer = requests.get(url, timeout=(5, 30))
        answer.raise_for_status()
    except requests.RequestException as error:
        raise TransientError(f"{url}: no service answers ({type(error).__name__}); `dune-prompt serve` is what decides") from None
    said: dict[str, Any] = answer.json()
    if as_json:
        print_table([said], as_json=True)
        return
    click.echo(f"{said['slots_wanted']} slots: {said['slots_reason']}")
    for what, slots in said["slots_needs"].items():
        click.echo(f"  {what}: {slots}")
    job = "none has ended yet" if said["job_s"] is None else f"{said['job_s']:.1f} s"
    click.echo(f"new tasks: {said['tasks_per_s']:.3g}/s, {said['bytes_per_s'] / 1e9:.3g} GB/s; a job holds its slot for: {job}")
    click.echo(said["launcher_reason"])
    for words in said["catalogs"]:
        click.echo(words)
    if waiting := said["declarations_waiting"]:
        click.echo("declarations waiting: " + ", ".join(f"{what} {files}" for what, files in waiting.items()))
    for item in said["campaigns"]:
        if item["paused"]:
            click.echo(f"{item['campaign']} {item['version']} is paused: {item['paused']}")
