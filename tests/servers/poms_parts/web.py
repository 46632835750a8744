"""The web side of the POMS double: requests as they come, answers as they go."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.servers.poms_parts.problems import HTTPError
from tests.servers.poms_parts.rows import default
from tests.servers.poms_parts.upload import UploadedFile

ROOT = "/poms/"
# What the parts of an address after the method mean.
IN_PATH = ("experiment", "role", "user")
HTML, TEXT, JSON, INI = "text/html;charset=utf-8", "text/plain;charset=utf-8", "application/json", "text/ini;charset=utf-8"


@dataclass(frozen=True)
class Request:
    """A request as the double got it. A repeated field is a list, a file its text. Tokens are not kept, only that there was one."""

    verb: str
    path: str
    method: str
    fields: dict[str, Any]
    authorization: bool


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    kind: str
    body: str
    location: str | None = None


def as_json(value: Any) -> Answer:
    return Answer(200, JSON, json.dumps(value, default=default))


def page(status: int, text: str) -> Answer:
    """A web page, with the text where the poms_client looks for it on error pages."""
    return Answer(status, HTML, f"<html><body><label>{status}<br/>{html.escape(text, quote=False)}</label></body></html>")


class Server(ThreadingHTTPServer):
    """Hands requests to `answer`, which returns None where the connection is to break."""

    request_queue_size = 100
    daemon_threads = True

    def __init__(self, answer: Callable[[Request, dict[str, Any], str | None], Answer | None], delay_s: Callable[[], float]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.delay_s = answer, delay_s


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def _serve(self) -> None:
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.delay_s())
        method, *in_path = address.path.removeprefix(ROOT).split("/") if address.path.startswith(ROOT) else [""]
        arguments = _gathered([*parse_qsl(address.query, keep_blank_values=True), *self._form(body)])
        arguments |= {key: value for key, value in zip(IN_PATH, in_path, strict=False) if value}
        shown = {key: value.text() if isinstance(value, UploadedFile) else value for key, value in arguments.items()}
        authorization = self.headers.get("Authorization", "").lower().startswith("bearer ")
        request = Request(self.command, address.path, method, shown, authorization)
        answer = self.server.answer(request, arguments, self.headers.get("X-Shib-Userid"))
        self.close_connection = True
        if answer is None:
            return
        content = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        if answer.location is not None:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}{answer.location}")
        self.end_headers()
        self.wfile.write(content)

    def _form(self, body: bytes) -> list[tuple[str, Any]]:
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("application/x-www-form-urlencoded"):
            return list(parse_qsl(body.decode(), keep_blank_values=True))
        if not kind.startswith("multipart/form-data"):
            return []
        form = BytesParser(policy=policy.HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        return [_part(part) for part in form.iter_parts()]


def _part(part: EmailMessage) -> tuple[str, str | UploadedFile]:
    name = str(part.get_param("name", header="content-disposition"))
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    filename = part.get_filename()
    return name, content.decode() if filename is None else UploadedFile(filename, BytesIO(content))


def _gathered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        known = fields.get(key)
        fields[key] = value if key not in fields else [*known, value] if isinstance(known, list) else [known, value]
    return fields


def error_page(error: HTTPError) -> Answer:
    return page(error.status, str(error))
