"""Reads tokens without verifying them: bearer tokens (SciTokens, WLCG), MetaCat's token library, Rucio's token.

Formats: JSON Web Token RFC 7519; MetaCat `common/token_lib.py` (lines `URL TOKEN`); Rucio `client/baseclient.py`.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from declare_daemon.checks.reading import Reading, problem_of_mode, read_text
from dune_prompt.errors import DataError


def claims_of(token: str, where: str) -> dict[str, Any]:
    """The claims of a JSON Web Token; its signature is the servers' business.

    Raises:
        DataError: it is none.
    """
    parts = token.strip().split(".")
    try:
        if len(parts) != 3:
            raise ValueError
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        if not isinstance(claims, dict):
            raise ValueError
    except (ValueError, binascii.Error, RecursionError):
        raise DataError(f"{where}: not a JSON Web Token") from None
    return claims


def reading_of(claims: dict[str, Any], detail: str = "token") -> Reading:
    """What the claims say; `sub` is whose it is, `iss` who made it, `scope` what it allows."""
    issued = _time(claims.get("iat")) or _time(claims.get("nbf"))
    about = [detail]
    about += [f"from {claims['iss']}"] if isinstance(claims.get("iss"), str) else []
    about += [f"scope {str(claims['scope'])[:120]}"] if claims.get("scope") else []
    subject = claims.get("sub")
    return Reading(
        detail=", ".join(about),
        owner=str(subject) if subject is not None else None,
        issued_at=issued,
        expires_at=_time(claims.get("exp")),
    )


def _time(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_bearer(path: Path) -> Reading:
    """The bearer token in `path`.

    Raises:
        DataError: there is none in it. OSError passes.
    """
    reading = reading_of(claims_of(read_text(path), str(path)), "bearer token")
    return _with_problem(reading, problem_of_mode(path))


def read_library(path: Path, url: str) -> Reading:
    """The token for the server `url` in MetaCat's library `path`.

    Raises:
        DataError: there is none. OSError passes.
    """
    urls = []
    for line in read_text(path).splitlines():
        where, _, token = line.strip().partition(" ")
        if where.rstrip("/") == url.rstrip("/"):
            return _with_problem(reading_of(claims_of(token, f"{path}: {url}"), "MetaCat token"), problem_of_mode(path))
        # Only what is an address is shown: in a broken file a token may stand in its place.
        urls += [where] if where.startswith(("http://", "https://")) else []
    known = f"; it has tokens for {', '.join(urls)}" if urls else ""
    raise DataError(f"{path}: no token for {url} in it{known}: run metacat auth login")


def read_rucio(path: Path) -> Reading:
    """The token that rucio-clients keeps; only one from OpenID Connect tells its owner and end, the client renews the others by itself."""
    text = read_text(path)
    try:
        reading = reading_of(claims_of(text, str(path)), "Rucio token")
    except DataError:
        return Reading("Rucio session, renewed at need", problem=problem_of_mode(path))
    return _with_problem(reading, problem_of_mode(path))


def _with_problem(reading: Reading, problem: str | None) -> Reading:
    return Reading(reading.detail, reading.owner, reading.issued_at, reading.expires_at, problem)
