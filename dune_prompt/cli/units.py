"""`dune-prompt units`: the systemd units of this installation, and the one file of their environment."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import site_option

if TYPE_CHECKING:
    from declare_daemon.checks.needs import Surroundings
    from dune_prompt.settings import Site

ENVIRONMENT_FILE = "dune-prompt.env"
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
# Where a start must not wait for a server: these are not looked at by systemd.
_NETWORK_FOLDERS = ("/eos/", "/afs/", "/cvmfs/", "/pnfs/")


@click.command()
@site_option
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("units"), show_default=True, help="folder to write to"
)
@click.option("--user", help="account the units run under; default: yours")
@click.option("--dry-run", is_flag=True, help="only print what would be written")
def command(site_path: Path, output: Path, user: str | None, dry_run: bool) -> None:
    """Write the systemd units of this installation: the daemon, the service, the hourly check, and timers that renew credentials.

    Which credentials those are follows from the site file. The commands that renew them are in `dune-prompt.env`, which belongs beside
    the site file; one that is there already is yours and is never overwritten.
    """
    import getpass

    from declare_daemon.checks.needs import Surroundings
    from dune_prompt.settings import load_site

    user = user or getpass.getuser()
    if not _USER.fullmatch(user):
        raise click.UsageError(f"--user {user!r} is no name of an account")
    site_path = site_path.absolute()
    site = load_site(site_path)
    texts = unit_texts(site, site_path, user, this_program(), _campaign_places(site, site_path), Surroundings({}, 0))
    if dry_run:
        for name, text in texts.items():
            click.echo(f"==> {name}\n{text}")
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        _write(output / name, text)
    units = shlex.quote(str(output.absolute()))
    timers = " ".join(name for name in texts if name.endswith(".timer"))
    click.echo(
        f"\nedit {ENVIRONMENT_FILE}, then as root:\n"
        f"  install -m 600 -o {user} {units}/{ENVIRONMENT_FILE} {shlex.quote(str(site_path.parent / ENVIRONMENT_FILE))}\n"
        f"  install -m 644 {units}/*.service {units}/*.timer /etc/systemd/system/\n"
        f"  systemctl daemon-reload\n"
        f"  systemctl enable --now {timers} dune-prompt-declare dune-prompt-serve"
    )


def unit_texts(
    site: Site, site_path: Path, user: str, program: Sequence[str], places: Sequence[Path | str], around: Surroundings
) -> dict[str, str]:
    """The name and text of each file. `places` are folders of campaigns that the daemon writes to; `around` is the units' environment.

    Raises:
        ConfigError: a path that systemd cannot take.
    """
    from declare_daemon.checks.needs import needs, renewable_kinds
    from declare_daemon.checks.renewal import RENEWALS, Kind
    from dune_prompt.errors import ConfigError
    from templates import render

    wanted = needs(site, around)
    kinds = renewable_kinds(wanted)
    if Kind.METACAT in kinds and Kind.PROXY not in kinds and Kind.TOKEN not in kinds:
        kinds.insert(0, Kind.TOKEN)  # something has to log in to MetaCat
    # MetaCat's login uses what the others have renewed.
    kinds.sort(key=lambda kind: kind is Kind.METACAT)
    credentials = site.workspace / "credentials"
    named = {need.kind: need.path for need in reversed(wanted) if need.needed_by and need.path.parent != Path("/tmp")}  # noqa: S108
    proxy, token = named.get(Kind.PROXY, credentials / "proxy.pem"), named.get(Kind.TOKEN, credentials / "bearer.token")
    values: dict[str, Any] = {
        "site": site.site,
        "site_path": str(site_path),
        "environment_file": site_path.parent / ENVIRONMENT_FILE,
        "workspace": site.workspace,
        "credentials": credentials,
        "user": user,
        "program": list(program),
        "renewals": "".join(f" {RENEWALS[kind].unit}.service" for kind in kinds),
    }
    try:
        values["writable"] = _writable(site, places)
        if any(letter in program[0] for letter in "\"'\\"):
            raise ValueError(f"{program[0]!r} has a quote or a backslash in it: systemd does not run such a program")
        texts = {f"dune-prompt-{name}": render(f"systemd/{name}.j2", **values) for name in ("declare.service", "serve.service")}
        texts |= {f"dune-prompt-check.{ending}": render(f"systemd/check.{ending}.j2", **values) for ending in ("service", "timer")}
        if site.probe is not None:
            for ending in ("service", "timer"):
                texts[f"dune-prompt-probe.{ending}"] = render(f"systemd/probe.{ending}.j2", **values, probe=site.probe)
        for kind in kinds:
            renewal = RENEWALS[kind]
            earlier = kinds[: kinds.index(kind)] if kind is Kind.METACAT else []
            about = {"variable": renewal.variable, "title": renewal.title, "every": renewal.every}
            about["after"] = "".join(f" {RENEWALS[other].unit}.service" for other in earlier)
            for ending in ("service", "timer"):
                texts[f"{renewal.unit}.{ending}"] = render(f"systemd/renew.{ending}.j2", **values, **about)
    except ValueError as error:
        raise ConfigError(f"{site_path}: {error}") from None
    texts[ENVIRONMENT_FILE] = render(
        "systemd/dune-prompt.env.j2",
        **values,
        kinds=[str(kind) for kind in kinds],
        proxy=proxy,
        token=token,
        token_options=f"--vaulttokenfile={credentials / 'vault.token'}",
        ticket=f"FILE:{credentials / 'krb5cc'}",
        commands=_commands(site, proxy, by_proxy=Kind.PROXY in kinds),
    )
    return texts


def this_program() -> list[str]:
    """The command of this installation, by its path: units have no PATH of ours."""
    script = Path(sys.executable).parent / "dune-prompt"
    return [str(script)] if script.exists() else [sys.executable, "-m", "dune_prompt"]


def _commands(site: Site, proxy: Path, *, by_proxy: bool) -> dict[str, str]:
    """First drafts of the commands that renew; the operator puts in certificates, keytabs and names of accounts."""
    from dune_prompt.settings.catalogs import MetacatSettings

    command = Path(sys.executable).parent / "metacat"
    login = [str(command) if command.exists() else "metacat"]
    for settings in site.catalogs:
        if isinstance(settings, MetacatSettings):
            login += ["-s", str(settings.url), *(["-a", str(settings.auth_url)] if settings.auth_url is not None else [])]
            login += ["auth", "login", "-m", *(["x509", "-c", str(proxy)] if by_proxy else ["token"]), settings.user or "ACCOUNT"]
    certificate = ["-cert", "/etc/dune-prompt/robot-cert.pem", "-key", "/etc/dune-prompt/robot-key.pem"]
    return {
        "proxy": shlex.join(
            ["voms-proxy-init", "-rfc", "-voms", "dune:/dune/Role=Production", *certificate, "-valid", "24:00", "-out", str(proxy)]
        ),
        "token": "htgettoken --vaultserver=htvaultprod.fnal.gov --issuer=dune --role=production",
        "metacat": shlex.join(login),
        "kerberos": "kinit -k -t /etc/dune-prompt/keytab ACCOUNT@CERN.CH",
    }


def _writable(site: Site, places: Sequence[Path | str]) -> list[str]:
    """Folders of this machine that the daemon writes to; all but the workspace may be absent at its start."""
    from dune_prompt.settings.paths import XROOTD

    folders = [site.buffer.path, *(str(stream.release.move_to) for stream in site.streams if stream.release.move_to is not None)]
    folders += [str(place) for place in places]
    local = [folder for folder in dict.fromkeys(folders) if not folder.startswith((XROOTD, *_NETWORK_FOLDERS))]
    if odd := next((folder for folder in (str(site.workspace), *local) if '"' in folder or "\\" in folder), None):
        raise ValueError(f"{odd!r} has a quote or a backslash in it: systemd's lists of paths cannot hold it")
    return [str(site.workspace), *(f"-{folder}" for folder in local)]


def _campaign_places(site: Site, site_path: Path) -> list[Path | str]:
    """The folders that campaigns put their outputs into."""
    from campaign.definition import load_campaigns

    if not any(stream.process for stream in site.streams):
        return []
    return [item.settings.outputs.place for item in load_campaigns(site, site_path) if item.settings.outputs.place is not None]


def _write(path: Path, text: str) -> None:
    """Write a unit; the environment file only if there is none, and so that nobody else reads it."""
    if path.name == ENVIRONMENT_FILE:
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            click.echo(f"{path}: is there already and stays as it is", err=True)
            return
    path.write_text(text, "utf-8")
    click.echo(str(path))
