"""What a version is for: all its inputs, a trial, or nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dune_prompt.state import State


class Role(State):
    """What a campaign's version is there for."""

    FULL = "full", "processes all its inputs"
    CANARY = "canary", "is tried on a part of its inputs"
    PROMOTED = "promoted", "was tried, and processes all inputs that have come since"
    SUPERSEDED = "superseded", "finishes what came before another version was promoted"
    DROPPED = "dropped", "was tried and given up; it takes nothing more"


def role_of(stored: str, content: Mapping[str, Any]) -> Role:
    """The role of a version by its row in the ledger, where `content` is its campaign file.

    Whether a version begins as a canary is said in its file; what people decided about it later is in the ledger.
    """
    role = Role(stored)
    if role in (Role.FULL, Role.CANARY):
        return Role.CANARY if content.get("canary") else Role.FULL
    return role
