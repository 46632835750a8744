"""What a rule finds: something that is wrong or missing now."""

from __future__ import annotations

from dataclasses import dataclass

from dune_prompt.settings.alarms import RuleName
from dune_prompt.state import State

_MOST_SUBJECT = 280


class Severity(State):
    """How soon somebody has to look."""

    WARNING = "warning", "look when there is time: it will cost data or time if it stays"
    ALARM = "alarm", "act now"


@dataclass(frozen=True, slots=True)
class Finding:
    """`rule` holds for `subject`; `message` says what is so, in numbers. `link` is a path in the dashboard where more can be seen.

    What it means and what to do is said once, by the rule.
    """

    rule: RuleName
    subject: str
    severity: Severity
    message: str
    link: str

    @property
    def key(self) -> str:
        """Two findings with one key are the same thing, seen twice."""
        return f"{self.rule}:{self.subject[:_MOST_SUBJECT]}"
