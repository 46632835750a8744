"""`dune-prompt campaign`: look at campaigns and act on their tasks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import json_option, print_table, site_option

if TYPE_CHECKING:
    from campaign.engine import Engine
    from dune_prompt.settings import Site


@click.group()
def command() -> None:
    """Look at campaigns and act on their tasks."""


@command.command()
@site_option
@json_option
def step(site_path: Path, as_json: bool) -> None:
    """Do one step of the engine, for cron.

    When a service holds the ledger, it is asked to do the step.
    """
    from dataclasses import asdict

    from dune_prompt.store import LeaseHeldError

    try:
        with _engine(site_path) as engine:
            summary = asdict(engine.step(time.time()))
    except LeaseHeldError:
        summary = _ask_service(site_path, "step", {})
    print_table([summary], as_json=as_json)


@command.command()
@site_option
@json_option
@click.option("--run", type=int, help="only this run")
@click.option("--parked", is_flag=True, help="list the parked tasks and why they are parked")
def status(site_path: Path, as_json: bool, run: int | None, parked: bool) -> None:
    """Show how far each campaign is: files, processed, backlog, at work, parked, late."""
    from dataclasses import asdict

    from campaign import operate
    from campaign.status import campaign_statuses
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    store = open_store(load_site(site_path).store_url)
    with store.read() as connection:
        if parked:
            rows: list[dict[str, Any]] = [
                {"input": task.input_did, "step": task.step, "class": task.error_class, "attempts": task.attempts, "message": task.message}
                for task in operate.parked(connection, run=run)
            ]
        else:
            rows = [asdict(item) for item in campaign_statuses(connection, run)]
    store.close()
    columns = ["campaign", "version", "files", "processed", "fraction_processed", "backlog", "in_flight", "reported", "parked", "late"]
    print_table(rows, as_json=as_json, columns=None if parked else columns)
    if not rows and not as_json:
        click.echo("no parked tasks" if parked else "no campaign has run here yet")


@command.command()
@site_option
@json_option
@click.option("--parked", is_flag=True, required=True, help="the tasks that failed their last allowed attempt")
@click.option("--run", type=int, help="only those of this run")
@click.option("--campaign", help="only those of this campaign")
@click.option("--dry-run", is_flag=True, help="show which, change nothing")
def retry(site_path: Path, as_json: bool, parked: bool, run: int | None, campaign: str | None, dry_run: bool) -> None:
    """Try parked tasks again, with all their retries."""
    from campaign import operate
    from dune_prompt.settings import load_site
    from dune_prompt.store import LeaseHeldError, open_store

    if dry_run:
        store = open_store(load_site(site_path).store_url)
        with store.read() as connection:
            tasks = operate.parked(connection, run=run, campaign=campaign)
        rows = [{"input": task.input_did, "step": task.step, "class": task.error_class, "message": task.message} for task in tasks]
        print_table(rows, as_json=as_json)
        return
    try:
        with _engine(site_path) as engine, engine.writing() as connection:
            answer = {"changed": operate.retry_parked(connection, time.time(), by="operator", run=run, campaign=campaign)}
    except LeaseHeldError:
        answer = _ask_service(site_path, "retry", {"run": run, "campaign": campaign})
    print_table([{"tried again": answer["changed"]}], as_json=as_json)


class _engine:  # noqa: N801 - reads as a function in a `with`
    """An engine of this process, for as long as the block lasts.

    Raises:
        LeaseHeldError: a service holds the ledger.
    """

    def __init__(self, site_path: Path) -> None:
        self._site_path = site_path

    def __enter__(self) -> Engine:
        from campaign.engine import Engine
        from campaign.installation import open_installation
        from campaign.launchers.local import LocalLauncher
        from dune_prompt import log

        log.configure()
        self._installation = open_installation(self._site_path, time.time())
        return Engine(self._installation, {"local": LocalLauncher()})

    def __exit__(self, *_: object) -> None:
        self._installation.lease.release()


def _ask_service(site_path: Path, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST to the service that holds the ledger, with the operator's token.

    Raises:
        TransientError: it does not answer. ConfigError: it refuses.
    """
    import requests

    from campaign.service.tokens import operator_token
    from dune_prompt.errors import ConfigError, TransientError
    from dune_prompt.settings import load_site

    site: Site = load_site(site_path)
    url = f"{site.service.base_url}/api/v1/{what}"
    headers = {"Authorization": f"Bearer {operator_token(site.workspace)}"}
    try:
        answer = requests.post(url, json=body, headers=headers, timeout=(5, 120))
    except requests.RequestException as error:
        raise TransientError(f"{url}: the service holds the ledger but does not answer ({type(error).__name__})") from None
    if answer.status_code != 200:
        raise ConfigError(f"{url}: {answer.status_code}: {answer.text[:300]}")
    content: dict[str, Any] = answer.json()
    return content
