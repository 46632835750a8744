"""Requests and answers of the MetaCat test server."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

JSON, JSON_SEQUENCE, PLAIN, HTML = "application/json", "application/json-seq", "text/plain", "text/html"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as MetaCat's authentication code wants it."""

    method: str
    endpoint: str
    rest: str
    args: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    environ: Mapping[str, str]
    cookies: Mapping[str, str] = field(default_factory=dict)

    def says(self, key: str, default: str = "no") -> bool:
        return self.args.get(key, default) == "yes"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and its type; a body that is no text is sent in pieces."""

    status: int
    body: str | Iterable[str]
    content_type: str = HTML
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """The request ends here with this answer."""

    def __init__(self, status: int, text: str, content_type: str = HTML) -> None:
        super().__init__(text)
        self.answer = Answer(status, text, content_type)


def crash() -> Answer:
    """The answer to a crash of a handler, in the `except` that caught it: the traceback, as the real server shows it."""
    return Answer(500, f"<html><body><h2>Application error</h2><pre>{traceback.format_exc()}</pre></body></html>")
