"""Writes values into submit files of HTCondor: macros (`$`) are switched off, and no value ends its line.

Rules: HTCondor manual, condor_submit, "arguments" (the new syntax) and "Submit description file commands".
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath


def submit_quote(value: str | PurePath) -> str:
    """A value that is the whole rest of a line.

    Raises:
        ValueError: HTCondor could not read it back as it is.
    """
    text = _one_line(str(value))
    if not text or text != text.strip() or text.endswith("\\"):
        raise ValueError(f"{text[:80]!r} is empty, begins or ends with a blank, or ends with a backslash: a submit file cannot hold it")
    return text.replace("$", "$(DOLLAR)")


def submit_words(values: Iterable[str | PurePath]) -> str:
    """The words of `arguments` or `environment` in the new syntax, without the double quotes around all of it."""
    return " ".join(_word(_one_line(str(value))) for value in values)


def _word(text: str) -> str:
    if not text or "'" in text or " " in text:
        text = "'" + text.replace("'", "''") + "'"
    return text.replace('"', '""').replace("$", "$(DOLLAR)")


def _one_line(text: str) -> str:
    if any(not letter.isprintable() for letter in text):
        raise ValueError(f"{text[:80]!r} has a line break or another control character in it: a submit file cannot hold it")
    return text
