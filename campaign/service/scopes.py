"""What a token may do, a sentence each."""

from __future__ import annotations

from dune_prompt.state import State


class Scope(State):
    """One thing a token may do."""

    OPERATE = "operate", "give commands (retry, redo, exclude, pause and the like), and speak for any attempt"
    QUALITY = "quality", "set references and limits of data quality, flag runs, comment on them"
    ALARMS = "alarms", "acknowledge and clear alarms"
    UPLOAD = "upload", "upload any data-quality record"
    LAUNCH = "launch", "fetch slices, and say what became of them: what `dune-prompt launch` does"
    TOKENS = "tokens", "see which tokens there are; no token but the operator's has it"


# What a named token can be given.
GRANTABLE = tuple(scope for scope in Scope if scope is not Scope.TOKENS)
