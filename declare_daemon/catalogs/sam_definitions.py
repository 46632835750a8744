"""SAM's dataset definitions: queries under names, of which POMS is told.

SAM never changes the query of a name, and keeps what a project has used: a definition is replaced by giving its name to a new one, and
another name to the old one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from declare_daemon.catalogs.http import Refusal, shortened
from declare_daemon.catalogs.protocol import Missing
from declare_daemon.catalogs.sam_clients import Form, SamClient
from dune_prompt.errors import ConfigError, ConflictError, TransientError

# How the description of a definition begins that is ours to replace.
OURS = "dune-prompt:"


class SamDefinitions:
    """Implements `NamedQueries`; the texts are dimensions. `count` asks SAM how many files they find."""

    def __init__(self, client: SamClient, count: Callable[[str], int]) -> None:
        self._client, self._count = client, count

    def text(self, name: str) -> str | None:
        """The dimensions of a definition; None if there is none of this name."""
        form = self._described(name)
        return None if form is None else str(form["dimensions"])

    def missing(self, name: str, text: str, *, replace: bool = False) -> Missing:
        """As the protocol says; a definition is ours if its description begins as we write it."""
        form = self._described(name)
        if form is None:
            return "all"
        if _one_line(form["dimensions"]) == _one_line(text):
            return "nothing"
        whose = "ours" if str(form.get("description") or "").startswith(OURS) else f"{form.get('username') or 'somebody'}'s"
        if replace and whose == "ours":
            return "change"
        raise ConflictError(
            f"SAM: definition {name} is {whose} and has other dimensions: {shortened(form['dimensions'])!r}; "
            f"wanted: {shortened(text)!r}; have it renamed (`samweb modify-definition --defname=… {name}`)"
        )

    def define(self, name: str, text: str, *, replace: bool = False) -> Missing:
        """As the protocol says. One that is replaced is renamed `<name>_until_<time>` first: POMS and projects that have used it refer
        to it still.

        Raises:
            ConflictError: as `missing` says.
            ConfigError: SAM does not understand the dimensions (then nothing was changed), or takes no such name.
        """
        missing = self.missing(name, text, replace=replace)
        if missing == "nothing":
            return missing
        # SAM has to understand the new one before the old one is touched.
        self._count(text)
        if missing == "change":
            self._rename(name)
        try:
            self._client.define(name, text, f"{OURS} {name}")
        except Refusal as refusal:
            # A name that is taken may have been taken by ourselves, a moment ago.
            if refusal.status != 409:
                raise ConfigError(f"SAM: takes no definition {name}: {refusal}") from None
        if self.missing(name, text) != "nothing":
            raise TransientError(f"SAM: accepted the definition {name} but does not show it")
        return missing

    def _rename(self, name: str) -> None:
        old = f"{name}_until_{datetime.now(UTC):%Y%m%dT%H%M%S}"
        try:
            self._client.rename_definition(name, old)
        except Refusal as refusal:
            raise TransientError(f"SAM: renaming the definition {name} {old}: {refusal}") from None

    def _described(self, name: str) -> Form | None:
        try:
            return self._client.definition(name)
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise ConfigError(f"SAM: does not describe the definition {name}: {refusal}") from None


def _one_line(text: object) -> str:
    """Dimensions without the line breaks and blanks that make no difference in them."""
    return " ".join(str(text).split())
