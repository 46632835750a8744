"""Who renews a credential: a systemd timer of ours for each kind that does not last, or nobody we know of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dune_prompt.state import State

UNIT_FOLDERS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"), Path("~/.config/systemd/user").expanduser())


class Kind(State):
    """What is renewed, and how."""

    PROXY = "proxy", "An X.509 proxy, made from a certificate."
    TOKEN = "token", "A bearer token (SciToken), from a vault."
    METACAT = "metacat", "The token in MetaCat's library, by logging in."
    KERBEROS = "kerberos", "A Kerberos ticket, from a keytab."
    CERTIFICATE = "certificate", "A certificate: a person requests a new one."
    SELF = "self", "Its client renews it by itself."


@dataclass(frozen=True, slots=True)
class Renewal:
    """How a kind of credential is renewed: the command is in `variable` of the environment file, `every` is the timer's period."""

    kind: Kind
    variable: str
    title: str
    every: str
    program: str

    @property
    def unit(self) -> str:
        """The name of its timer and service, without the ending."""
        return f"dune-prompt-renew-{self.kind}"


RENEWALS = {
    renewal.kind: renewal
    for renewal in (
        Renewal(Kind.PROXY, "RENEW_PROXY", "X.509 proxy", "6h", "voms-proxy-init"),
        Renewal(Kind.TOKEN, "RENEW_TOKEN", "bearer token", "1h", "htgettoken"),
        Renewal(Kind.METACAT, "RENEW_METACAT", "MetaCat token", "24h", "metacat auth login"),
        Renewal(Kind.KERBEROS, "RENEW_KERBEROS", "Kerberos ticket", "6h", "kinit"),
    )
}


def renewed_by(kind: Kind, folders: Iterable[Path] = UNIT_FOLDERS) -> str:
    """Who renews a credential of this kind, or what to do since nobody does."""
    if kind is Kind.SELF:
        return "its client"
    if kind is Kind.CERTIFICATE:
        return "a person"
    renewal = RENEWALS[kind]
    timer = f"{renewal.unit}.timer"
    return timer if any((folder / timer).exists() for folder in folders) else f"nobody known: run {renewal.program}"
