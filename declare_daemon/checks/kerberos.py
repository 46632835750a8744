"""Reads the Kerberos ticket cache and keytabs with the command `klist` (MIT Kerberos, as on CERN's and Fermilab's hosts)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from declare_daemon.checks.reading import Reading, problem_of_mode
from dune_prompt.errors import CommandError, ConfigError, DataError
from dune_prompt.process import run

_TIME = r"(\d\d/\d\d/(?:\d{4}|\d\d) \d\d:\d\d:\d\d)"
_TICKET = re.compile(rf"^\s*{_TIME}\s+{_TIME}\s+krbtgt/", re.MULTILINE)
_RENEWABLE = re.compile(rf"renew until {_TIME}")
_PRINCIPAL = re.compile(r"^Default principal:\s*(\S+)", re.MULTILINE)
_KEY = re.compile(r"^\s*\d+\s+(?:\d\S* \S+ )?(\S+@\S+)", re.MULTILINE)


def has_klist(environment: Mapping[str, str]) -> bool:
    """Whether tickets can be looked at here."""
    return shutil.which("klist", path=environment.get("PATH")) is not None


def read_ticket(environment: Mapping[str, str]) -> Reading:
    """The ticket-granting ticket of the cache that KRB5CCNAME (or the system) names.

    Raises:
        DataError: there is none. ConfigError: `klist` is not installed.
    """
    text = _klist(environment, "no Kerberos ticket: run kinit")
    principal, ticket = _PRINCIPAL.search(text), _TICKET.search(text)
    if ticket is None:
        raise DataError("no Kerberos ticket-granting ticket in the cache: run kinit")
    renewable = _RENEWABLE.search(text, ticket.end())
    until = f", renewable until {_seconds_text(renewable[1])}" if renewable else ""
    return Reading(
        detail=f"ticket{until}",
        owner=principal[1] if principal else None,
        issued_at=_seconds(ticket[1]),
        expires_at=_seconds(ticket[2]),
    )


def read_keytab(path: Path, environment: Mapping[str, str]) -> Reading:
    """The principals of a keytab. It has no end of its own: its keys are good until the account's password is changed.

    Raises:
        DataError: there is no key in it. ConfigError: `klist` is not installed. OSError passes.
    """
    problem = problem_of_mode(path)
    text = _klist(environment, f"{path}: klist cannot read this keytab", "-k", str(path))
    principals = sorted(set(_KEY.findall(text)))
    if not principals:
        raise DataError(f"{path}: no key in this keytab")
    return Reading(detail="keytab, good until the password is changed", owner=", ".join(principals), problem=problem)


def _klist(environment: Mapping[str, str], otherwise: str, *arguments: str) -> str:
    """The output of `klist`, with times as one form in UTC."""
    program = shutil.which("klist", path=environment.get("PATH", os.defpath))
    if program is None:
        raise ConfigError("klist is not installed or not on the PATH")
    try:
        return run((program, *arguments), timeout_s=10, env={**environment, "LC_ALL": "C", "TZ": "UTC"}).stdout
    except CommandError:
        raise DataError(otherwise) from None


def _seconds(text: str) -> float:
    year = "%Y" if len(text.split()[0]) == len("11/25/2026") else "%y"
    return datetime.strptime(text, f"%m/%d/{year} %H:%M:%S").replace(tzinfo=UTC).timestamp()


def _seconds_text(text: str) -> str:
    return datetime.fromtimestamp(_seconds(text), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
