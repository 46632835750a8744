"""Runs checks side by side: a mount or a server that hangs becomes a finding, not a command that never ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread

from declare_daemon.checks.result import Result, failed
from dune_prompt.errors import DunePromptError, TransientError

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Group:
    """Checks that are made one after another. `name` stands for all of them when they do not end."""

    name: str
    run: Callable[[], Sequence[Result]]


def survey(groups: Sequence[Group], *, patience_s: float = PATIENCE_S) -> list[Result]:
    """The results of all groups, in their order. A group that has not ended after `patience_s` seconds is one failure."""
    found: dict[int, Sequence[Result]] = {}
    # Daemon threads: one that is stuck in a dead mount must not keep the process.
    threads = [Thread(target=_collect, args=(found, number, group), daemon=True, name=group.name) for number, group in enumerate(groups)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience_s
    results: list[Result] = []
    for number, (group, thread) in enumerate(zip(groups, threads, strict=True)):
        thread.join(max(0.0, deadline - time.monotonic()))
        silent = failed(group.name, TransientError(f"no answer within {patience_s:g} s"))
        results += found.get(number, [silent])
    return results


def _collect(found: dict[int, Sequence[Result]], number: int, group: Group) -> None:
    try:
        found[number] = group.run()
    except (DunePromptError, OSError) as error:
        found[number] = [failed(group.name, error)]
    except Exception as error:  # noqa: BLE001 - a client library that raises anything else is a finding too, not the end of the survey
        found[number] = [failed(group.name, DunePromptError(f"{type(error).__name__}: {str(error)[:300]}"))]
