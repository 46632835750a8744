"""Credentials of all forms, made here: whose they are, when they end, and that their secrets are never shown."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declare_daemon.checks import Result, Verdict
from declare_daemon.checks.credentials import check_credentials
from declare_daemon.checks.kerberos import read_keytab, read_ticket
from declare_daemon.checks.needs import Surroundings, needs, renewable_kinds
from declare_daemon.checks.renewal import Kind, renewed_by
from declare_daemon.checks.tokens import claims_of, read_bearer, read_library, read_rucio, reading_of
from declare_daemon.checks.x509 import read_x509
from dune_prompt.errors import DataError
from dune_prompt.settings import Site, load_site

NOW = 1_800_000_000.0
HOUR_S, DAY_S = 3600.0, 86400.0

METACAT = "{kind: metacat, url: 'https://metacat.example:9443/app', auth_url: 'https://metacat.example/auth'"


def token(**claims: Any) -> str:
    """A JSON Web Token whose signature says SECRET."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.SECRET"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


Issue = Callable[..., str]


@pytest.fixture(scope="module")
def issue(tmp_path_factory: pytest.TempPathFactory) -> Issue:
    """Makes certificates with a key; with `by` a proxy of that one."""
    folder = tmp_path_factory.mktemp("certificates")

    def make(subject: str, days: int = 30) -> str:
        key, certificate = folder / "key.pem", folder / "cert.pem"
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days)]
        subprocess.run([*made, "-subj", subject, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
        return certificate.read_text() + key.read_text()

    return make


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    """A user whom no other process of this machine can be."""
    home = tmp_path / "home"
    home.mkdir()
    return Surroundings({"HOME": str(home), "PATH": os.environ["PATH"]}, 4_000_000_000)


def site_of(tmp_path: Path, *catalogs: str, buffer: str = "/data/buffer") -> Site:
    path = tmp_path / "site.yaml"
    path.write_text(
        f"site: here\nworkspace: workspace\nbuffer: {{path: '{buffer}'}}\nstreams: [{{name: a, pattern: 'x*'}}]\n"
        + ("catalogs:\n" + "".join(f"  - {catalog}\n" for catalog in catalogs) if catalogs else "")
    )
    return load_site(path)


def check(site: Site, around: Surroundings, now: float = NOW) -> dict[str, Result]:
    return {result.what.rsplit(" ", 1)[0]: result for result in check_credentials(site, around, now=now, unit_folders=())}


# ---- X.509 ----


def test_a_certificate_tells_its_subject_and_end(tmp_path: Path, issue: Issue) -> None:
    reading = read_x509(write(tmp_path / "cert.pem", issue("/DC=ch/DC=cern/CN=prompt robot")))
    assert (reading.owner, reading.detail, reading.problem) == ("/DC=ch/DC=cern/CN=prompt robot", "certificate", None)
    assert reading.expires_at is not None
    assert reading.issued_at is not None
    assert reading.expires_at - reading.issued_at == 30 * DAY_S


def test_a_proxy_belongs_to_its_certificate_and_ends_with_the_first_of_its_chain(tmp_path: Path, issue: Issue) -> None:
    proxy, certificate = issue("/DC=ch/CN=robot/CN=1234567/CN=89", days=10), issue("/DC=ch/CN=robot", days=2)
    reading = read_x509(write(tmp_path / "proxy", proxy + certificate))
    assert (reading.owner, reading.detail) == ("/DC=ch/CN=robot", "proxy")
    assert reading.expires_at is not None
    assert reading.issued_at is not None
    assert 2 * DAY_S - 60 <= reading.expires_at - reading.issued_at <= 2 * DAY_S + 60


def test_a_key_that_others_may_read_is_a_problem(tmp_path: Path, issue: Issue) -> None:
    assert "chmod 600" in (read_x509(write(tmp_path / "proxy", issue("/CN=a"), 0o644)).problem or "")
    certificate = write(tmp_path / "cert", issue("/CN=a").partition("-----BEGIN PRIVATE")[0], 0o644)
    assert read_x509(certificate).problem is None
    assert "chmod 600" in (read_x509(certificate, key=write(tmp_path / "key", "key", 0o640)).problem or "")


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="certificate in it"):
        read_x509(write(tmp_path / "x", text))


# ---- tokens ----


def test_a_bearer_token_tells_subject_issuer_scope_and_end(tmp_path: Path) -> None:
    path = write(
        tmp_path / "bt", token(sub="dunepro@fnal.gov", iss="https://cilogon.org/dune", scope="storage.create:/", iat=NOW, exp=NOW + 1)
    )
    reading = read_bearer(path)
    assert (reading.owner, reading.issued_at, reading.expires_at, reading.problem) == ("dunepro@fnal.gov", NOW, NOW + 1, None)
    assert reading.detail == "bearer token, from https://cilogon.org/dune, scope storage.create:/"


def test_the_token_of_the_right_server_is_read_from_metacats_library(tmp_path: Path) -> None:
    library = write(
        tmp_path / ".token_library", f"https://other/app {token(sub='x', exp=1)}\nhttps://metacat/app {token(sub='prompt', exp=NOW)}\n"
    )
    assert (read_library(library, "https://metacat/app").owner, read_library(library, "https://metacat/app/").expires_at) == ("prompt", NOW)
    with pytest.raises(DataError, match="tokens for https://other/app, https://metacat/app: run metacat auth login"):
        read_library(library, "https://third/app")


def test_a_rucio_session_tells_no_end_and_one_from_openid_does(tmp_path: Path) -> None:
    assert read_rucio(write(tmp_path / "session", "root-root-unknown-abcdef")).expires_at is None
    assert read_rucio(write(tmp_path / "oidc", token(sub="x", exp=NOW))).expires_at == NOW


@given(st.text(max_size=60) | st.tuples(st.text(), st.text(), st.text()).map(".".join))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    try:
        claims = claims_of(text, "here")
    except DataError as error:
        assert str(error) == "here: not a JSON Web Token"
    else:
        reading_of(claims)


@given(
    st.dictionaries(
        st.sampled_from(["sub", "iss", "scope", "exp", "iat", "nbf"]), st.none() | st.text() | st.integers() | st.lists(st.text())
    )
)
def test_claims_of_any_type_are_read(claims: dict[str, Any]) -> None:
    reading_of(claims_of(token(**claims), "here"))


# ---- Kerberos ----

TICKET = """Ticket cache: FILE:/tmp/krb5cc_1000
Default principal: np04prompt@CERN.CH

Valid starting       Expires              Service principal
01/15/{year} 08:00:00  01/16/{year} 09:00:00  krbtgt/CERN.CH@CERN.CH
\trenew until 01/20/{year} 08:00:00
01/15/{year} 08:00:05  01/15/{year} 10:00:00  xrootd/eos.cern.ch@CERN.CH
"""
KEYTAB = """Keytab name: FILE:/etc/dune-prompt/keytab
KVNO Principal
---- --------------------------------------------------------------------------
   3 np04prompt@CERN.CH
   3 np04prompt@CERN.CH
"""
ENDS = 1_800_090_000.0  # 2027-01-16 09:00:00 UTC


def with_klist(around: Surroundings, folder: Path, output: str, code: int = 0) -> Surroundings:
    """A `klist` that prints `output`; it refuses to work in another language or time zone."""
    folder.mkdir(exist_ok=True)
    (folder / "output").write_text(output)
    checked = '[ "$LC_ALL$TZ" = CUTC ] || exit 9'
    printed = f'while read -r line; do printf "%s\\n" "$line"; done < {folder}/output'
    script = f"#!/bin/sh\n{checked}\n{printed}\nexit {code}\n"
    write(folder / "klist", script, 0o755)
    return replace(around, environment={**around.environment, "PATH": str(folder)})


@pytest.mark.parametrize("year", ["2027", "27"])
def test_a_ticket_tells_its_principal_and_end(around: Surroundings, tmp_path: Path, year: str) -> None:
    reading = read_ticket(with_klist(around, tmp_path / "bin", TICKET.replace("{year}", year)).environment)
    assert (reading.owner, reading.issued_at, reading.expires_at) == ("np04prompt@CERN.CH", ENDS - 25 * HOUR_S, ENDS)
    assert reading.detail == "ticket, renewable until 2027-01-20T08:00:00Z"


def test_no_ticket_is_said_to_be_none(around: Surroundings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run kinit"):
        read_ticket(with_klist(around, tmp_path / "bin", "", 1).environment)
    with pytest.raises(DataError, match="run kinit"):
        read_ticket(with_klist(around, tmp_path / "bin", "Ticket cache: x\nDefault principal: a@B\n").environment)


def test_a_keytab_tells_its_principals(around: Surroundings, tmp_path: Path) -> None:
    here = with_klist(around, tmp_path / "bin", KEYTAB).environment
    keytab = write(tmp_path / "keytab", "x")
    assert (read_keytab(keytab, here).owner, read_keytab(keytab, here).problem) == ("np04prompt@CERN.CH", None)
    keytab.chmod(0o644)
    assert "chmod 600" in (read_keytab(keytab, here).problem or "")


def test_on_eos_a_ticket_that_is_named_counts(around: Surroundings, tmp_path: Path) -> None:
    site = site_of(tmp_path, buffer="/eos/np04/buffer")
    assert check(site, around) == {}  # another kind of login: the mount itself tells
    here = with_klist(around, tmp_path / "bin", TICKET.replace("{year}", "2027"))
    here = replace(here, environment={**here.environment, "KRB5CCNAME": f"FILE:{tmp_path}/cc"})
    assert check(site, here, ENDS - 2 * HOUR_S)["Kerberos ticket"].verdict is Verdict.OK
    late = check(site, here, ENDS - HOUR_S)["Kerberos ticket"]
    assert (late.verdict, late.alarm) == (Verdict.SOON, "expires in 1 h")


# ---- what is needed ----


def test_without_servers_no_credential_is_needed(tmp_path: Path, around: Surroundings) -> None:
    assert check(site_of(tmp_path), around) == {}


def test_a_needed_credential_that_is_missing_fails(tmp_path: Path, around: Surroundings) -> None:
    site = site_of(tmp_path, "{kind: sam, url: 'https://sam.example/api', client: samweb}", METACAT + "}")
    found = check(site, replace(around, environment={**around.environment, "X509_USER_PROXY": f"{tmp_path}/none"}))
    assert {(what, result.verdict, result.error_class) for what, result in found.items()} == {
        ("X.509", Verdict.FAILED, "configuration"),
        ("MetaCat token", Verdict.FAILED, "configuration"),
    }
    assert found["X.509"].detail == f"{tmp_path}/none: No such file or directory (for sam, X509_USER_PROXY)"
    assert found["MetaCat token"].renewed_by == "nobody known: run metacat auth login"


def test_sam_without_a_certificate_takes_the_token_or_the_proxy_that_is_there(tmp_path: Path, around: Surroundings, issue: Issue) -> None:
    site = site_of(tmp_path, "{kind: sam, url: 'https://sam.example/api'}")
    here = replace(around, environment={**around.environment, "XDG_RUNTIME_DIR": str(tmp_path), "X509_USER_PROXY": str(tmp_path / "proxy")})

    def of_sam() -> list[str]:
        return [need.form for need in needs(site, here) if "sam" in need.needed_by]

    assert of_sam() == ["bearer"]
    write(tmp_path / "proxy", issue("/CN=robot/CN=1"))
    assert of_sam() == ["x509"]
    write(tmp_path / f"bt_u{around.uid}", token(sub="prompt"))
    assert of_sam() == ["bearer"]


def test_plain_http_needs_no_certificate(tmp_path: Path, around: Surroundings) -> None:
    assert check(site_of(tmp_path, "{kind: sam, url: 'http://sam.example/api'}"), around) == {}


def test_one_proxy_for_two_catalogues_is_one_credential(tmp_path: Path, around: Surroundings, issue: Issue) -> None:
    proxy = write(tmp_path / "proxy", issue("/CN=robot/CN=1"))
    sam = f"{{kind: sam, url: 'https://sam.example/api', cert: {proxy}}}"
    site = site_of(tmp_path, sam, f"{METACAT}, auth: x509, user: prompt, cert: {proxy}}}")
    (found,) = check_credentials(site, around, unit_folders=())
    assert (found.verdict, found.owner, found.is_credential) == (Verdict.OK, "/CN=robot", True)
    assert found.detail.endswith("(for sam, metacat)")


def test_the_end_of_a_needed_token_is_an_alarm_and_then_a_failure(tmp_path: Path, around: Surroundings) -> None:
    path = write(tmp_path / "bt", token(sub="prompt", iat=NOW - 7 * DAY_S, exp=NOW + HOUR_S))
    site = site_of(tmp_path, f"{METACAT}, auth: token, user: prompt, token_file: {path}}}")
    soon = check(site, around)["bearer token"]
    assert (soon.verdict, soon.alarm, soon.expires_at) == (Verdict.SOON, "expires in 1 h", NOW + HOUR_S)
    over = check(site, around, NOW + 2 * HOUR_S)["bearer token"]
    assert (over.verdict, over.alarm, over.error_class) == (Verdict.FAILED, "expired", "configuration")


def test_what_the_environment_names_is_needed_too(tmp_path: Path, around: Surroundings) -> None:
    path = write(tmp_path / "bt", token(sub="prompt", exp=NOW - 1))
    here = replace(around, environment={**around.environment, "BEARER_TOKEN_FILE": str(path)})
    assert check(site_of(tmp_path), here)["bearer token"].verdict is Verdict.FAILED


def test_what_only_lies_there_is_shown_and_is_no_trouble(tmp_path: Path, around: Surroundings) -> None:
    write(tmp_path / "run" / f"bt_u{around.uid}", token(sub="prompt", exp=NOW - 1))
    here = replace(around, environment={**around.environment, "XDG_RUNTIME_DIR": str(tmp_path / "run")})
    found = check(site_of(tmp_path), here)["bearer token"]
    assert (found.verdict, found.alarm) == (Verdict.OK, None)
    assert found.detail.endswith("(not needed here)")


@pytest.mark.parametrize(
    ("config", "form", "kind"),
    [
        ("auth_type = x509_proxy\nclient_x509_proxy = {path}", "x509", Kind.PROXY),
        ("auth_type = x509\nclient_cert = {path}\nclient_key = {path}.key", "x509", Kind.CERTIFICATE),
        ("auth_type = oidc\nauth_token_file_path = {path}", "bearer", Kind.TOKEN),
    ],
)
def test_what_rucio_needs_is_in_its_configuration(tmp_path: Path, around: Surroundings, config: str, form: str, kind: Kind) -> None:
    path = tmp_path / "credential"
    write(tmp_path / "rucio.cfg", "[client]\npassword = 100%\n" + config.format(path=path))
    site = site_of(tmp_path, "{kind: embedded}", f"{{kind: rucio, rse: A, config: {tmp_path}/rucio.cfg}}")
    (need,) = [need for need in needs(site, around) if need.needed_by]
    assert (need.form, need.kind, need.path, need.needed_by) == (form, kind, path, ("rucio",))


def test_a_rucio_password_needs_no_credential_file(tmp_path: Path, around: Surroundings) -> None:
    write(tmp_path / "rucio.cfg", "[client]\nauth_type = userpass\nusername = x\npassword = geheim\n")
    site = site_of(tmp_path, "{kind: embedded}", f"{{kind: rucio, rse: A, config: {tmp_path}/rucio.cfg}}")
    assert [need for need in needs(site, around) if need.needed_by] == []


def test_certificates_are_renewed_by_people_and_proxies_by_timers(tmp_path: Path, around: Surroundings) -> None:
    site = site_of(tmp_path, "{kind: sam, url: 'https://s/api', cert: /a/cert, key: /a/key}", METACAT + "}", buffer="/eos/x")
    assert renewable_kinds(needs(site, around)) == [Kind.METACAT, Kind.KERBEROS]
    timers = tmp_path / "units"
    write(timers / "dune-prompt-renew-metacat.timer", "")
    assert renewed_by(Kind.METACAT, [timers]) == "dune-prompt-renew-metacat.timer"
    assert renewed_by(Kind.PROXY, [timers]) == "nobody known: run voms-proxy-init"
    assert renewed_by(Kind.CERTIFICATE, [timers]) == "a person"


def test_an_empty_password_file_and_one_for_all_to_read_are_found(tmp_path: Path, around: Surroundings) -> None:
    password = write(tmp_path / "password", "\n")
    site = site_of(tmp_path, f"{METACAT}, auth: password, user: prompt, password_file: {password}}}")
    assert "is empty" in check(site, around)["password"].detail
    write(password, "geheim", 0o644)
    assert "chmod 600" in check(site, around)["password"].detail


def test_secrets_are_in_no_result(tmp_path: Path, around: Surroundings, issue: Issue) -> None:
    proxy = write(tmp_path / "proxy", issue("/CN=a"), 0o644)
    bearer = write(tmp_path / "bt", "SECRET.SECRET.SECRET")
    write(Path(around.environment["HOME"]) / ".token_library", f"https://other/app {token(sub='SECRET-not')}\nSECRET\n")
    here = replace(around, environment={**around.environment, "X509_USER_PROXY": str(proxy), "BEARER_TOKEN_FILE": str(bearer)})
    text = str(check(site_of(tmp_path, METACAT + "}"), here))
    assert "PRIVATE" not in text
    assert "SECRET" not in text
