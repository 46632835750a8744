"""All that is looked for. What is missing comes first."""

from dashboard.alarms.rules import buffer, clocks, outside, quality, silence, work
from dashboard.alarms.rules.rule import Look, Rule

RULES: tuple[Rule, ...] = (*silence.RULES, *buffer.RULES, *outside.RULES, *work.RULES, *clocks.RULES, *quality.RULES)

__all__ = ["RULES", "Look", "Rule"]
