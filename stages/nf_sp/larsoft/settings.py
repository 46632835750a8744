"""The settings of the payload `larsoft`, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dune_prompt.errors import ConfigError
from stages.nf_sp.program import timeout_of

WHERE = "stages.nf_sp.larsoft"
_FORMS = {
    "setup": (re.compile(r"/[^\0\n]+"), "the absolute path of a script"),
    "release": (re.compile(r"v[A-Za-z0-9_]+"), "a release of dunesw, such as v09_91_02d01"),
    "qualifiers": (re.compile(r"[A-Za-z0-9:]+"), "qualifiers, such as e26:prof"),
    "fcl": (re.compile(r"[A-Za-z0-9_.-]+\.fcl"), "the name of a job file"),
    "what": (re.compile(r"(?!quality$)[a-z0-9_]{1,40}"), "lower-case letters, digits and _, not quality"),
}


@dataclass(frozen=True, slots=True)
class LarsoftSettings:
    """What is run (release, qualifiers, job file), what the output is called, in which container image, and how long it may take.

    With `stream` an input at `root://` is read over the network instead of being copied.
    """

    release: str
    qualifiers: str
    fcl: str
    what: str
    container: str | None
    bind: tuple[str, ...]
    stream: bool
    timeout_s: float

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> LarsoftSettings:
        """Read the part `larsoft` of the settings of `nf_sp`.

        Raises:
            ConfigError: something is missing or not allowed.
        """
        own = settings.get("larsoft")
        if not isinstance(own, Mapping):
            raise ConfigError(f"{WHERE}: payload larsoft needs release and fcl")
        for key, (form, words) in _FORMS.items():
            if not isinstance(own.get(key), str) or not form.fullmatch(own[key]):
                raise ConfigError(f"{WHERE}.{key} {own.get(key)!r}: {words}")
        container, bind = own.get("container"), own.get("bind") or ()
        if container is not None and not (isinstance(container, str) and (container.startswith("/") or "://" in container)):
            raise ConfigError(f"{WHERE}.container {container!r}: the absolute path or address of an image")
        if not all(isinstance(folder, str) and folder.startswith("/") for folder in bind):
            raise ConfigError(f"{WHERE}.bind {bind!r}: a list of absolute paths")
        return cls(
            own["release"],
            own["qualifiers"],
            own["fcl"],
            own["what"],
            container,
            tuple(bind),
            bool(own.get("stream", False)),
            timeout_of(own, WHERE),
        )
