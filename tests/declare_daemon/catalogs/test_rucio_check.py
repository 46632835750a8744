"""Rucio: who we are, which settings the client reads, and what the check tells."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from declare_daemon.catalogs import Keeping, Wanted
from declare_daemon.catalogs.rucio import RucioCatalog
from declare_daemon.catalogs.rucio_check import end_of_certificate, end_of_token
from dune_prompt.errors import ConfigError
from tests.declare_daemon.catalogs.rucio_world import (
    FAR,
    LOOSE,
    NEAR,
    OWN,
    PROMPT,
    SCOPE,
    World,
    catalog,
    dataset_in,
    needs_rucio,
    proxy,
    shared,
    world,
)
from tests.servers.proxy import FaultProxy

__all__ = ["catalog", "proxy", "shared", "world"]  # fixtures

pytestmark = needs_rucio

# -- who we are ------------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_named_without_showing_it(world: World) -> None:
    world.catalog().ping()
    catalog = world.catalog(login={"password": "wr0ng"})
    with pytest.raises(ConfigError, match=r"ddmlab|root") as caught:
        catalog.ping()
    assert "wr0ng" not in str(caught.value)
    assert [finding.ok for finding in catalog.check([])] == [False]


def test_a_good_token_left_in_a_file_does_not_hide_a_wrong_password(world: World) -> None:
    right = world.server.client_config()
    world.catalog(config=right).ping()
    wrong = right.with_name("wrong_password.cfg")
    wrong.write_text(right.read_text().replace("password = secret", "password = wr0ng"))
    with pytest.raises(ConfigError, match="Cannot authenticate"):
        world.catalog(config=wrong).ping()


def test_an_unknown_account_is_a_wrong_setting(world: World) -> None:
    with pytest.raises(ConfigError):
        world.catalog(account="nobody").ping()


def test_a_token_that_is_no_longer_good_is_replaced_and_the_request_carried_out(
    world: World, catalog: RucioCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dataset, file = dataset_in(world, catalog), world.replica()
    world.server.forget_tokens()
    catalog.add([file], dataset)
    assert catalog.replicas_of(dataset) == [file.did]
    assert list(tmp_path.iterdir()) == []  # no token lies about


def test_an_account_without_rights_is_told_so(world: World) -> None:
    prompt = world.catalog(login=PROMPT, rules=(NEAR,))
    with pytest.raises(ConfigError, match="Account prompt can not add data identifier to scope hd-protodune"):
        prompt.ensure_dataset(world.did("run"))
    foreign = dataset_in(world, world.catalog())
    with pytest.raises(ConfigError, match="Account prompt can not"):
        prompt.add([world.replica()], foreign)
    own = world.did("run", OWN)
    with pytest.raises(ConfigError, match="quota"):
        prompt.ensure_dataset(own, Keeping(rules=(FAR,)))
    prompt.ensure_dataset(own)
    prompt.add([world.replica(world.did(scope=OWN))], own)
    assert len(world.attached(own)) == 1


def test_catalogues_of_several_settings_live_in_one_process_and_leave_it_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dune-prompt", "declare"])
    before = dict(os.environ)
    one, other = world.catalog(), world.catalog(login=PROMPT)
    for _ in range(2):
        assert [catalog.check([])[0].owner for catalog in (one, other)] == ["root", "prompt"]
    assert sys.argv[0] == "/usr/bin/dune-prompt"
    assert dict(os.environ) == before


def test_a_settings_file_that_is_not_there_or_says_nothing_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*nowhere\.cfg"):
        world.catalog(config=tmp_path / "nowhere.cfg").ping()
    (tmp_path / "empty.cfg").write_text("[client]\n")
    with pytest.raises(ConfigError, match="rucio_host"):
        world.catalog(config=tmp_path / "empty.cfg").ping()


def test_without_its_client_the_catalogue_says_what_to_install(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "declare_daemon.catalogs.rucio_client", None)
    catalog = world.catalog()
    with pytest.raises(ConfigError, match=r"pip install 'dune-prompt\[dune\]'"):
        catalog.ping()
    assert not catalog.check([])[0].ok
    catalog.close()


def test_opening_the_catalogue_loads_no_client() -> None:
    program = (
        "import sys; from declare_daemon.catalogs.rucio import RucioCatalog; from dune_prompt.settings.catalogs import RucioSettings; "
        "RucioCatalog.open(RucioSettings(kind='rucio', rse='NEAR')); sys.exit('rucio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# -- check -----------------------------------------------------------------------------------------------------------------


def traces(world: World) -> list[list[tuple[Any, ...]]]:
    return [world.server.rows(f"select count(*) from {table}") for table in ("dids", "replicas", "rules", "contents", "messages")]


def test_check_finds_all_well_and_leaves_no_trace(world: World) -> None:
    before = traces(world)
    catalog = world.catalog(rules=(NEAR, "NEAR|FAR"), activity="T0 Export", place=True)
    findings = catalog.check([Wanted(SCOPE, "raw"), Wanted(OWN, "raw", Keeping(rse=LOOSE, rules=()))])
    assert {finding.what: finding.detail for finding in findings if not finding.ok} == {}
    assert {finding.what for finding in findings} == {
        *("login", "storage element NEAR", "storage element LOOSE", f"writing to {SCOPE}", f"writing to {OWN}"),
        *(f"rule NEAR in {SCOPE}", f"rule NEAR|FAR in {SCOPE}"),
    }
    assert findings[0].owner == "root"
    assert traces(world) == before


@pytest.mark.parametrize(
    ("change", "wanted", "what", "why"),
    [
        ({}, Wanted("nowhere", "raw"), "writing to nowhere", "Scope"),
        ({"rse": "NOWHERE"}, Wanted(SCOPE, "raw"), "storage element NOWHERE", "NOWHERE"),
        ({"rules": ("NOWHERE",)}, Wanted(SCOPE, "raw"), f"rule NOWHERE in {SCOPE}", "empty set"),
        ({"rules": (NEAR,), "activity": "Nope"}, Wanted(SCOPE, "raw"), f"rule NEAR in {SCOPE}", "Nope"),
        ({"login": "prompt"}, Wanted(SCOPE, "raw"), f"writing to {SCOPE}", "can not add"),
        ({"login": "prompt", "rules": (FAR,)}, Wanted(OWN, "raw"), f"rule FAR in {OWN}", "quota"),
    ],
)
def test_check_says_what_would_not_work(world: World, change: dict[str, Any], wanted: Wanted, what: str, why: str) -> None:
    if change.get("login"):
        change = change | {"login": PROMPT}
    before = traces(world)
    findings = {finding.what: finding for finding in world.catalog(**change).check([wanted])}
    assert findings["login"].ok
    assert not findings[what].ok
    assert why in findings[what].detail
    assert traces(world) == before


def test_check_sees_a_blocked_storage_element(world: World) -> None:
    world.server.change_rse(FAR, availability_write=False)
    try:
        findings = {finding.what: finding for finding in world.catalog(rse=FAR, rules=(FAR,)).check([Wanted(SCOPE, "raw")])}
        assert not findings["storage element FAR"].ok
        assert not findings[f"rule FAR in {SCOPE}"].ok
    finally:
        world.server.change_rse(FAR, availability_write=True)


def test_check_of_a_server_that_is_away_is_one_finding(world: World, proxy: FaultProxy) -> None:
    catalog = world.catalog(url=proxy.url, rules=(NEAR,))
    with proxy.refusing():
        findings = catalog.check([Wanted(SCOPE, "raw")])
    assert [(finding.what, finding.ok) for finding in findings] == [("login", False)]


def test_the_end_of_a_token_is_read_from_it() -> None:
    claims = base64.urlsafe_b64encode(b'{"sub": "x", "exp": 1800000000}').decode().rstrip("=")
    assert end_of_token(f"header.{claims}.signature") == 1_800_000_000.0
    for other in ("prompt-prompt-unknown-ef29d444c89947ce", "a.b.c", f"a.{claims[:8]}.c", ""):
        assert end_of_token(other) is None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="this machine has no openssl")
def test_the_end_of_a_certificate_is_read_from_it(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=prompt", "-days", "2"]
    subprocess.run(["openssl", "req", *options, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    end = end_of_certificate(str(certificate))
    assert end is not None
    assert 0 < end - certificate.stat().st_mtime <= 2 * 86400 + 60
    assert end_of_certificate(str(key)) is None
    assert end_of_certificate(str(tmp_path / "none.pem")) is None
