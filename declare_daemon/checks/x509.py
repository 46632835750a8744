"""Reads X.509 certificates and proxies with the command `openssl`: subject, and the time all of them are good for."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from declare_daemon.checks.reading import Reading, problem_of_mode, read_text
from dune_prompt.errors import CommandError, DataError
from dune_prompt.process import run

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# The last parts of a proxy's subject: RFC 3820 proxies end in a number.
_PROXY = re.compile(r"(/CN=(\d+|proxy|limited proxy))+$")


def read_x509(path: Path, *, key: Path | None = None) -> Reading:
    """The certificate or proxy in `path` (PEM); a chain ends when the first of its certificates ends. `key` is a key file of its own.

    Raises:
        DataError: there is no certificate in it. ConfigError: `openssl` is not installed. OSError passes.
    """
    text = read_text(path)
    blocks = _CERTIFICATE.findall(text)
    if not blocks:
        raise DataError(f"{path}: no PEM certificate in it")
    certificates = [_certificate(path, block) for block in blocks]
    subject, issued_at, _ = certificates[0]
    owner = _PROXY.sub("", subject)
    if key is not None:
        read_text(key)
    private = key if key is not None else path if "PRIVATE KEY-----" in text else None
    return Reading(
        owner=owner,
        issued_at=issued_at,
        expires_at=min(end for _, _, end in certificates),
        detail="proxy" if owner != subject else "certificate",
        problem=problem_of_mode(private) if private is not None else "there is no private key in it" if owner != subject else None,
    )


def _certificate(path: Path, block: str) -> tuple[str, float, float]:
    """Subject, start and end of one certificate."""
    command = ("openssl", "x509", "-noout", "-subject", "-startdate", "-enddate", "-nameopt", "compat")
    try:
        lines = run(command, timeout_s=10, stdin=block).stdout.splitlines()
    except CommandError:
        raise DataError(f"{path}: openssl cannot read the certificate in it") from None
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    try:
        subject = values["subject"].strip()
        return subject, float(ssl.cert_time_to_seconds(values["notBefore"])), float(ssl.cert_time_to_seconds(values["notAfter"]))
    except (KeyError, ValueError):
        raise DataError(f"{path}: openssl's answer about the certificate in it is not understood") from None
