"""Tries each catalogue: whether it answers, who we are there, and whether we may declare what will be declared."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial

from declare_daemon.catalogs import open_catalogs
from declare_daemon.catalogs.protocol import Catalog, Finding, Wanted
from declare_daemon.checks.result import FAILED_ALARM, Result, Verdict, failed
from declare_daemon.checks.survey import Group
from declare_daemon.root_attributes import RUN_TYPES
from dune_prompt.errors import ConfigError, DunePromptError, TransientError
from dune_prompt.settings import Site

# The part of a raw file's name after its detector, and the data tier it stands for (DUNE-DAQ rawdatautils, createMetadataFilesForDataN.sh).
_TIERS = {"raw": "raw", "tp": "trigprim"}


def raw_wanted(site: Site) -> list[Wanted]:
    """What the daemon will declare of the buffer's files: the run type and data tier that the patterns of declared streams stand for.

    A pattern that does not begin with a detector's name stands for none: the files tell only when they are there.
    """
    wanted = []
    for stream in site.streams:
        literal = stream.pattern[: next((i for i, letter in enumerate(stream.pattern) if letter in "*?["), len(stream.pattern))]
        for detector, run_type in RUN_TYPES.items():
            for part, tier in _TIERS.items():
                prefix = f"{detector}_{part}_"
                if stream.declare_ and literal and (prefix.startswith(literal) or literal.startswith(prefix)):
                    namespace = str(stream.where.get("core.run_type", run_type))
                    wanted.append(Wanted(namespace, str(stream.where.get("core.data_tier", tier))))
    return list(dict.fromkeys(wanted))


def catalog_groups(site: Site, wanted: Sequence[Wanted]) -> list[Group]:
    """Checks of each catalogue of the site, on its own: one that hangs, or whose client is missing, does not stop the others."""
    return [
        Group(f"catalog {settings.kind}", partial(_open_and_check, site.model_copy(update={"catalogs": (settings,)}), wanted))
        for settings in site.catalogs
    ]


def _open_and_check(site: Site, wanted: Sequence[Wanted]) -> list[Result]:
    (settings,) = site.catalogs
    if settings.kind == "embedded" and not site.workspace.is_dir():
        raise ConfigError(f"{site.workspace}: there is no such folder, so it was not tried")
    with closing(open_catalogs(site)) as catalogs:
        return [result for catalog in catalogs.all for part in catalog.parts for result in check_catalog(part, wanted)]


def check_catalog(catalog: Catalog, wanted: Sequence[Wanted]) -> list[Result]:
    """Whether it answers and, if so, what it found when we tried our rights.

    A catalogue that answers and refuses is a matter of configuration; one that does not answer has to be waited for.
    """
    what = f"catalog {catalog.name}"
    try:
        catalog.ping()
    except (DunePromptError, OSError) as error:
        return [failed(what, error)]
    findings = catalog.check(wanted)
    if not findings:
        return [failed(what, TransientError("it answers, but what we may do there could not be found out"))]
    return [_result(what, finding) for finding in findings]


def _result(what: str, finding: Finding) -> Result:
    """Its own client renews what it logged in with; the credentials that it does that with have results of their own."""
    return Result(
        f"{what}: {finding.what}",
        Verdict.OK if finding.ok else Verdict.FAILED,
        finding.detail,
        owner=finding.owner,
        expires_at=finding.expires_at,
        error_class=None if finding.ok else ConfigError.error_class,
        alarm=None if finding.ok else FAILED_ALARM,
    )
