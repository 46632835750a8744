"""A command of an operator: a name, its arguments, and what it does with an engine that holds the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from campaign.engine import Engine


class Arguments(BaseModel):
    """What a command is told. With `dry_run` it says what it would do and changes nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: str = Field("operator", min_length=1, max_length=100, description="who asks")
    dry_run: bool = False


# A table: one dict a row, all with the same keys.
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Command:
    """`run(engine, arguments, now)` does it and returns what it did, as rows of a table; `run_alone` in a process of its own.

    Raises what `run` raises: ConfigError when the arguments make no sense here, TransientError when something is away.
    """

    name: str
    arguments: type[Arguments]
    run: Callable[[Engine, Any, float], Rows]
    run_alone: Callable[[Engine, Any, float], Rows] | None = None
