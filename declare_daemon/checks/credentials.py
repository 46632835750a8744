"""Looks at every credential: whose it is, when it ends, who renews it. Secrets are read, and never shown."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from declare_daemon.checks.expiry import EXPIRED, expiry_alarm
from declare_daemon.checks.kerberos import has_klist, read_keytab, read_ticket
from declare_daemon.checks.needs import Need, Surroundings, needs
from declare_daemon.checks.reading import Reading, problem_of_mode, read_text
from declare_daemon.checks.renewal import UNIT_FOLDERS, renewed_by
from declare_daemon.checks.result import FAILED_ALARM, Result, Verdict
from declare_daemon.checks.tokens import read_bearer, read_library, read_rucio
from declare_daemon.checks.x509 import read_x509
from dune_prompt.errors import ConfigError, DataError
from dune_prompt.settings import Site

_TITLES = {
    "x509": "X.509",
    "bearer": "bearer token",
    "library": "MetaCat token",
    "password": "password",
    "rucio": "Rucio token",
    "ticket": "Kerberos ticket",
    "keytab": "keytab",
    "vault": "vault token",
}


def check_credentials(
    site: Site, around: Surroundings | None = None, *, now: float | None = None, unit_folders: Iterable[Path] = UNIT_FOLDERS
) -> list[Result]:
    """A result for each credential that is needed or lies there. Never raises for what is wrong with one of them."""
    around = around or Surroundings.here()
    at, folders = time.time() if now is None else now, tuple(unit_folders)
    results = [_check(need, around, at, folders) for need in needs(site, around)]
    return [result for result in results if result is not None]


def _check(need: Need, around: Surroundings, now: float, unit_folders: Iterable[Path]) -> Result | None:
    what = f"{_TITLES[need.form]} {need.url or need.path}"
    if need.form == "ticket" and not (has_klist(around.environment) and _has_cache(need, around)):
        return None  # a mount with another kind of login; the mounts themselves are tried elsewhere
    renewer = renewed_by(need.kind, unit_folders)
    try:
        reading = _read(need, around, now)
    except OSError as error:
        reading = Reading("", problem=f"{error.filename or need.path}: {error.strerror}")
    except (DataError, ConfigError) as error:
        reading = Reading("", problem=str(error))
    return result_of(what, need, reading, now, renewer)


def result_of(what: str, need: Need, reading: Reading, now: float, renewer: str) -> Result:
    """The verdict on a credential: failed if it is needed and of no use, soon if its end is near."""
    end, start = reading.expires_at, reading.issued_at
    lifetime_s = end - start if end is not None and start is not None else None
    level = expiry_alarm(end, now, lifetime_s) if end is not None else None
    if reading.problem is not None:
        verdict, detail, alarm = Verdict.FAILED, reading.problem, FAILED_ALARM
    elif level is not None:
        verdict = Verdict.FAILED if level == EXPIRED else Verdict.SOON
        detail, alarm = f"{level}: {reading.detail}", level
    else:
        verdict, detail, alarm = Verdict.OK, reading.detail, None
    if need.needed_by:
        detail += f" (for {', '.join(need.needed_by)})"
    else:
        # It may be anybody's leftover: shown, and no reason to worry.
        verdict, detail, alarm = Verdict.OK, f"{detail} (not needed here)", None
    return Result(
        what,
        verdict,
        detail,
        owner=reading.owner,
        expires_at=end,
        renewed_by=renewer,
        error_class=ConfigError.error_class if verdict is Verdict.FAILED else None,
        alarm=alarm,
        is_credential=True,
    )


def _has_cache(need: Need, around: Surroundings) -> bool:
    """KRB5CCNAME says that there is to be a ticket; without it one may be there."""
    return "KRB5CCNAME" in around.environment or need.path.exists()


def _read(need: Need, around: Surroundings, now: float) -> Reading:
    match need.form:
        case "x509":
            return read_x509(need.path, key=need.key)
        case "bearer":
            return read_bearer(need.path)
        case "library":
            return read_library(need.path, need.url)
        case "rucio":
            return read_rucio(need.path)
        case "ticket":
            return read_ticket(around.environment)
        case "keytab":
            return read_keytab(need.path, around.environment)
        case "password":
            problem = None if read_text(need.path).strip() else f"{need.path} is empty"
            return Reading("password", problem=problem or problem_of_mode(need.path))
        case "vault":
            # Opaque: only its age can be told.
            written = need.path.stat().st_mtime
            age_d = max(0.0, now - written) / 86400
            since = datetime.fromtimestamp(written, UTC).strftime("%Y-%m-%d")
            return Reading(f"written {since}, {age_d:.1f} d old; it does not tell its end", problem=problem_of_mode(need.path))
