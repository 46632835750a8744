"""The quality flag: what a check, a plane, an element, a file and a run are judged as."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Flag(IntEnum):
    """Ordered by how bad it is; kept as this number. What was not judged is NULL, and never counts as good."""

    NULL = 0
    GOOD = 1
    MEDIUM = 2
    BAD = 3

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Flag.NULL: "not judged: no data, or no limit that applies",
    Flag.GOOD: "inside every limit",
    Flag.MEDIUM: "outside a warning limit: look when there is time",
    Flag.BAD: "outside an alarm limit: act",
}


def worst(flags: Iterable[Flag]) -> Flag:
    """The worst of `flags`; NULL of none. Anything judged outweighs what was not."""
    return max(flags, default=Flag.NULL)
