"""A proxy between a client and an HTTP server that lets the network misbehave on demand.

`FaultProxy` reads whole requests and whole answers (with a length, chunked, or until the end of the connection; kept-alive connections),
so that a fault falls exactly before or after the server acted. It is one thread of the caller's process; a test changes the rules while
requests are under way.

    with FaultProxy("127.0.0.1", 8080) as proxy:
        proxy.drop(after=True, method="POST", path="/files")    # the server acts, the client never learns it
        proxy.reply(503, times=3)
        with proxy.refusing():
            ...                                                  # nobody listens
        assert proxy.count("POST", "/files") == 1
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeAlias

MAX_HEAD = 1 << 20
PIECE = 1 << 16
BODILESS = {204, 304}

Predicate = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came: `target` is path and query."""

    method: str
    target: str
    message: bytes
    keep_alive: bool

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class Closed(Exception):  # noqa: N818 - nothing is wrong: the conversation is over
    """The connection ends here, by a fault or because one side left."""


Act: TypeAlias = "Callable[[Connection, Request], Awaitable[None]]"


@dataclass(eq=False)
class Rule:
    """What happens to some requests: the next `times`, or all until it is cleared. `hits` counts them; `hit` is set with the first one."""

    act: Act
    times: int | None
    method: str | None
    path: str | Predicate
    hits: int = 0
    hit: threading.Event = field(default_factory=threading.Event)
    cleared: bool = False

    def falls_on(self, request: Request) -> bool:
        if self.cleared or (self.times is not None and self.hits >= self.times):
            return False
        if self.method not in (None, request.method):
            return False
        return self.path(request.method, request.target) if callable(self.path) else request.target.startswith(self.path)

    def clear(self) -> None:
        """No further request is hit."""
        self.cleared = True


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and forwards to `upstream_host:upstream_port`, with the faults asked for.

    `delay_s`: how long every message travels each way; a new connection costs one round trip too. Any number of requests travel at once.
    Of several rules that fall on a request, the oldest acts.
    """

    def __init__(self, upstream_host: str, upstream_port: int, *, delay_s: float = 0.0) -> None:
        self.upstream_host, self.upstream_port, self.delay_s = upstream_host, upstream_port, delay_s
        self.requests: list[tuple[str, str]] = []
        self.connections = self.at_once = self.most_at_once = 0
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        # Holds the port while nobody listens: bound to it and never listening, it lets connections be refused.
        self._port_holder = _bound(0)
        self.port: int = self._port_holder.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._in_loop(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._in_loop(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._port_holder.close()

    # -- faults: each falls on the next `times` requests (None: on all until cleared) of this method and path ------------

    def drop(
        self, *, after: bool = False, reset: bool = False, times: int | None = 1, method: str | None = None, path: str | Predicate = "/"
    ) -> Rule:
        """Close the connection without a byte, by a RST with `reset`; before the server hears of the request, or after it acted."""

        async def act(connection: Connection, request: Request) -> None:
            if after:
                await connection.ask_upstream(request)
            if reset:
                connection.reset()
            raise Closed

        return self._add(act, times, method, path)

    def silence(self, *, after: bool = False, times: int | None = 1, method: str | None = None, path: str | Predicate = "/") -> Rule:
        """Never answer: hold the connection until the client leaves, or all is cleared."""

        async def act(connection: Connection, request: Request) -> None:
            released = self._released
            if after:
                await connection.ask_upstream(request)
            await connection.client_leaves(released)
            raise Closed

        return self._add(act, times, method, path)

    def reply(
        self,
        status: int,
        *,
        body: str = "",
        content_type: str = "text/plain",
        headers: dict[str, str] | None = None,
        after: bool = False,
        times: int | None = 1,
        method: str | None = None,
        path: str | Predicate = "/",
    ) -> Rule:
        """Give this answer in place of the server's. 429 comes with `Retry-After: 1` unless `headers` say another."""
        fields = ({"Retry-After": "1"} if status == 429 else {}) | (headers or {}) | {"Content-Type": content_type}
        content = (body or f"{status} by the proxy").encode()
        lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{key}: {value}" for key, value in fields.items())]
        message = "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content

        async def act(connection: Connection, request: Request) -> None:
            if after:
                await connection.ask_upstream(request)
            await connection.send(message)

        return self._add(act, times, method, path)

    def truncate(self, *, keep: float = 0.5, times: int | None = 1, method: str | None = None, path: str | Predicate = "/") -> Rule:
        """Close the connection within the server's answer, after this fraction of its bytes."""

        async def act(connection: Connection, request: Request) -> None:
            message = await connection.ask_upstream(request)
            await connection.send(message[: int(len(message) * keep)])
            raise Closed

        return self._add(act, times, method, path)

    def slow(
        self,
        before_s: float = 0.0,
        after_s: float = 0.0,
        *,
        piece_bytes: int | None = None,
        between_s: float = 0.0,
        times: int | None = 1,
        method: str | None = None,
        path: str | Predicate = "/",
    ) -> Rule:
        """Wait before the server hears of the request and after it acted, then answer in pieces with `between_s` between them.

        A client that gives up while the request waits does not stop it: the server acts later.
        """

        async def act(connection: Connection, request: Request) -> None:
            await asyncio.sleep(before_s)
            message = await connection.ask_upstream(request)
            await asyncio.sleep(after_s)
            step = piece_bytes or len(message)
            for start in range(0, len(message), step):
                if start:
                    await asyncio.sleep(between_s)
                await connection.send(message[start : start + step])

        return self._add(act, times, method, path)

    def call(
        self,
        function: Callable[[], object],
        *,
        after: bool = False,
        times: int | None = 1,
        method: str | None = None,
        path: str | Predicate = "/",
    ) -> Rule:
        """Do `function` (kill the server, say) before the server hears of the request, or after it acted. All else waits meanwhile."""

        async def act(connection: Connection, request: Request) -> None:
            if not after:
                function()
            message = await connection.ask_upstream(request)
            if after:
                function()
            await connection.send(message)

        return self._add(act, times, method, path)

    def clear(self) -> None:
        """No faults any more. Requests held by `silence` are dropped."""
        with self._lock:
            for rule in self._rules:
                rule.clear()
            self._rules.clear()
        self._in_loop(self._release())

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens: open connections are closed, new ones refused."""
        self._in_loop(self._hang_up())
        try:
            yield
        finally:
            self._in_loop(self._listen())

    # -- what came -----------------------------------------------------------------------------------------------------

    def count(self, method: str | None = None, path: str = "/") -> int:
        """How many requests came with this method and a target that starts with `path`, faults included."""
        with self._lock:
            return sum(method in (None, was) and target.startswith(path) for was, target in self.requests)

    def forget(self) -> None:
        """Start all counts anew."""
        with self._lock:
            self.requests.clear()
            self.connections, self.most_at_once = 0, self.at_once

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _add(self, act: Act, times: int | None, method: str | None, path: str | Predicate) -> Rule:
        rule = Rule(act, times, method, path)
        with self._lock:
            self._rules.append(rule)
        return rule

    def _rule_for(self, request: Request) -> Rule | None:
        with self._lock:
            for rule in self._rules:
                if rule.falls_on(request):
                    rule.hits += 1
                    rule.hit.set()
                    return rule
        return None

    def _in_loop(self, work: Any) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result()

    async def _listen(self) -> None:
        self._released = asyncio.Event()
        self._server = await asyncio.start_server(self._accepted, sock=_bound(self.port), backlog=512, limit=MAX_HEAD)

    async def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # closed transports say good-bye in the next round

    async def _release(self) -> None:
        self._released.set()
        self._released = asyncio.Event()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._serve(Connection(self, reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: Connection) -> None:
        try:
            # A connection is made in one round trip, of which this is the part the client would otherwise not see.
            await asyncio.sleep(2 * self.delay_s)
            while (request := await connection.receive()) is not None:
                with self._lock:
                    self.requests.append((request.method, request.target))
                    self.at_once += 1
                    self.most_at_once = max(self.at_once, self.most_at_once)
                try:
                    await self._handle(connection, request)
                finally:
                    self.at_once -= 1
                if not request.keep_alive:
                    break
        except (Closed, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            connection.close()

    async def _handle(self, connection: Connection, request: Request) -> None:
        await asyncio.sleep(self.delay_s)
        rule = self._rule_for(request)
        if rule is not None:
            await rule.act(connection, request)
        else:
            await connection.send(await connection.ask_upstream(request))
        if connection.ended:
            raise Closed


class Connection:
    """A client's connection, and the one to the server that serves it."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.ended = False

    async def receive(self) -> Request | None:
        """The next request, None when the client is done."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, headers = _parse(head)
        method, target, version = first.split(" ", 2)
        if headers.get("expect", "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
        body = await _body(self._reader, headers) if "content-length" in headers or "transfer-encoding" in headers else b""
        return Request(method, target, head + body, _keeps_alive(version, headers))

    async def ask_upstream(self, request: Request) -> bytes:
        """The server's whole answer; `ended` is set if the server ends the connection with it."""
        reader, writer = await self._open_upstream()
        writer.write(request.message)
        await writer.drain()
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            first, headers = _parse(head)
            version, status, *_ = first.split(" ", 2)
            if int(status) >= 200:
                break
        keep_alive = _keeps_alive(version, headers)
        if request.method == "HEAD" or int(status) in BODILESS:
            body = b""
        elif "content-length" in headers or "transfer-encoding" in headers:
            body = await _body(reader, headers)
        else:
            body, keep_alive = await reader.read(), False
        if not keep_alive:
            self.ended = True
            self._close_upstream()
        await asyncio.sleep(self._proxy.delay_s)
        return head + body

    async def _open_upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream is not None and (self._upstream[0].at_eof() or self._upstream[1].is_closing()):
            self._close_upstream()
        if self._upstream is None:
            self._upstream = await asyncio.open_connection(self._proxy.upstream_host, self._proxy.upstream_port, limit=MAX_HEAD)
            self._upstream[1].get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._upstream

    async def send(self, message: bytes) -> None:
        self._writer.write(message)
        await self._writer.drain()

    async def client_leaves(self, released: asyncio.Event) -> None:
        """Return when the client closes its side, or `released` is set."""
        waiting = {asyncio.ensure_future(released.wait()), asyncio.ensure_future(self._reader.read(1))}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def reset(self) -> None:
        """Let the connection end with a RST."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        self._close_upstream()
        self._writer.close()

    def _close_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream[1].close()
            self._upstream = None


def _bound(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    """First line, and headers by lower-case name."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return first, {key.strip().lower(): value.strip() for key, _, value in pairs}


def _keeps_alive(version: str, headers: dict[str, str]) -> bool:
    said = headers.get("connection", "").lower()
    return said != "close" if version.strip() == "HTTP/1.1" else said == "keep-alive"


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The body as it is on the wire."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", "0")))
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        parts.append(line)
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        parts.append(await reader.readexactly(size + 2))
    while parts[-1] != b"\r\n":  # trailers
        parts.append(await reader.readuntil(b"\r\n"))
    return b"".join(parts)


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return HTTPStatus(status).phrase
    return "Status"
