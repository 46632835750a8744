"""Named tokens: what is kept of them, when they are good, and how presented ones are told apart, on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from campaign.ledger.tables import token_table
from campaign.service import named_tokens
from campaign.service.last_use import WRITE_EVERY_S
from campaign.service.named_tokens import Issued, NamedToken
from campaign.service.scopes import GRANTABLE, Scope
from campaign.service.tokens import OPERATOR, Tokens, operator_token
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.store import Store, event_table, open_store
from tests.servers.postgres import Postgres

NOW = 1_700_000_000.0
DAY_S = 86400.0


@dataclass
class Desk:
    """Where tokens are made and shown; the test moves the clock."""

    store: Store
    folder: Path
    now: float = NOW

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.store, self.folder, clock=lambda: self.now)

    def create(self, name: str = "poms", *scopes: Scope, lasts_s: float | None = None) -> Issued:
        expires_at = None if lasts_s is None else self.now + lasts_s
        with self.store.write() as connection:
            return named_tokens.create(connection, name, scopes or (Scope.LAUNCH,), "anna", self.now, expires_at=expires_at)

    def rotate(self, name: str = "poms", grace_s: float = 3600.0) -> Issued:
        with self.store.write() as connection:
            return named_tokens.rotate(connection, name, "ben", self.now, grace_s=grace_s)

    def revoke(self, name: str = "poms") -> None:
        with self.store.write() as connection:
            named_tokens.revoke(connection, name, "cleo", self.now)

    def is_good(self, issued: Issued) -> bool:
        return self.tokens.authenticate(issued.text) is not None

    def known(self) -> list[NamedToken]:
        with self.store.read() as connection:
            return named_tokens.known(connection, self.now)

    def events(self) -> list[Any]:
        with self.store.read() as connection:
            return list(connection.execute(sa.select(event_table).order_by(event_table.c.id)).all())

    def kept(self) -> str:
        """Everything the store has of tokens."""
        with self.store.read() as connection:
            rows = connection.execute(sa.select(token_table)).all()
        return repr([rows, self.events()])


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Store]]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as postgres:
        opened = {
            "sqlite": open_store(f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/store.sqlite"),
            "postgresql": open_store(postgres.address("postgres", "psycopg")),
        }
        yield opened
        for store in opened.values():
            store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Desk:
    store = stores[request.param]
    with store.write() as connection:
        connection.execute(sa.delete(token_table))
        connection.execute(sa.delete(event_table))
    return Desk(store, tmp_path)


def until_written() -> None:
    for thread in threading.enumerate():
        if thread.name == "last use of tokens":
            thread.join(timeout=30)


def test_a_token_may_what_its_scopes_say_and_nothing_else(desk: Desk) -> None:
    principal = desk.tokens.authenticate(desk.create("night shift".replace(" ", "-"), Scope.ALARMS, Scope.UPLOAD).text)
    assert principal is not None
    assert (principal.kind, principal.name, principal.attempt) == ("token", "night-shift", None)
    assert {scope for scope in Scope if principal.may(scope)} == {Scope.ALARMS, Scope.UPLOAD}


def test_the_operator_may_everything_and_alone_sees_tokens(desk: Desk) -> None:
    assert desk.tokens.authenticate(operator_token(desk.folder)) == OPERATOR
    assert all(OPERATOR.may(scope) for scope in Scope)
    assert set(Scope) - set(GRANTABLE) == {Scope.TOKENS}


def test_a_token_is_good_until_its_time_is_over(desk: Desk) -> None:
    issued = desk.create(lasts_s=90 * DAY_S)
    desk.now += 90 * DAY_S - 1
    assert desk.is_good(issued)
    desk.now += 1
    assert not desk.is_good(issued)
    assert [token.is_good(desk.now) for token in desk.known()] == [False]


def test_a_rotated_token_is_good_for_its_grace_beside_the_new_one(desk: Desk) -> None:
    old = desk.create("poms", Scope.LAUNCH, Scope.UPLOAD, lasts_s=10 * DAY_S)
    desk.now += 9 * DAY_S
    new = desk.rotate(grace_s=3600)
    assert new.text != old.text
    assert new.token.scopes == old.token.scopes
    assert new.token.expires_at == desk.now + 10 * DAY_S
    assert (desk.is_good(old), desk.is_good(new)) == (True, True)
    desk.now += 3600
    assert (desk.is_good(old), desk.is_good(new)) == (False, True)
    assert [token.id for token in desk.known()] == [new.token.id]


def test_grace_does_not_lengthen_what_ends_earlier(desk: Desk) -> None:
    old = desk.create(lasts_s=60)
    new = desk.rotate(grace_s=3600)
    assert desk.known()[0].ends_at == NOW + 60
    desk.now += 60
    assert (desk.is_good(old), desk.is_good(new)) == (False, False)
    assert desk.is_good(desk.rotate(grace_s=0))


def test_without_grace_the_old_token_ends_at_once(desk: Desk) -> None:
    old = desk.create()
    new = desk.rotate(grace_s=0)
    assert (desk.is_good(old), desk.is_good(new)) == (False, True)


def test_a_revoked_token_ends_at_once_with_those_it_replaced(desk: Desk) -> None:
    first, other = desk.create(), desk.create("other")
    second = desk.rotate()
    third = desk.rotate()
    desk.revoke()
    assert [desk.is_good(item) for item in (first, second, third, other)] == [False, False, False, True]
    assert [token.name for token in desk.known()] == ["other"]
    with pytest.raises(ConfigError, match="there is no token 'poms'"):
        desk.revoke()
    with pytest.raises(ConfigError, match="there is no token 'poms'"):
        desk.rotate()


def test_a_name_is_taken_until_it_is_revoked(desk: Desk) -> None:
    desk.create(lasts_s=1)
    desk.now += 2
    with pytest.raises(ConfigError, match="there is a token poms already"):
        desk.create()
    desk.revoke()
    assert desk.is_good(desk.create())


@pytest.mark.parametrize("name", ["", "operator", "engine", "Poms", "a b", "a" * 65, "-x", "ä", "a\n", "a/b"])
def test_names_that_could_be_taken_for_something_else_are_refused(desk: Desk, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        desk.create(name)
    assert desk.known() == []


@pytest.mark.parametrize("scopes", [[], [Scope.TOKENS], [Scope.LAUNCH, Scope.TOKENS]])
def test_a_token_without_a_scope_or_with_one_nobody_is_given_is_refused(desk: Desk, scopes: list[Scope]) -> None:
    with (
        pytest.raises(ConfigError, match="one or more of the scopes operate, quality, alarms, upload, launch"),
        desk.store.write() as connection,
    ):
        named_tokens.create(connection, "poms", scopes, "anna", NOW)
    assert desk.known() == []


def test_a_scope_that_was_written_into_the_store_by_hand_gives_nothing(desk: Desk) -> None:
    issued = desk.create("poms", Scope.LAUNCH)
    with desk.store.write() as connection:
        connection.execute(sa.update(token_table).values(scopes="launch,tokens,nonsense"))
    principal = desk.tokens.authenticate(issued.text)
    assert principal is not None
    assert principal.scopes == {Scope.LAUNCH}


def test_nothing_lasts_so_long_that_it_is_forgotten(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="3660 days at most"):
        desk.create(lasts_s=4000 * DAY_S)
    old = desk.create()
    with pytest.raises(ConfigError, match="30 days at most"):
        desk.rotate(grace_s=31 * DAY_S)
    assert desk.known() == [old.token]


def test_the_right_id_with_a_wrong_secret_is_nobodys(desk: Desk) -> None:
    text = desk.create().text
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    assert desk.tokens.authenticate(wrong) is None
    assert desk.tokens.authenticate(desk.create("other").text[:14] + text[14:]) is None
    assert desk.tokens.authenticate(text) is not None


def test_hashes_are_compared_in_constant_time_and_nothing_else_decides(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    text = desk.create().text
    kept = hashlib.sha256(text.encode()).hexdigest()[:32]
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert desk.tokens.authenticate(wrong) is None
    assert compared[-1] == (kept, hashlib.sha256(wrong.encode()).hexdigest()[:32])
    assert desk.tokens.authenticate(text) is not None
    assert compared[-1] == (kept, kept)
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: False)
    assert desk.tokens.authenticate(text) is None


def test_of_a_secret_only_its_hash_is_kept(desk: Desk) -> None:
    issued = [desk.create(lasts_s=DAY_S), desk.rotate(), desk.create("other", *GRANTABLE)]
    desk.revoke()
    for item in issued:
        secret = item.text.rpartition("_")[2]
        assert len(secret) == 32
        assert secret not in desk.kept()
        assert secret not in repr(item)
        assert hashlib.sha256(item.text.encode()).hexdigest()[:32] in desk.kept()


def test_what_happens_to_a_token_is_an_event_with_who_did_it(desk: Desk) -> None:
    first = desk.create("poms", Scope.LAUNCH, Scope.UPLOAD)
    second = desk.rotate(grace_s=60)
    desk.revoke()
    events = desk.events()
    assert [(event.subject, event.after, event.by) for event in events[:2]] == [
        ("token:poms", "created", "anna"),
        ("token:poms", "rotated", "ben"),
    ]
    assert events[0].message == f"{first.token.id}, may upload, launch"
    assert events[1].message == f"{second.token.id}, may upload, launch; {first.token.id} stays good for 60 s"
    assert {(event.after, event.by, event.message.partition(",")[0]) for event in events[2:]} == {
        ("revoked", "cleo", first.token.id),
        ("revoked", "cleo", second.token.id),
    }


def test_a_scope_of_a_later_version_is_not_given(desk: Desk) -> None:
    issued = desk.create()
    with desk.store.write() as connection:
        connection.execute(sa.update(token_table).values(scopes="launch,fly,uploads"))
    principal = desk.tokens.authenticate(issued.text)
    assert principal is not None
    assert principal.scopes == {Scope.LAUNCH}


def test_the_last_use_is_written_once_a_minute(desk: Desk) -> None:
    issued = desk.create()
    assert desk.known()[0].last_used_at is None
    assert desk.is_good(issued)
    until_written()
    assert desk.known()[0].last_used_at == NOW
    desk.now += WRITE_EVERY_S - 1
    assert desk.is_good(issued)
    until_written()
    assert desk.known()[0].last_used_at == NOW
    desk.now += 1
    assert desk.is_good(issued)
    until_written()
    assert desk.known()[0].last_used_at == NOW + WRITE_EVERY_S


def test_a_use_that_is_refused_is_none(desk: Desk) -> None:
    issued = desk.create(lasts_s=1)
    desk.now += 2
    assert not desk.is_good(issued)
    until_written()
    assert desk.known()[0].last_used_at is None


@pytest.mark.parametrize("desk", ["sqlite"], indirect=True)
def test_no_request_waits_until_its_use_is_written(desk: Desk) -> None:
    issued = desk.create()
    with desk.store.write():
        # SQLite has one writer: whoever wanted to write in this request would wait for ever.
        assert desk.is_good(issued)
        assert desk.known()[0].last_used_at is None
    until_written()
    assert desk.known()[0].last_used_at == NOW


def test_a_store_that_cannot_be_written_harms_no_request(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = desk.create()

    def away(_self: Store) -> Any:
        raise TransientError("the disk is full")

    monkeypatch.setattr(Store, "write", away)
    assert desk.is_good(issued)
    until_written()


TOKEN_LIKE = st.from_regex(r"dp_[0-9a-f]{10}_[0-9a-f]{32}", fullmatch=True)


@given(
    st.one_of(
        st.text(st.characters(codec=None), max_size=80), TOKEN_LIKE, TOKEN_LIKE.map(lambda text: text + "\n"), TOKEN_LIKE.map(str.upper)
    )
)
@example("dp_0000000000_" + "0" * 31 + "\x00")
@example("dp_\x00")
@example("\ud800")
@example("٠" * 32)
def test_any_text_is_nobodys_token_or_somebodys_and_never_an_error(
    stores: dict[str, Store], tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-text"
    for store in stores.values():
        tokens = Tokens(store, folder)
        assert tokens.authenticate(text) is None
        assert not tokens.is_of(text[:26].replace("\x00", ""), text)
    assert Tokens(stores["sqlite"], folder).authenticate(operator_token(folder)) is OPERATOR
