"""The MetaCat test server's program: HTTP/1.1 around `endpoints`, ended by the end of its standard input.

    python -m tests.servers.metacat_parts.program settings.json

`/app/data/…` are the data, `/auth/…` is who one is, `/control/…` is for tests only. Every other request adds a line to `requests.log`
before it is answered: method, endpoint, number of things in the body, status.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

STAND_INS = Path(__file__).parent / "stand_ins"


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 256
    block_on_close = False
    pool: Any
    auth: Any
    log: Any

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to tell."""


class Handler(BaseHTTPRequestHandler):
    """Reads a request, writes its answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Kept in `requests.log` instead."""

    def _answer(self) -> None:
        from tests.servers.metacat_parts import endpoints
        from tests.servers.metacat_parts.messages import Answer, Request

        target = urlsplit(self.path)
        room, *rest = target.path.strip("/").split("/")
        if room == "app" and rest and rest[0] == "data":
            rest = rest[1:]
        elif room == "app":
            rest = ["unknown"]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(
            method=self.command,
            endpoint=rest[0] if rest else "",
            rest="/".join(rest[1:]),
            args=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers=self.headers,  # type: ignore[arg-type]
            body=body,
            environ=self._environ(),
        )
        if room == "app":
            answer = endpoints.answer(request, self.server.pool, self.server.auth)
        elif room == "auth":
            answer = self.server.auth.answer(request)
        elif room == "control":
            answer = self._control(request)
        else:
            answer = Answer(404, "Not found")
        if room != "control":
            line = f"{self.command} {room}/{request.endpoint} {_things(body)} {answer.status}\n"
            self.server.log.write(line.encode())
        self._send(answer.status, answer.content_type, answer.headers, answer.body)

    def _environ(self) -> dict[str, str]:
        environ = {"REQUEST_METHOD": self.command, "HTTP_AUTHORIZATION": self.headers.get("Authorization", "")}
        if isinstance(self.connection, ssl.SSLSocket):
            environ["REQUEST_SCHEME"] = "https"
            certificate = self.connection.getpeercert() or {}
            for key, part in (("SSL_CLIENT_S_DN", "subject"), ("SSL_CLIENT_I_DN", "issuer")):
                if part in certificate:
                    environ[key] = _distinguished_name(certificate[part])
        return environ

    def _control(self, request: Any) -> Any:
        from tests.servers.metacat_parts.messages import JSON, PLAIN, Answer

        match request.endpoint:
            case "expire_tokens":
                self.server.auth.expired_before = time.time()
                return Answer(200, "OK", PLAIN)
            case "token":
                lifetime_s = request.args.get("lifetime_s")
                token = self.server.auth.token_for(request.args["user"], None if lifetime_s is None else float(lifetime_s))
                return Answer(200, json.dumps(token), JSON)
        return Answer(404, "Not found")

    def _send(self, status: int, content_type: str, headers: Any, body: str | Iterable[str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        for key, value in headers.items():
            self.send_header(key, value)
        if isinstance(body, str):
            content = body.encode()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in body:
            content = piece.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
        self.wfile.write(b"0\r\n\r\n")


def main(settings: dict[str, Any]) -> None:
    """Serve until standard input ends."""
    sys.path.insert(0, str(STAND_INS))
    from wsdbtools import ConnectionPool

    from tests.servers.metacat_parts.authentication import Auth

    folder = Path(settings["folder"])
    log = (folder / "requests.log").open("ab", buffering=0)
    auth = Auth(settings, settings["token_lifetime_s"])
    address = "host={host} port={port} dbname={dbname} user={user}".format(**settings["database"])
    pool = ConnectionPool(address)
    listening: list[tuple[int, ssl.SSLContext | None]] = [(settings["port"], None)]
    if settings["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["tls"]["host"])
        context.load_verify_locations(settings["tls"]["authority"])
        context.verify_mode = ssl.CERT_OPTIONAL
        listening.append((settings["tls_port"], context))
    for port, wrapping in listening:
        server = Server(("127.0.0.1", port), Handler)
        server.pool, server.auth, server.log = pool, auth, log
        if wrapping is not None:
            # The handshake is left to the thread of the connection: a silent client must not stop the others.
            server.socket = wrapping.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


def _things(body: bytes) -> int:
    """How many files or names a request is about."""
    try:
        content = json.loads(body) if body else None
    except ValueError:
        return 0
    if isinstance(content, dict):
        content = content.get("file_list") or content.get("files")
    return len(content) if isinstance(content, list) else 0


def _distinguished_name(name: Any) -> str:
    short = {"commonName": "CN", "organizationName": "O", "domainComponent": "DC", "countryName": "C"}
    return ",".join(f"{short.get(key, key)}={value}" for part in reversed(name) for key, value in part)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
