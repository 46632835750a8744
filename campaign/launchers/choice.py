"""Which of several batch systems gets the next jobs: the first in order that is not out. A pure decision, told in words.

A batch system is out after some submissions refused in a row, or when it is silent for too long; the next one takes over. It is back when
it has answered without a failure for a minute; after refusals it must also have taken a trial: one submission a minute after the last
refusal, the next ones after twice as long each, up to ten minutes. Where nobody else can take jobs, one that answers again gets them at
once: no slot should idle for the sake of trust. Whoever is out keeps the jobs it has.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from campaign.launchers.health import Health
    from dune_prompt.settings.launchers import LauncherSettings

FIRST_TRIAL_S = 60.0
LONGEST_TRIAL_S = 600.0
# Nobody is out for a shorter time, and not trusted again before all questions were answered for so long.
STEADY_S = 60.0


@dataclass(frozen=True, slots=True)
class LauncherState:
    """A batch system as the choice sees it. Times in seconds since the Unix epoch, the other fields as in `Health`.

    `out_after` refused submissions in a row or `silent_after` seconds without an answer put it out (None: it is never out). `out_since` is
    what the last choice said; it is handed back to the next one, also by another process.
    """

    name: str
    out_after: int | None
    silent_after: float
    refused_in_a_row: int = 0
    refused_at: float | None = None
    answered_at: float | None = None
    unanswered_since: float | None = None
    answering_since: float | None = None
    pending: int = 0
    out_since: float | None = None
    last_error: str | None = None

    @classmethod
    def of(cls, settings: LauncherSettings, out_since: float | None = None) -> LauncherState:
        """A batch system of the site file; `out_since` is what was kept of it."""
        if settings.kind == "local":
            return cls(settings.kind, None, 0.0)
        return cls(settings.kind, settings.out_after, settings.silent_after, out_since=out_since)

    def seen(self, health: Health) -> LauncherState:
        """The state with what its thread has seen meanwhile."""
        return replace(
            self,
            refused_in_a_row=health.refused_in_a_row,
            refused_at=health.refused_at,
            answered_at=health.answered_at,
            unanswered_since=health.unanswered_since,
            answering_since=health.answering_since,
            pending=health.pending,
            last_error=health.last_error,
        )

    @property
    def refuses(self) -> bool:
        """It has refused so often that only a trial can tell that it takes jobs again."""
        return self.out_after is not None and self.refused_in_a_row >= self.out_after

    def is_silent(self, now: float) -> bool:
        """A question has had no answer for too long."""
        return self.out_after is not None and self.unanswered_since is not None and now - self.unanswered_since > self.silent_after

    def trial_at(self, now: float) -> float:
        """When the next trial is due, of one that `refuses`: a while after the last refusal; after a restart only `out_since` is known."""
        trials = self.refused_in_a_row - (self.out_after or 0)
        since = self.refused_at if self.refused_at is not None and self.refused_at <= now else self.out_since or now
        return since + min(FIRST_TRIAL_S * 2.0 ** min(trials, 10), LONGEST_TRIAL_S)

    def steady_s(self, now: float) -> float:
        """For how long it is out and has answered everything."""
        if self.answering_since is None or self.out_since is None:
            return 0.0
        return now - max(self.out_since, self.answering_since if self.answering_since <= now else self.out_since)


@dataclass(frozen=True, slots=True)
class Choice:
    """`name` gets the next jobs (None: nobody can, tasks wait). With `trial`, it is out and gets one small submission; then choose again.

    `launchers` are the states with their new `out_since`, to be kept for the next choice.
    """

    name: str | None
    reason: str
    trial: bool
    launchers: tuple[LauncherState, ...]


def choose(launchers: Sequence[LauncherState], now: float) -> Choice:
    """The launcher for the next jobs. The same states and time always give the same choice."""
    judged = tuple(_judge(launcher, now) for launcher in launchers)
    before: list[str] = []
    for launcher in judged:
        if launcher.out_since is None:
            reason = f"{launcher.name} takes over" if before else f"{launcher.name} takes jobs"
            return Choice(launcher.name, "; ".join([*before, reason]), False, judged)
        if _trial_is_due(launcher, now):
            reason = f"{words(launcher, now)}; it gets one submission to see whether it takes jobs again"
            return Choice(launcher.name, "; ".join([*before, reason]), True, judged)
        before.append(words(launcher, now))
    for launcher in judged:
        if _is_worth_a_try(launcher, now):
            reason = f"{launcher.name} answers, and nobody else can take jobs: it gets them though it is not trusted yet"
            return Choice(launcher.name, "; ".join([*before, reason]), launcher.refuses, judged)
    return Choice(None, "; ".join([*before, "tasks wait until one is back"]), False, judged)


def words(launcher: LauncherState, now: float) -> str:
    """How the launcher is, in a sentence's part: "htcondor is out since 12:03: the queue does not answer"."""
    if launcher.out_since is None:
        return f"{launcher.name} takes jobs"
    out = f"{launcher.name} is out since {_clock(launcher.out_since, now)}"
    error = f" ({launcher.last_error})" if launcher.last_error else ""
    if launcher.is_silent(now) or (launcher.answering_since is None and not launcher.refuses):
        return f"{out}: it does not answer{error}"
    if launcher.refuses:
        trial = "a trial is under way" if launcher.pending else f"next trial at {_clock(max(launcher.trial_at(now), now), now)}"
        return f"{out}: it refused {launcher.refused_in_a_row} submissions in a row{error}, {trial}"
    return f"{out}: it answers again, for {launcher.steady_s(now):.0f} s of the {STEADY_S:.0f} s after which it is trusted"


def _judge(launcher: LauncherState, now: float) -> LauncherState:
    """The state with `out_since` set or taken away."""
    if launcher.out_after is None:
        return replace(launcher, out_since=None)
    if launcher.out_since is None:
        return replace(launcher, out_since=now) if launcher.refuses or launcher.is_silent(now) else launcher
    launcher = replace(launcher, out_since=min(launcher.out_since, now))  # the clock may have been set back
    back = not launcher.refuses and not launcher.is_silent(now) and launcher.steady_s(now) >= STEADY_S
    return replace(launcher, out_since=None) if back else launcher


def _is_worth_a_try(launcher: LauncherState, now: float) -> bool:
    """Whether one that is out may be used when all are: it answers, and has not refused anything since it does."""
    if launcher.answering_since is None or launcher.pending or launcher.is_silent(now):
        return False
    return not launcher.refuses or (launcher.refused_at is not None and launcher.answering_since > launcher.refused_at)


def _trial_is_due(launcher: LauncherState, now: float) -> bool:
    return launcher.refuses and not launcher.pending and not launcher.is_silent(now) and now >= launcher.trial_at(now)


def _clock(at: float, now: float) -> str:
    """Time of day in UTC, with the date when it is another day."""
    day, today = (time.strftime("%Y-%m-%d", time.gmtime(moment)) for moment in (at, now))
    return time.strftime("%H:%M" if day == today else "%Y-%m-%d %H:%M", time.gmtime(at)) + " UTC"
