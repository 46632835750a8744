"""What MetaCat answers when it does not do what it was asked. Apart from its client, which may not be installed."""

from __future__ import annotations

import re
from typing import Any

MAX_TEXT = 300


class Refusal(Exception):  # noqa: N818 - an answer, which the caller may well expect
    """The server answered, and not with success. `text` is short and plain, `data` what its JSON held."""

    def __init__(self, status: int, body: str, data: Any = None) -> None:
        self.status, self.data = status, data
        message = data.get("message") if isinstance(data, dict) else None
        self.text = plain(message or body, end=status >= 500)
        super().__init__(f"{status}: {self.text}")

    @property
    def is_of_token(self) -> bool:
        """Whether the server does not know who we are. Some of its calls say so with 403 ('Authentication required')."""
        return self.status == 401 or (self.status == 403 and "authentication" in self.text.lower())

    @property
    def is_missing_dataset(self) -> bool:
        return self.status in (400, 404) and "Dataset" in self.text and self.text.endswith(("does not exist", "not found"))

    @property
    def is_missing_namespace(self) -> bool:
        return self.status == 404 and "Namespace" in self.text


class GarbledError(Exception):
    """The server's answer is not what MetaCat sends."""


def plain(text: str, *, end: bool = False) -> str:
    """A server's text without markup, on one line, cut to its beginning (or its `end`, where a traceback says what happened)."""
    text = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    if len(text) <= MAX_TEXT:
        return text
    return f"…{text[-MAX_TEXT:]}" if end else f"{text[:MAX_TEXT]}…"


def no_namespace(namespace: str) -> str:
    """What is to be done about a namespace that is not there."""
    return f"namespace {namespace} does not exist: who may (`metacat namespace create`) makes it, owned by us or by a role of ours"
