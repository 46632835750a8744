"""Who calls: the operator by the token in the workspace, others by named tokens in the store, a job by the token of its attempt."""

from __future__ import annotations

import hmac
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from campaign.engine.launch import token_hash
from campaign.ledger.tables import attempt_table
from campaign.service import named_tokens
from campaign.service.last_use import LastUse
from campaign.service.scopes import Scope
from dune_prompt.errors import ConfigError
from dune_prompt.store import Store


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token belongs to: `name` is `operator`, the name of the token, or the id of an attempt, which may only speak for itself."""

    kind: Literal["operator", "token", "attempt"]
    name: str
    scopes: frozenset[Scope] = frozenset()

    @property
    def attempt(self) -> str | None:
        """The attempt it is, if it is one."""
        return self.name if self.kind == "attempt" else None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


OPERATOR = Principal("operator", "operator", frozenset(Scope))


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
    """Knows the operator's token and asks the store for all others: one that is made or revoked meanwhile is known or refused at once."""

    def __init__(self, store: Store, workspace: Path, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._operator = token_hash(operator_token(workspace))
        self._last_use = LastUse(store)

    def authenticate(self, token: str) -> Principal | None:
        """Whose token this is; None: nobody's. An attempt's token is good while its attempt is in flight."""
        if not token.isascii():
            return None
        presented = token_hash(token)
        if hmac.compare_digest(presented, self._operator):
            return OPERATOR
        now = self._clock()
        with self._store.read() as connection:
            named = named_tokens.recognize(connection, token, now)
            attempt = None if named is not None else _attempt_in_flight(connection, presented)
        if named is not None:
            self._last_use.note(named.id, now)
            return Principal("token", named.name, frozenset(named.scopes))
        return None if attempt is None else Principal("attempt", attempt)

    def is_of(self, attempt: str, token: str) -> bool:
        """Whether this is the token of an attempt, over or not."""
        if not token.isascii():
            return False
        kept = sa.select(attempt_table.c.token_hash).where(attempt_table.c.id == attempt)
        with self._store.read() as connection:
            found = connection.execute(kept).scalar_one_or_none()
        return found is not None and hmac.compare_digest(found, token_hash(token))


def _attempt_in_flight(connection: sa.Connection, presented: str) -> str | None:
    a = attempt_table.c
    return connection.execute(sa.select(a.id).where(a.ended_at.is_(None), a.token_hash == presented)).scalar_one_or_none()
