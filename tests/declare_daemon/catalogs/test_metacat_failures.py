"""MetaCat when the network or the server fails, when tokens expire, and what the check tells of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from declare_daemon.catalogs.metacat import MetacatCatalog
from declare_daemon.catalogs.protocol import CONFIRMED, OUTPUT_STATUS, Finding, Wanted
from dune_prompt.errors import ConfigError, ConflictError, TransientError
from dune_prompt.records import FileRecord
from tests.declare_daemon.catalogs.metacat_world import DECLARE, LOOK, MADE_BY, PASSWORD, QUERY, World, catalog, ns, raw, world
from tests.servers.metacat import MetacatServer

__all__ = ["catalog", "ns", "world"]  # fixtures

# -- when the network or the server fails ------------------------------------------------------------------------------


def test_a_lost_answer_after_the_write_leaves_one_file_and_no_doubt(catalog: MetacatCatalog, ns: str, world: World) -> None:
    world.proxy.drop(after=True, path=DECLARE)
    with pytest.raises(TransientError, match="away when asked to declare 1 files"):
        catalog.declare([raw(ns)], f"{ns}:run_1")
    before = world.everything()
    catalog.declare([raw(ns)], f"{ns}:run_1")
    assert world.everything() == before
    assert catalog.members(f"{ns}:run_1").keys() == {raw(ns).did}
    assert world.asked("app/declare_files") == [1]


def test_an_error_of_the_server_after_the_write_is_looked_through(catalog: MetacatCatalog, ns: str, world: World) -> None:
    world.proxy.reply(500, after=True, path=DECLARE)
    catalog.declare([raw(ns)], f"{ns}:run_1")
    assert catalog.members(f"{ns}:run_1").keys() == {raw(ns).did}


def test_what_somebody_declares_between_look_and_write_decides(catalog: MetacatCatalog, ns: str, world: World) -> None:
    other = world.open(url=world.server.url)
    other.ensure_dataset(f"{ns}:theirs")
    batch = [raw(ns, 1), raw(ns, 2)]

    def somebody_declares(*records: FileRecord) -> None:
        world.proxy.call(lambda: other.declare(records, f"{ns}:theirs"), path=DECLARE)

    somebody_declares(raw(ns, 1))
    with pytest.raises(TransientError, match="1 of 2 files were declared by somebody else"):
        catalog.declare(batch, f"{ns}:run_1")
    catalog.declare(batch, f"{ns}:run_1")
    somebody_declares(raw(ns, 3))
    catalog.declare([raw(ns, 3)], f"{ns}:run_1")
    assert catalog.members(f"{ns}:run_1").keys() == {raw(ns, number).did for number in (1, 2, 3)}
    somebody_declares(raw(ns, 4, size_bytes=7))
    with pytest.raises(ConflictError, match="size 7"):
        catalog.declare([raw(ns, 4)], f"{ns}:run_1")
    other.close()


def test_a_killed_server_is_waited_for_and_nothing_is_lost(catalog: MetacatCatalog, ns: str, world: World) -> None:
    world.proxy.call(world.server.kill, path=DECLARE)
    with pytest.raises(TransientError):
        catalog.declare([raw(ns)], f"{ns}:run_1")
    for call in (catalog.ping, lambda: catalog.look([raw(ns).did]), lambda: catalog.undone(f"{ns}:run_1", MADE_BY)):
        with pytest.raises(TransientError):
            call()
    world.server.start()
    catalog.ping()
    catalog.declare([raw(ns)], f"{ns}:run_1")
    assert catalog.undone(f"{ns}:run_1", MADE_BY) == [raw(ns).did]


def test_a_server_without_its_database_is_an_outage_though_it_answers(catalog: MetacatCatalog, ns: str, world: World) -> None:
    catalog.ping()
    world.server.postgres.kill()
    for call in (catalog.ping, lambda: catalog.declare([raw(ns)], f"{ns}:run_1")):
        with pytest.raises(TransientError, match="500"):
            call()
    world.server.postgres.start()
    catalog.ping()
    catalog.declare([raw(ns)], f"{ns}:run_1")


def test_nobody_listening_is_an_outage(catalog: MetacatCatalog, world: World) -> None:
    with world.proxy.refusing(), pytest.raises(TransientError, match="away"):
        catalog.ping()
    catalog.ping()


def test_silence_ends_with_the_time_limit(world: World, ns: str) -> None:
    catalog = world.open(timeout="0.3s")
    world.proxy.silence(path=LOOK)
    with pytest.raises(TransientError, match="timed out"):
        catalog.look([raw(ns).did])
    catalog.close()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_overloaded_server_is_not_asked_again_behind_our_back(catalog: MetacatCatalog, ns: str, world: World, status: int) -> None:
    rule = world.proxy.reply(status, times=None, path=DECLARE)
    with pytest.raises(TransientError, match=str(status)):
        catalog.declare([raw(ns)], f"{ns}:run_1")
    assert rule.hits == 1


@pytest.mark.parametrize("body", ["<html>maintenance</html>", '"text"', "[1, 2]", '[{"name": "x"}]', "{}x"])
def test_an_answer_that_is_none_is_an_outage_and_not_absence(catalog: MetacatCatalog, ns: str, world: World, body: str) -> None:
    world.proxy.reply(200, body=body, content_type="application/json", times=4)
    for call in (
        lambda: catalog.look([raw(ns).did]),
        lambda: catalog.children_of([raw(ns).did], MADE_BY),
        lambda: catalog.members(f"{ns}:run_1"),
        lambda: catalog.undone(f"{ns}:run_1", MADE_BY),
    ):
        with pytest.raises(TransientError, match="no clear answer"):
            call()


def test_a_page_that_is_not_found_is_an_outage_and_not_absence(catalog: MetacatCatalog, ns: str, world: World) -> None:
    catalog.declare([raw(ns)], f"{ns}:run_1")
    for call in (catalog.ping, lambda: catalog.ensure_dataset(f"{ns}:new"), lambda: catalog.retire([raw(ns).did])):
        world.proxy.reply(404, body="<html>no such page</html>")
        with pytest.raises(TransientError, match="404"):
            call()


@pytest.mark.parametrize("path", [LOOK, QUERY])
def test_an_answer_cut_short_is_an_outage(catalog: MetacatCatalog, ns: str, world: World, path: str) -> None:
    catalog.declare([raw(ns, number) for number in range(100)], f"{ns}:run_1")
    world.proxy.truncate(path=path, keep=0.7)
    with pytest.raises(TransientError):
        catalog.look([raw(ns, number).did for number in range(100)]) if path == LOOK else catalog.members(f"{ns}:run_1")


# -- who we are --------------------------------------------------------------------------------------------------------


def test_opening_asks_no_server_and_reading_needs_no_token(world: World, ns: str) -> None:
    catalog = world.open(token_file=world.folder / "none")
    assert world.server.log == []
    assert catalog.look([raw(ns).did]) == {}
    with pytest.raises(ConfigError, match="none: No such file"):
        catalog.ensure_dataset(f"{ns}:new")
    catalog.close()


def test_a_token_that_expires_on_the_way_is_renewed_at_every_kind_of_write(catalog: MetacatCatalog, ns: str, world: World) -> None:
    catalog.declare([raw(ns)], f"{ns}:run_1")
    world.server.add_dataset(f"{ns}:other")
    writes: list[Callable[[], object]] = [
        lambda: catalog.declare([raw(ns, 1)], f"{ns}:run_1"),
        lambda: catalog.declare([raw(ns)], f"{ns}:other"),
        lambda: catalog.ensure_dataset(f"{ns}:new"),
        lambda: catalog.confirm([raw(ns).did]),
        lambda: catalog.retire([raw(ns).did]),
    ]
    for write in writes:
        world.server.expire_tokens()
        world.settings()
        world.server.forget()
        write()
        assert [asked.endpoint for asked in world.server.log].count("auth/auth") == 1
    assert catalog.look([raw(ns).did], with_metadata=True)[raw(ns).did].metadata[OUTPUT_STATUS] == CONFIRMED
    assert catalog.members(f"{ns}:other")[raw(ns).did].retired


def test_a_server_that_does_not_accept_the_new_token_either_needs_a_person(catalog: MetacatCatalog, ns: str, world: World) -> None:
    world.proxy.reply(401, body="Token expired", times=2, path=DECLARE)
    with pytest.raises(ConfigError, match=r"dunepro may not declare.*Token expired"):
        catalog.declare([raw(ns)], f"{ns}:run_1")


def test_the_token_of_the_library_is_used_and_read_again_when_it_has_expired(
    world: World, ns: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    library = tmp_path / ".token_library"
    catalog = world.open(auth="library", auth_url=None, user=None)
    assert not library.exists()

    library.write_text("")
    with pytest.raises(ConfigError, match="auth login"):
        catalog.ensure_dataset(f"{ns}:new")
    library.write_text(f"{world.proxy.url}/app {world.server.token('dunepro')}\n")
    catalog.ensure_dataset(f"{ns}:new")
    world.server.expire_tokens()
    with pytest.raises(ConfigError, match="does not accept the token"):
        catalog.ensure_dataset(f"{ns}:new")
    library.write_text(f"{world.proxy.url}/app {world.server.token('dunepro')}\n")
    catalog.ensure_dataset(f"{ns}:new")
    catalog.close()


def test_a_password_logs_in_and_a_wrong_one_needs_a_person_and_is_not_shown(world: World, ns: str, tmp_path: Path) -> None:
    password = tmp_path / "password"
    catalog = world.open(auth="password", password_file=password)
    password.write_text("wrong secret\n")
    with pytest.raises(ConfigError, match="does not accept dunepro by password") as error:
        catalog.ensure_dataset(f"{ns}:new")
    assert "secret" not in str(error.value)
    password.write_text(f"{PASSWORD}\n")
    catalog.ensure_dataset(f"{ns}:new")
    catalog.close()


@pytest.mark.parametrize("content", ["", "secret", "secret\nsecret", "s\xe9cret\x00"])
def test_what_is_no_token_needs_a_person_and_is_not_shown(world: World, ns: str, tmp_path: Path, content: str) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(content)
    catalog = world.open(token_file=token_file)
    with pytest.raises((ConfigError, TransientError)) as error:
        catalog.ensure_dataset(f"{ns}:new")
    assert "secret" not in str(error.value)
    catalog.close()


def test_an_authentication_server_that_is_away_is_an_outage(world: World, ns: str) -> None:
    catalog = world.open(auth_url=f"{world.proxy.url}/auth")
    for status in (None, 429, 503, 200):
        world.proxy.drop(path="/auth") if status is None else world.proxy.reply(status, path="/auth")
        with pytest.raises(TransientError, match="/auth"):
            catalog.ensure_dataset(f"{ns}:new")
    catalog.ensure_dataset(f"{ns}:new")
    catalog.close()


def test_a_certificate_logs_in_over_a_connection_that_is_verified(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MetacatServer(tmp_path / "server", world.server.postgres, database="encrypted", tls=True) as server:
        assert server.certificates is not None
        server.add_user("dunepro", subjects=(server.certificates.user_subject,))
        server.add_user("somebody", subjects=("CN=somebody",))
        server.add_namespace("ns", owner="dunepro")
        wanted = {"url": server.url, "auth_url": server.auth_url, "auth": "x509", "cert": server.certificates.user}
        catalog = world.open(**wanted)
        with pytest.raises(ConfigError, match="no secure connection"):
            catalog.ensure_dataset("ns:all")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.certificates.authority))
        catalog.ensure_dataset("ns:all")
        for change, says in (({"cert": tmp_path / "none"}, "none"), ({"user": "somebody"}, "does not accept somebody by x509")):
            with pytest.raises(ConfigError, match=says):
                world.open(**wanted | change).ensure_dataset("ns:all")
        catalog.close()


def test_a_missing_client_says_how_to_install_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "declare_daemon.catalogs.metacat_client", None)
    with pytest.raises(ConfigError, match=r"pip install 'dune-prompt\[dune\]'"):
        world.open()


# -- the check ---------------------------------------------------------------------------------------------------------


def by_what(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_the_check_tells_who_we_are_until_when_and_what_we_may_without_a_trace(catalog: MetacatCatalog, ns: str, world: World) -> None:
    world.server.add_role(f"{ns}-role", "dunepro")
    world.server.add_namespace(f"{ns}-role", owner_role=f"{ns}-role")
    world.server.add_namespace(f"{ns}-theirs", owner="somebody")
    world.server.add_dataset(f"{ns}-theirs:all")
    world.server.add_category("core", {"data_tier": {"type": "text", "values": ["raw"]}}, owner="somebody")
    before = world.everything(), world.server.execute("select * from datasets order by 1, 2")
    wanted = [Wanted(space, tier) for space in (ns, f"{ns}-role", f"{ns}-theirs", f"{ns}-none") for tier in ("raw", "sp")]
    found = by_what(catalog.check([*wanted, *wanted]))
    world.server.remove_category("core")
    assert (world.everything(), world.server.execute("select * from datasets order by 1, 2")) == before
    login = found.pop("login")
    assert (login.ok, login.owner) == (True, "dunepro")
    assert login.expires_at is not None
    assert {what: finding.ok for what, finding in found.items()} == {
        f"declaring raw in {ns}": True,
        f"declaring sp in {ns}": False,
        f"declaring raw in {ns}-role": True,
        f"declaring sp in {ns}-role": True,  # no dataset yet to try it with
        f"declaring raw in {ns}-theirs": False,
        f"declaring sp in {ns}-theirs": False,
        f"declaring raw in {ns}-none": False,
        f"declaring sp in {ns}-none": False,
    }
    assert "'sp' is not allowed" in found[f"declaring sp in {ns}"].detail
    assert "could not be tried" in found[f"declaring sp in {ns}-role"].detail
    assert (found[f"declaring raw in {ns}"].owner, found[f"declaring raw in {ns}-role"].owner) == ("dunepro", f"the role {ns}-role")
    assert "metacat namespace create" in found[f"declaring raw in {ns}-none"].detail


def test_the_check_never_raises(world: World, ns: str, tmp_path: Path) -> None:
    wanted = [Wanted(ns, "raw")]
    catalog = world.open()
    world.proxy.reply(500, path=DECLARE)
    assert [finding.ok for finding in catalog.check(wanted)] == [True, False]
    world.proxy.reply(200, body="\x1e1\n", content_type="application/json-seq", path=QUERY)
    assert [finding.ok for finding in catalog.check(wanted)] == [True, False]
    with world.proxy.refusing():
        assert [finding.ok for finding in catalog.check(wanted)] == [False]
    catalog.close()
    catalog = world.open(token_file=tmp_path / "none")
    (finding,) = catalog.check(wanted)
    assert (finding.what, finding.ok) == ("login", False)
    catalog.close()
