"""The settings of the payload `wirecell`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dune_prompt.errors import ConfigError
from stages.nf_sp.program import timeout_of

WHERE = "stages.nf_sp.wirecell"


@dataclass(frozen=True, slots=True)
class WirecellSettings:
    """The program, where its configuration is, what is sourced before, in which container image, L1SP or not, and how long it may take."""

    program: str = "wire-cell"
    path: tuple[str, ...] = ()
    setup: str | None = None
    container: str | None = None
    bind: tuple[str, ...] = ()
    l1sp: bool = False
    timeout_s: float = 7200.0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> WirecellSettings:
        """Read the part `wirecell` of the settings of `nf_sp`.

        Raises:
            ConfigError: something is not allowed.
        """
        own = settings.get("wirecell") or {}
        if settings.get("keep"):
            raise ConfigError("stages.nf_sp.keep: payload wirecell keeps no filtered waveforms; use payload numpy")
        program = own.get("program", "wire-cell")
        if not isinstance(program, str) or not program or program.startswith("-"):
            raise ConfigError(f"{WHERE}.program {program!r}: the name of a program, or its path")
        for key in ("path", "bind"):
            folders = own.get(key) or ()
            if isinstance(folders, str) or not all(isinstance(one, str) and one.startswith("/") and ":" not in one for one in folders):
                raise ConfigError(f"{WHERE}.{key} {folders!r}: a list of absolute paths without colons")
        setup, container = own.get("setup"), own.get("container")
        if setup is not None and not (isinstance(setup, str) and setup.startswith("/")):
            raise ConfigError(f"{WHERE}.setup {setup!r}: the absolute path of a script")
        if container is not None and not (isinstance(container, str) and (container.startswith("/") or "://" in container)):
            raise ConfigError(f"{WHERE}.container {container!r}: the absolute path or address of an image")
        folders = (tuple(own.get(key) or ()) for key in ("path", "bind"))
        path, bind = folders
        return cls(program, path, setup, container, bind, bool(own.get("l1sp", False)), timeout_of({"timeout": 7200.0} | dict(own), WHERE))

    def wrapped(self, command: list[str], folders: list[Path]) -> list[str]:
        """`command` after the set-up script and in the container, which sees `folders`."""
        if self.setup is not None:
            # The script's name and the command are arguments of the shell: nothing of them is read as its text.
            command = ["bash", "-c", 'source "$1" || exit 127; shift; exec "$@"', "bash", self.setup, *command]
        if self.container is None:
            return command
        seen = dict.fromkeys([*(str(folder) for folder in folders), *self.bind, *self.path])
        return ["apptainer", "exec", *(part for folder in seen for part in ("--bind", folder)), self.container, *command]
