"""What one check found: well, soon to end, or failed, and of which class the failure is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dune_prompt.errors import CLASS_OF_EXIT_CODE, ConfigError, DunePromptError, TransientError
from dune_prompt.state import State

FAILED_ALARM = "failed"

_EXIT_CODES = {name: code for code, name in CLASS_OF_EXIT_CODE.items()}


class Verdict(State):
    """How a check ended."""

    OK = "ok", "It works."
    SOON = "soon", "It works, but a credential ends soon and has to be renewed."
    WARNING = "warning", "It works, but what is set will not be enough."
    FAILED = "FAILED", "It does not work; the detail says why and what to do."


@dataclass(frozen=True, slots=True)
class Result:
    """One line of `dune-prompt check`.

    `expires_at` in seconds since the Unix epoch. `error_class` says for a failure whether waiting helps (transient) or a person has
    to act (configuration). `alarm` is what the event table is told while it lasts: `failed`, `expired`, `expires in 24 h`.
    """

    what: str
    verdict: Verdict
    detail: str
    owner: str | None = None
    expires_at: float | None = None
    renewed_by: str | None = None
    error_class: str | None = None
    alarm: str | None = None
    is_credential: bool = False

    @property
    def subject(self) -> str:
        """The name of the thing in the event table."""
        return f"{'credential' if self.is_credential else 'check'}:{self.what}"[:300]


def good(what: str, detail: str, *, owner: str | None = None, expires_at: float | None = None) -> Result:
    """Something that works."""
    return Result(what, Verdict.OK, detail, owner, expires_at)


def warned(what: str, detail: str) -> Result:
    """Something that works, but for which what is set will not be enough."""
    return Result(what, Verdict.WARNING, detail)


def failed(what: str, error: DunePromptError | OSError) -> Result:
    """Something that does not: `error` says why. What the operating system reports is a matter of waiting, unless it is a missing right."""
    if isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        error = ConfigError(text) if isinstance(error, PermissionError) else TransientError(text)
    return Result(what, Verdict.FAILED, str(error), error_class=error.error_class, alarm=FAILED_ALARM)


def exit_code(results: Iterable[Result]) -> int:
    """The exit code of the worst failure, 0 if nothing failed; what only ends soon has not failed."""
    failures = (result for result in results if result.verdict is Verdict.FAILED)
    return max((_EXIT_CODES.get(result.error_class or "", DunePromptError.exit_code) for result in failures), default=0)
