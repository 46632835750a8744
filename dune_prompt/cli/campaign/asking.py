"""Has the engine do something: the one in the service that holds the ledger, or one of this process when none runs."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests import Response


def ask(site_path: Path, name: str, **arguments: Any) -> list[dict[str, Any]]:
    """Carry out the command `name` of `campaign.commands` with `arguments`; the rows it answers.

    Raises:
        ConfigError: the arguments make no sense, or the service refuses them.
        TransientError: a service holds the ledger but does not answer.
    """
    from campaign.commands import COMMANDS
    from campaign.engine import Engine
    from campaign.installation import open_installation
    from campaign.launchers import open_launchers
    from dune_prompt import log
    from dune_prompt.store import LeaseHeldError

    command = COMMANDS[name]
    content = command.arguments(by=f"{getpass.getuser()}", **arguments)
    log.configure()
    now = time.time()
    try:
        installation = open_installation(site_path, now)
    except LeaseHeldError:
        return _ask_service(site_path, name, content.model_dump(mode="json"))
    engine = Engine(installation, open_launchers(installation.site))
    try:
        return (command.run_alone or command.run)(engine, content, now)
    finally:
        engine.close()
        installation.lease.release()


def _refusal(answer: Response) -> str | None:
    """What the service says of a command that makes no sense now, in its own words; None: it is no such answer."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return None
    return detail if answer.status_code == 409 and isinstance(detail, str) else None


def _ask_service(site_path: Path, name: str, content: dict[str, Any]) -> list[dict[str, Any]]:
    """POST to the service that holds the ledger, with the operator's token."""
    import requests

    from campaign.service.tokens import operator_token
    from dune_prompt.errors import ConfigError, TransientError
    from dune_prompt.settings import load_site

    site = load_site(site_path)
    url = f"{site.service.base_url}/api/v1/commands/{name}"
    headers = {"Authorization": f"Bearer {operator_token(site.workspace)}"}
    try:
        answer = requests.post(url, json=content, headers=headers, timeout=(5, 600))
    except requests.RequestException as error:
        raise TransientError(f"{url}: the service holds the ledger but does not answer ({type(error).__name__})") from None
    if answer.status_code != 200:
        raise ConfigError(_refusal(answer) or f"{url}: {answer.status_code}: {answer.text[:300]}")
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows
