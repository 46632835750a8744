"""Writes values into HTCondor's submit files: `$` expands nothing, and no value ends its word or its line.

Rules: HTCondor manual, condor_submit, "arguments", "environment", and "Submit File Syntax and Macros".
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath


def submit_quote(value: str | PurePath) -> str:
    """A value that is the whole rest of a line: taken as it is, so it cannot be quoted.

    Raises:
        ValueError: HTCondor would not read it back as it is.
    """
    text = _one_line(str(value))
    if not text or text != text.strip() or text.endswith("\\"):
        raise ValueError(f"{text!r} is empty, begins or ends with a blank, or ends with a backslash: a submit file cannot hold it")
    return text.replace("$", "$(DOLLAR)")


def submit_words(values: Iterable[str | PurePath]) -> str:
    """Words of `arguments` or `environment` in its new syntax, with the double quotes around all of it."""
    return '"' + " ".join(_word(_one_line(str(value))) for value in values) + '"'


def _word(text: str) -> str:
    if not text or " " in text or "'" in text:
        text = "'" + text.replace("'", "''") + "'"
    return text.replace('"', '""').replace("$", "$(DOLLAR)")


def _one_line(text: str) -> str:
    if any(not letter.isprintable() for letter in text):
        raise ValueError(f"{text[:80]!r} has a line break or another control character in it: a submit file cannot hold it")
    return text
