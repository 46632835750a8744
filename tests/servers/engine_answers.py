"""What a job hears from its engine, as the test wants it: `with EngineAnswers() as engine: engine.url`. A thread, without state."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Heard:
    """One request."""

    method: str
    path: str
    token: str
    content: Any


class EngineAnswers:
    """Answers heartbeats and reports with the statuses in `heartbeats` and `reports`, the last of them for ever; None: not at all."""

    def __init__(self, heartbeats: tuple[int | None, ...] = (200,), reports: tuple[int | None, ...] = (200,)) -> None:
        self.heartbeats, self.reports = list(heartbeats), list(reports)
        self.redirect_to: str | None = None
        self.heard: list[Heard] = []
        self._release = threading.Event()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._answer(engine.heartbeats)

            def do_PUT(self) -> None:
                self._answer(engine.reports)

            def do_GET(self) -> None:
                self._answer([200])

            def _answer(self, statuses: list[int | None]) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                engine.heard.append(Heard(self.command, self.path, token, json.loads(body) if body else None))
                status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
                if status is None:
                    engine._release.wait()
                    self.close_connection = True
                    return
                self.send_response(status)
                if engine.redirect_to:
                    self.send_header("Location", engine.redirect_to)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def reported(self) -> list[Any]:
        """The reports it was sent."""
        return [request.content for request in list(self.heard) if request.method == "PUT"]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()
