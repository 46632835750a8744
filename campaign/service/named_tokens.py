"""The named tokens in the store: made, rotated, revoked, and recognized when they are presented.

A token is `dp_<id>_<secret>`. It is looked up by its id, which is no secret; of the whole only a hash is kept.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from campaign.engine.launch import token_hash
from campaign.ledger.tables import token_table
from campaign.service.scopes import GRANTABLE, Scope
from dune_prompt.errors import ConfigError
from dune_prompt.store import Event, record_events

ROOM = "service"
# A token that should last longer is made anew: somebody should remember that it exists.
LONGEST_S = 10 * 366 * 86400.0
LONGEST_GRACE_S = 30 * 86400.0
_FORM = re.compile(r"dp_([0-9a-f]{10})_[0-9a-f]{32}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Who else there is in events.
_TAKEN = ("operator", "engine")

_c = token_table.c
_SHOWN = (_c.id, _c.name, _c.scopes, _c.created_at, _c.created_by, _c.expires_at, _c.revoked_at, _c.last_used_at)


@dataclass(frozen=True, slots=True)
class NamedToken:
    """What is known of a token; nothing of its secret. `revoked_at` lies ahead while a token that was replaced is still good."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None

    @property
    def ends_at(self) -> float | None:
        """From when on it is no good; None: it has no end."""
        return min((at for at in (self.expires_at, self.revoked_at) if at is not None), default=None)

    def is_good(self, now: float) -> bool:
        return self.ends_at is None or now < self.ends_at


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token, and the only place where its text is ever seen."""

    token: NamedToken
    text: str = field(repr=False)


def recognize(connection: sa.Connection, presented: str, now: float) -> NamedToken | None:
    """The token that was presented; None: it is none of ours, or no good any more."""
    form = _FORM.fullmatch(presented)
    if form is None:
        return None
    row = connection.execute(sa.select(*_SHOWN, _c.hash).where(_c.id == form[1])).one_or_none()
    if row is None or not hmac.compare_digest(row.hash, token_hash(presented)):
        return None
    token = _of(row)
    return token if token.is_good(now) else None


def create(
    connection: sa.Connection, name: str, scopes: Collection[Scope], by: str, now: float, *, expires_at: float | None = None
) -> Issued:
    """Make a token.

    Raises:
        ConfigError: a token cannot be called so, or one is; it would last too long; or it would have no scope, or one no token is given.
    """
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise ConfigError(
            f"a token cannot be called {name!r}: a name has 1 to 64 of a-z, 0-9, '.', '_' and '-', and is none of {', '.join(_TAKEN)}"
        )
    if not scopes or not set(scopes) <= set(GRANTABLE):
        raise ConfigError(f"a token has one or more of the scopes {', '.join(GRANTABLE)}")
    if expires_at is not None and expires_at - now > LONGEST_S:
        raise ConfigError(f"a token lasts {LONGEST_S / 86400:g} days at most")
    issued = _insert(connection, name, scopes, by, now, expires_at)
    _record(connection, issued.token, "created", by, now)
    return issued


def rotate(connection: sa.Connection, name: str, by: str, now: float, *, grace_s: float) -> Issued:
    """Make a token of the same name and scopes, to last as long as the old one was to; that one stays good for `grace_s` more.

    Raises:
        ConfigError: there is no such token, or the old one would stay good too long.
    """
    if grace_s > LONGEST_GRACE_S:
        raise ConfigError(f"a token that was replaced stays good for {LONGEST_GRACE_S / 86400:g} days at most")
    ended = sa.update(token_table).where(_c.name == name, _c.revoked_at.is_(None)).values(revoked_at=now + grace_s)
    row = connection.execute(ended.returning(*_SHOWN)).one_or_none()
    if row is None:
        raise _unknown(name)
    old = _of(row)
    expires_at = None if old.expires_at is None else now + old.expires_at - old.created_at
    issued = _insert(connection, name, old.scopes, by, now, expires_at)
    _record(connection, issued.token, "rotated", by, now, f"; {old.id} stays good for {grace_s:g} s")
    return issued


def revoke(connection: sa.Connection, name: str, by: str, now: float) -> None:
    """Make a token no good at once, with those that it replaces.

    Raises:
        ConfigError: there is no such token.
    """
    ended = sa.update(token_table).where(_c.name == name, _is_kept(now)).values(revoked_at=now)
    rows = connection.execute(ended.returning(*_SHOWN)).all()
    if not rows:
        raise _unknown(name)
    for row in rows:
        _record(connection, _of(row), "revoked", by, now)


def known(connection: sa.Connection, now: float) -> list[NamedToken]:
    """All tokens that are not revoked, expired ones too, by name."""
    return [_of(row) for row in connection.execute(sa.select(*_SHOWN).where(_is_kept(now)).order_by(_c.name, _c.created_at, _c.id))]


def note_use(connection: sa.Connection, used: Mapping[str, float]) -> None:
    """Write down when tokens were last used, by their ids."""
    statement = sa.update(token_table).where(_c.id == sa.bindparam("of")).values(last_used_at=sa.bindparam("at"))
    connection.execute(statement, [{"of": token_id, "at": at} for token_id, at in used.items()])


def _is_kept(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(_c.revoked_at.is_(None), _c.revoked_at > now)


def _insert(connection: sa.Connection, name: str, scopes: Collection[Scope], by: str, now: float, expires_at: float | None) -> Issued:
    token_id = secrets.token_hex(5)
    text = f"dp_{token_id}_{secrets.token_hex(16)}"
    ordered = tuple(scope for scope in GRANTABLE if scope in scopes)
    token = NamedToken(token_id, name, ordered, now, by, expires_at, None, None)
    values = {
        "id": token_id,
        "name": name,
        "hash": token_hash(text),
        "scopes": ",".join(ordered),
        "created_at": now,
        "created_by": by,
        "expires_at": expires_at,
    }
    try:
        connection.execute(sa.insert(token_table).values(**values))
    except sa.exc.IntegrityError:
        raise ConfigError(f"there is a token {name} already: rotate it, or revoke it first") from None
    return Issued(token, text)


def _record(connection: sa.Connection, token: NamedToken, after: str, by: str, now: float, more: str = "") -> None:
    message = f"{token.id}, may {', '.join(token.scopes)}{more}"
    record_events(connection, [Event(now, ROOM, f"token:{token.name}", None, after, by, message)])


def _unknown(name: str) -> ConfigError:
    return ConfigError(f"there is no token {name!r}; `dune-prompt token list` shows those there are")


def _of(row: Any) -> NamedToken:
    written = row.scopes.split(",")
    return NamedToken(
        id=row.id,
        name=row.name,
        # A scope that only a later version knows, or that no token may have, is not given.
        scopes=tuple(scope for scope in GRANTABLE if scope in written),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
