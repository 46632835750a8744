"""Which credentials an installation needs, and where they are: from the site file, the environment, and the client's rucio.cfg.

Order of the places: X.509 as rucio-clients `baseclient.py` and samweb look for it; bearer tokens as WLCG Bearer Token Discovery says;
MetaCat's library as `common/token_lib.py` does.
"""

from __future__ import annotations

import configparser
import getpass
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from declare_daemon.checks.renewal import Kind
from dune_prompt.settings import Site
from dune_prompt.settings.catalogs import MetacatSettings, RucioSettings, SamSettings
from dune_prompt.settings.paths import XROOTD

Form = Literal["x509", "bearer", "library", "password", "rucio", "ticket", "keytab", "vault"]


@dataclass(frozen=True, slots=True)
class Need:
    """A credential and who needs it; nobody does if it only lies where clients look. `key` is a private key in a file of its own."""

    form: Form
    kind: Kind
    path: Path
    needed_by: tuple[str, ...] = ()
    key: Path | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process runs in, as far as clients look at it: environment variables and the numerical user id."""

    environment: Mapping[str, str]
    uid: int

    @classmethod
    def here(cls) -> Surroundings:
        return cls(dict(os.environ), os.geteuid())

    def path(self, variable: str) -> Path | None:
        """The file that an environment variable names; an empty one names none."""
        text = self.environment.get(variable, "")
        return Path(text.removeprefix("FILE:")).expanduser() if text else None

    @property
    def proxy(self) -> Path:
        return self.path("X509_USER_PROXY") or Path(f"/tmp/x509up_u{self.uid}")  # noqa: S108 - where all grid clients look

    @property
    def bearer(self) -> Path:
        if (named := self.path("BEARER_TOKEN_FILE")) is not None:
            return named
        name = f"bt_u{self.uid}"
        runtime = self.path("XDG_RUNTIME_DIR")
        return runtime / name if runtime is not None and (runtime / name).exists() else Path("/tmp", name)  # noqa: S108

    @property
    def vault(self) -> Path:
        """htgettoken's vault token: where its options say, else the usual place."""
        for word in self.environment.get("HTGETTOKENOPTS", "").split():
            if word.startswith("--vaulttokenfile="):
                return Path(word.partition("=")[2])
        return Path(f"/tmp/vt_u{self.uid}")  # noqa: S108

    @property
    def library(self) -> Path:
        folders = [Path(folder) for folder in (self.environment.get("HOME"), ".", "/tmp") if folder]  # noqa: S108
        return next((path for folder in folders if (path := folder / ".token_library").is_file()), folders[0] / ".token_library")


def needs(site: Site, around: Surroundings) -> list[Need]:
    """Every credential the site needs, and those that are there without being needed; each once, with all who need it."""
    found: dict[tuple[str, Path, str], Need] = {}
    for need in [*_of_catalogs(site, around), *_of_places(site, around), *_lying_there(around)]:
        key = (need.form, need.path, need.url)
        there = found.get(key, replace(need, needed_by=()))
        found[key] = replace(there, needed_by=tuple(dict.fromkeys((*there.needed_by, *need.needed_by))), key=there.key or need.key)
    return list(found.values())


def _of_catalogs(site: Site, around: Surroundings) -> Iterator[Need]:
    for settings in site.catalogs:
        match settings:
            case SamSettings():
                yield from _sam(settings, around)
            case MetacatSettings():
                yield from _metacat(settings, around)
            case RucioSettings():
                yield from _rucio(settings, around)


def _x509(path: Path, key: Path | None, by: str) -> Need:
    """A key in a file of its own belongs to a certificate; without, it is taken for a proxy."""
    return Need("x509", Kind.PROXY if key is None or key == path else Kind.CERTIFICATE, path, (by,), key if key != path else None)


def _sam(settings: SamSettings, around: Surroundings) -> Iterator[Need]:
    if settings.cert is not None:
        yield _x509(settings.cert, settings.key, "sam")
    elif (settings.secure_url or settings.url).scheme == "https":
        # samweb finds a proxy by itself; our own client takes a bearer token.
        samweb = settings.client in ("samweb", "samweb_client")
        if samweb or (settings.client == "auto" and around.proxy.exists() and not around.bearer.exists()):
            yield _x509(around.proxy, None, "sam")
        else:
            yield from _bearer(around.bearer, "sam", around)


def _metacat(settings: MetacatSettings, around: Surroundings) -> Iterator[Need]:
    if settings.auth == "library":
        yield Need("library", Kind.METACAT, around.library, ("metacat",), url=str(settings.url).rstrip("/"))
    if settings.auth == "x509" and settings.cert is not None:
        yield _x509(settings.cert, settings.key, "metacat")
    if settings.auth == "token" and settings.token_file is not None:
        yield from _bearer(settings.token_file, "metacat", around)
    if settings.auth == "password" and settings.password_file is not None:
        yield Need("password", Kind.CERTIFICATE, settings.password_file, ("metacat",))


def _bearer(path: Path, by: str, around: Surroundings) -> Iterator[Need]:
    """A bearer token, and the vault token it is made with."""
    yield Need("bearer", Kind.TOKEN, path, (by,))
    if around.vault.exists():
        yield Need("vault", Kind.TOKEN, around.vault, (by,))


def _rucio(settings: RucioSettings, around: Surroundings) -> Iterator[Need]:
    client = rucio_client_settings(settings, around)
    auth = around.environment.get("RUCIO_AUTH_TYPE") or client.get("auth_type")
    account = settings.account or around.environment.get("RUCIO_ACCOUNT") or client.get("account")
    suffix = f"for_account_{account}" if account else "for_default_account"
    folder = Path(tempfile.gettempdir(), f".rucio_{getpass.getuser()}")
    token = Path(client.get("auth_token_file_path") or folder / f"auth_token_{suffix}")
    if auth == "x509_proxy":
        named = around.path("RUCIO_CLIENT_PROXY") or (
            Path(client["client_x509_proxy"]) if client.get("client_x509_proxy") else around.proxy
        )
        yield _x509(named, None, "rucio")
    elif auth == "x509" and (certificate := around.path("RUCIO_CLIENT_CERT") or _path(client.get("client_cert"))):
        yield _x509(certificate, around.path("RUCIO_CLIENT_KEY") or _path(client.get("client_key")), "rucio")
    elif auth == "oidc":
        yield from _bearer(token, "rucio", around)
    if auth != "oidc" and token.exists():
        yield Need("rucio", Kind.SELF, token, ())


def _path(text: str | None) -> Path | None:
    return Path(os.path.expandvars(text)).expanduser() if text else None


def rucio_client_settings(settings: RucioSettings, around: Surroundings) -> dict[str, str]:
    """The section `client` of the rucio.cfg that the client will read; empty if there is none."""
    named = settings.config or around.path("RUCIO_CONFIG")
    folders = [folder for variable in ("RUCIO_HOME", "VIRTUAL_ENV", "CONDA_PREFIX") if (folder := around.path(variable)) is not None]
    usual = [folder / "etc" / "rucio.cfg" for folder in (*folders, Path("/opt/rucio"))]
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read(named or next((path for path in usual if path.exists()), usual[-1]), encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}
    return dict(config["client"]) if config.has_section("client") else {}


def _of_places(site: Site, around: Surroundings) -> Iterator[Need]:
    """On EOS a Kerberos ticket counts, if there is one: whether it is enough, the mounts themselves tell."""
    by = tuple(f"EOS {place}" for place in eos_places(site))
    if by:
        keytab = around.path("KRB5_CLIENT_KTNAME")
        if keytab is not None:
            yield Need("keytab", Kind.CERTIFICATE, keytab, by)
        yield Need("ticket", Kind.KERBEROS, around.path("KRB5CCNAME") or Path(f"/tmp/krb5cc_{around.uid}"), by)  # noqa: S108


def _lying_there(around: Surroundings) -> Iterator[Need]:
    """What the environment names is meant to be used; at the usual places something may lie that nobody needs."""
    candidates: list[tuple[Form, Kind, Path, str]] = [
        ("x509", Kind.PROXY, around.proxy, "X509_USER_PROXY"),
        ("bearer", Kind.TOKEN, around.bearer, "BEARER_TOKEN_FILE"),
    ]
    for form, kind, path, variable in candidates:
        if around.environment.get(variable):
            yield Need(form, kind, path, (variable,))
        elif path.exists():
            yield Need(form, kind, path)


def eos_places(site: Site) -> list[str]:
    """The places of the site file that are on EOS, mounted or behind XRootD."""
    places = [site.buffer.path, *(str(stream.release.move_to) for stream in site.streams if stream.release.move_to is not None)]
    places += [settings.place_url for settings in site.catalogs if isinstance(settings, RucioSettings) and settings.place_url]
    return list(dict.fromkeys(place for place in places if place.startswith(("/eos/", f"{XROOTD}eos"))))


def renewable_kinds(wanted: Iterable[Need]) -> list[Kind]:
    """The kinds of needed credentials that have to be renewed again and again, each once."""
    lasting = {Kind.CERTIFICATE, Kind.SELF}
    return list(dict.fromkeys(need.kind for need in wanted if need.needed_by and need.kind not in lasting))
