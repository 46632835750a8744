"""The settings of the payload `command`, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from dune_prompt.errors import ConfigError
from stages.nf_sp.program import timeout_of

WHERE = "stages.nf_sp.command"
PLACEHOLDERS = ("input", "output", "report", "detector", "gain", "cpus")
_WHAT = re.compile(r"[a-z0-9_]{1,40}")
_PATTERN = re.compile(r"[A-Za-z0-9_.*?+-]{1,100}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """The program and its arguments (with placeholders), what it makes (`what` → pattern of the file's name), variables, and a limit."""

    run: tuple[str, ...]
    outputs: Mapping[str, str]
    environment: Mapping[str, str]
    timeout_s: float

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> CommandSettings:
        """Read the part `command` of the settings of `nf_sp`.

        Raises:
            ConfigError: something is missing or not allowed.
        """
        own = settings.get("command")
        if not isinstance(own, Mapping):
            raise ConfigError(f"{WHERE}: payload command needs run (the program and its arguments) and outputs")
        run, outputs, environment = own.get("run"), own.get("outputs"), own.get("environment") or {}
        if not isinstance(run, list | tuple) or not run or not all(isinstance(part, str) and part for part in run):
            raise ConfigError(f"{WHERE}.run {run!r}: a list of the program and its arguments")
        for part in run:
            _check_placeholders(part)
        if not isinstance(outputs, Mapping) or not outputs:
            raise ConfigError(f"{WHERE}.outputs {outputs!r}: at least one, such as reco: 'reco_*.root'")
        for what, pattern in outputs.items():
            if not isinstance(what, str) or not _WHAT.fullmatch(what) or what == "quality":
                raise ConfigError(f"{WHERE}.outputs {what!r}: lower-case letters, digits and _, not quality")
            if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
                raise ConfigError(f"{WHERE}.outputs.{what} {pattern!r}: a file name, with * and ? for what varies, without folders")
        if not isinstance(environment, Mapping) or not all(
            isinstance(name, str) and _VARIABLE.fullmatch(name) and isinstance(value, str) for name, value in environment.items()
        ):
            raise ConfigError(f"{WHERE}.environment {environment!r}: names of variables and their values, texts")
        return cls(tuple(run), dict(outputs), dict(environment), timeout_of(own, WHERE))

    def command(self, values: Mapping[str, str]) -> list[str]:
        """The program and its arguments with the placeholders filled in."""
        return [part.format_map(values) for part in self.run]


def _check_placeholders(part: str) -> None:
    try:
        names = {name for _, name, _, _ in Formatter().parse(part) if name is not None}
    except ValueError as error:
        raise ConfigError(f"{WHERE}.run {part!r}: {error}; write {{{{ for a brace") from None
    if unknown := sorted(names - set(PLACEHOLDERS)):
        raise ConfigError(f"{WHERE}.run {part!r}: no placeholder {unknown[0]!r}; there are {', '.join(PLACEHOLDERS)}")
