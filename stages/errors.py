"""What can go wrong around a stage: its input or its worker, not its data. Another try, maybe elsewhere, can work."""

from __future__ import annotations

from dune_prompt.errors import TransientError


class InputAwayError(TransientError):
    """The input can be read at none of its places."""

    error_class = "input"


class TimeLimitError(TransientError):
    """A program of the payload did not end in the time it is given."""

    error_class = "time_limit"


class SiteError(TransientError):
    """The worker or its site cannot do the job: no room, a missing program, no access."""

    error_class = "site"
