"""What a rule is, and what it is given to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from dashboard.alarms.finding import Finding
from dashboard.operations.snapshot import Operations
from dune_prompt.settings import Site
from dune_prompt.settings.alarms import RuleName


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything. Times in seconds since the Unix epoch.

    `read` gives the numbers of the operations page, `decided_at` is when the engine was last seen to decide something, `watching_since`
    when this process began to look.
    """

    now: float
    site: Site
    read: Callable[[], Operations]
    decided_at: float
    watching_since: float

    @property
    def operations(self) -> Operations:
        """The numbers of the operations page; a rule that does not ask for them works without."""
        return self.read()


# Gets the limit from the site file, which is never null here.
Find = Callable[[sa.Connection, Look, float], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is looked for: in words, what it means when it is found, what to do then, and its limit as people read it."""

    name: RuleName
    words: str
    means: str
    do: str
    limit: Callable[[float], str]
    find: Find
