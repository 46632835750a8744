"""Writes values into systemd units: specifiers (`%`) are switched off, and no value ends its word or its line.

Rules: systemd.unit(5) "Specifiers", systemd.syntax(7) "Quoting", systemd.service(5) "Command lines".
"""

from __future__ import annotations

from pathlib import PurePath


def systemdpath(value: str | PurePath) -> str:
    """A path that is the whole rest of a line (`WorkingDirectory=`, `EnvironmentFile=`): taken as it is, so it cannot be quoted.

    Raises:
        ValueError: systemd could not read it back as it is.
    """
    text = _one_line(str(value))
    if text != text.strip() or text.endswith("\\"):
        raise ValueError(f"{text!r} begins or ends with a blank, or ends with a backslash: systemd cannot take it")
    return text.replace("%", "%%")


def systemdquote(value: str | PurePath) -> str:
    """One word of a list (`ReadWritePaths=`, `Environment=`), in double quotes."""
    text = _one_line(str(value)).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'.replace("%", "%%")


def systemdarg(value: str | PurePath) -> str:
    """One argument of a command line (`ExecStart=`): also environment variables are switched off. Not for the program itself."""
    return systemdquote(value).replace("$", "$$")


def _one_line(text: str) -> str:
    if any(not letter.isprintable() for letter in text):
        raise ValueError(f"{text[:80]!r} has a line break or another control character in it: systemd units cannot hold it")
    return text
