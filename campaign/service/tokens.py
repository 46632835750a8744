"""Who calls: the operator by the token in the workspace, a job by the token of its attempt."""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from campaign.engine.launch import token_hash
from campaign.ledger.tables import attempt_table
from dune_prompt.errors import ConfigError
from dune_prompt.store import Store


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token belongs to. An attempt may only speak for itself."""

    kind: Literal["operator", "attempt"]
    attempt: str | None = None


def operator_token(workspace: Path) -> str:
    """The operator's token, made at first use; its file is readable by its owner alone.

    Raises:
        ConfigError: others can read the file, or it is empty.
    """
    path = workspace / "secrets" / "operator-token"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others can read it; chmod 600 it, or delete it to have a new one made") from None
        token = path.read_text().strip()
        if len(token) < 16:
            raise ConfigError(f"{path}: holds no token; delete it to have a new one made") from None
        return token
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    return token


class Tokens:
    """Knows the operator's token and asks the ledger for those of attempts."""

    def __init__(self, store: Store, workspace: Path) -> None:
        self._store = store
        self._operator = token_hash(operator_token(workspace))

    def authenticate(self, token: str) -> Principal | None:
        """Whose token this is; None: nobody's. An attempt's token is good while its attempt is in flight."""
        presented = token_hash(token)
        if hmac.compare_digest(presented, self._operator):
            return Principal("operator")
        statement = sa.select(attempt_table.c.id).where(attempt_table.c.ended_at.is_(None), attempt_table.c.token_hash == presented)
        with self._store.read() as connection:
            attempt = connection.execute(statement).scalar_one_or_none()
        return None if attempt is None else Principal("attempt", attempt)

    def is_of(self, attempt: str, token: str) -> bool:
        """Whether this is the token of an attempt, over or not."""
        kept = sa.select(attempt_table.c.token_hash).where(attempt_table.c.id == attempt)
        with self._store.read() as connection:
            found = connection.execute(kept).scalar_one_or_none()
        return found is not None and hmac.compare_digest(found, token_hash(token))
