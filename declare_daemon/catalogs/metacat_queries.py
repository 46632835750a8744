"""Questions to MetaCat in its query language (MQL; grammar in `metacat/mql/grammar`), and the mark of how far a dataset was looked at.

MetaCat does not escape what it passes on to its database, so every name and value is checked here before it goes into a query.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dune_prompt.errors import ConfigError, DataError
from dune_prompt.records import MadeBy

# The DAQ's sidecars spell the first one, everybody else the second.
CAMPAIGN_KEYS = ("DUNE.campaign", "dune.campaign")
VERSION_KEY, STAGE_KEY = "core.application.version", "core.application.name"

NAME_IN_QUERY = re.compile(r"[A-Za-z0-9_./-]+:[A-Za-z0-9_./-]+")
PATTERN_IN_QUERY = re.compile(r"[A-Za-z0-9_./-]+:[A-Za-z0-9_.-]*\*?[A-Za-z0-9_.-]*")
VALUE_IN_QUERY = re.compile(r"[A-Za-z0-9_.+-]+")


def files_of(dataset: str, *, since: float | None = None) -> str:
    """The files of `dataset`, of those only that were declared `since`."""
    condition = "" if since is None else f' where created_timestamp >= "{datetime.fromtimestamp(since, UTC).isoformat()}"'
    return f"files from {name(dataset)}{condition}"


def undone(dataset: str, made_by: MadeBy, *, since: float | None = None) -> str:
    """The same files without those that have a child made so.

    It goes through the children of the dataset, so that its size decides how long this takes, and not that of the catalogue.
    """
    return _without_children(files_of(dataset, since=since), made_by)


def undone_of(datasets: Sequence[str], conditions: Sequence[str], made_by: MadeBy) -> str:
    """The files of all these datasets, of which a `*` may stand for any text, that fulfil all `conditions` and have no child made so."""
    where = f" where {' and '.join(conditions)}" if conditions else ""
    each = [f"files from {datasets_like(did) if '*' in did else name(did)}{where}" for did in datasets]
    return _without_children(each[0] if len(each) == 1 else f"union({', '.join(each)})", made_by)


def _without_children(files: str, made_by: MadeBy) -> str:
    campaign = " or ".join(f"{key} = {value(made_by.campaign)}" for key in CAMPAIGN_KEYS)
    made = f"({campaign}) and {VERSION_KEY} = {value(made_by.version)} and {STAGE_KEY} = {value(made_by.stage)}"
    return f"{files} - parents(children({files}) where {made})"


def datasets_like(pattern: str) -> str:
    """The datasets that fit a pattern with one `*`, and some more: `_` stands for any letter too."""
    if not PATTERN_IN_QUERY.fullmatch(pattern):
        raise ConfigError(f"metacat: datasets {pattern[:80]!r} cannot be asked for: letters, digits, '_', '.', '-', one '*'")
    return f"datasets matching {pattern.replace('*', '%')}"


def name(did: str) -> str:
    """A dataset's name in a query."""
    if not NAME_IN_QUERY.fullmatch(did):
        raise DataError(f"{did[:80]!r} is no name of a dataset in MetaCat")
    return did


def value(text: str) -> str:
    """A value in a query."""
    if not VALUE_IN_QUERY.fullmatch(text):
        raise ConfigError(f"metacat: {text[:80]!r} cannot be asked for: letters, digits, '_', '.', '+', '-' only")
    return f'"{text}"'


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a dataset was looked at: how many files it had, and how many of them were declared `since`."""

    files: int
    since: float
    lately: int

    @property
    def text(self) -> str:
        return f"{self.files}/{self.since:.3f}/{self.lately}"

    @classmethod
    def read(cls, text: str | None) -> Mark | None:
        """None for a mark that is not ours."""
        match (text or "").split("/"):
            case [files, since, lately]:
                return cls(int(files), float(since), int(lately))
        return None
