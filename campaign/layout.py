"""The stage graph: which steps a layout has, which stages each walks, and when outputs are sealed.

A *step* is what one task and one job does: the whole chain (fused), or one stage (staged).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dune_prompt.records import StageReport
from stages.stage import STAGES

CHAIN = "chain"
ALL_STAGES = tuple(STAGES)


@dataclass(frozen=True, slots=True)
class Step:
    """One task's part of the work. `after` is the step that must be done before."""

    name: str
    stages: tuple[str, ...]
    after: str | None = None


def steps_of(layout: Literal["fused", "staged"] | str) -> tuple[Step, ...]:
    """The steps of a layout, in order."""
    if layout == "fused":
        return (Step(CHAIN, ALL_STAGES),)
    return tuple(Step(stage, (stage,), after=ALL_STAGES[i - 1] if i else None) for i, stage in enumerate(ALL_STAGES))


def last_step(layout: str) -> str:
    """The step whose end means that the input is processed."""
    return steps_of(layout)[-1].name


def sealed_stages(assigned: Sequence[str], reports: Sequence[StageReport]) -> tuple[str, ...]:
    """The stages of an attempt that count for good, so that a retry starts after them. `assigned` are those it was to walk.

    All of them when all went well. Otherwise those up to `declare`, which seals the payload's outputs: the record of `evaluate` is
    sealed by the end of the chain only. A chain that broke after `declare` starts again with `evaluate`, one that broke before starts
    from the beginning.
    """
    ok = tuple(report.name for report in reports if report.state == "ok")
    if ok == tuple(assigned):
        return ok
    return ok[: ok.index("declare") + 1] if "declare" in ok else ()


def made_again_with(stage: str) -> tuple[str, ...]:
    """The stages to do again when the declared output of `stage` is gone: it, what sealed it, and what showed it."""
    return {"nf_sp": ("nf_sp", "declare"), "evaluate": ("evaluate", "dqm_upload")}[stage]
