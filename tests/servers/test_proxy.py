"""The fault proxy passes everything on unchanged, and lets go wrong exactly what it is asked to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.servers.proxy import FaultProxy

TIMEOUT_S = 20


class Server(ThreadingHTTPServer):
    """Answers every request with its own body, and remembers what it was asked."""

    request_queue_size = 100
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, bytes]] = []
        self.heard = threading.Condition()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.heard:
            self.server.seen.append((self.command, self.path, body))
            self.server.heard.notify_all()
        self.send_response(200)
        if self.path.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 1000):
                piece = body[start : start + 1000]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        elif self.path.startswith("/until-the-end"):
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST  # noqa: N815 - the names the base class wants

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    server.seen.clear()
    with FaultProxy("127.0.0.1", server.server_port) as proxy:
        yield proxy


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def post(session: requests.Session, proxy: FaultProxy, path: str = "/files", body: bytes = b"hello") -> requests.Response:
    return session.post(proxy.url + path, data=body, timeout=TIMEOUT_S)


@pytest.mark.parametrize("path", ["/plain", "/chunked", "/until-the-end"])
def test_without_faults_every_form_of_answer_passes_unchanged(proxy: FaultProxy, session: requests.Session, path: str) -> None:
    body = bytes(range(256)) * 400
    for _ in range(3):
        assert post(session, proxy, path, body).content == body


def test_a_body_in_chunks_reaches_the_server(proxy: FaultProxy, session: requests.Session) -> None:
    answer = session.post(proxy.url, data=iter([b"one", b"two"]), timeout=TIMEOUT_S)
    assert answer.content == b"onetwo"


def test_a_client_that_asks_whether_to_continue_is_told_to(proxy: FaultProxy, session: requests.Session) -> None:
    answer = session.post(proxy.url, data=b"large", headers={"Expect": "100-continue"}, timeout=TIMEOUT_S)
    assert answer.content == b"large"


def test_a_head_request_is_answered_without_a_body(proxy: FaultProxy, session: requests.Session) -> None:
    assert session.head(proxy.url, timeout=TIMEOUT_S).status_code == 200
    assert post(session, proxy).content == b"hello"


def test_connections_are_kept(proxy: FaultProxy, session: requests.Session) -> None:
    for _ in range(5):
        post(session, proxy)
    assert (proxy.connections, proxy.count("POST", "/files"), proxy.count("GET"), proxy.count()) == (1, 5, 0, 5)
    proxy.forget()
    assert proxy.count() == 0


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_dropped_request_reached_the_server_or_not_as_asked(
    proxy: FaultProxy, server: Server, session: requests.Session, after: bool, reset: bool
) -> None:
    rule = proxy.drop(after=after, reset=reset)
    with pytest.raises(requests.ConnectionError):
        post(session, proxy)
    assert rule.hit.is_set()
    assert len(server.seen) == (1 if after else 0)
    assert post(session, proxy).content == b"hello"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 502, 503])
def test_a_status_replaces_the_answer_before_or_after_the_server_acted(
    proxy: FaultProxy, server: Server, session: requests.Session, status: int, after: bool
) -> None:
    proxy.reply(status, after=after, body="no")
    answer = post(session, proxy)
    assert (answer.status_code, answer.text, len(server.seen)) == (status, "no", int(after))
    assert ("Retry-After" in answer.headers) == (status == 429)
    assert post(session, proxy).status_code == 200
    assert proxy.connections == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_silent_server_keeps_the_client_waiting_until_the_fault_is_cleared(
    proxy: FaultProxy, server: Server, session: requests.Session, after: bool
) -> None:
    proxy.silence(after=after)
    with pytest.raises(requests.ReadTimeout):
        session.get(proxy.url, timeout=0.1)
    held = proxy.silence(after=after, method="POST")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(post, session, proxy)
        assert held.hit.wait(TIMEOUT_S)
        proxy.clear()
        with pytest.raises(requests.ConnectionError):
            waiting.result()
    assert len(server.seen) == (2 if after else 0)
    assert post(session, proxy).content == b"hello"


def test_a_late_request_is_carried_out_after_its_client_gave_up(proxy: FaultProxy, server: Server, session: requests.Session) -> None:
    proxy.slow(before_s=0.3)
    with pytest.raises(requests.ReadTimeout):
        session.post(proxy.url, data=b"late", timeout=0.05)
    with server.heard:
        assert server.heard.wait_for(lambda: server.seen, TIMEOUT_S)


def test_a_trickled_answer_arrives_whole(proxy: FaultProxy, session: requests.Session) -> None:
    proxy.slow(piece_bytes=50, between_s=0.001)
    assert post(session, proxy, body=b"x" * 500).content == b"x" * 500


def test_a_truncated_answer_is_noticed_by_the_client(proxy: FaultProxy, server: Server, session: requests.Session) -> None:
    proxy.truncate(keep=0.9)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        post(session, proxy, body=b"x" * 5000)
    assert len(server.seen) == 1


def test_while_it_refuses_nobody_listens_and_later_the_port_is_the_same(proxy: FaultProxy, session: requests.Session) -> None:
    post(session, proxy)
    for _ in range(3):
        with proxy.refusing(), pytest.raises(requests.ConnectionError):
            post(session, proxy)
        assert post(session, proxy).content == b"hello"


def test_a_fault_falls_on_the_next_requests_of_its_kind_only(proxy: FaultProxy, session: requests.Session) -> None:
    proxy.reply(503, method="POST", path="/files", times=2)
    proxy.reply(500, path=lambda method, target: method == "PUT" and "broken" in target, times=None)
    assert session.get(proxy.url + "/files", timeout=TIMEOUT_S).status_code == 200
    assert post(session, proxy, "/other").status_code == 200
    assert [post(session, proxy).status_code for _ in range(3)] == [503, 503, 200]
    assert [session.put(proxy.url + "/broken", timeout=TIMEOUT_S).status_code for _ in range(3)] == [500, 500, 500]
    proxy.clear()
    assert session.put(proxy.url + "/broken", timeout=TIMEOUT_S).status_code == 200


def test_a_function_runs_before_or_after_the_server_acts(proxy: FaultProxy, server: Server, session: requests.Session) -> None:
    seen: list[int] = []
    proxy.call(lambda: seen.append(len(server.seen)))
    proxy.call(lambda: seen.append(len(server.seen)), after=True)
    for _ in range(2):
        assert post(session, proxy).content == b"hello"
    assert seen == [0, 2]


def test_delayed_requests_travel_together(server: Server) -> None:
    server.seen.clear()
    with FaultProxy("127.0.0.1", server.server_port, delay_s=0.1) as proxy, ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda _: requests.post(proxy.url, data=b"x", timeout=TIMEOUT_S).content, range(16))
        assert list(answers) == [b"x"] * 16
        assert proxy.most_at_once > 4
        assert proxy.at_once == 0


def test_a_server_that_is_gone_looks_like_a_dropped_connection() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as unused:
        port = unused.server_port
    with FaultProxy("127.0.0.1", port) as proxy, pytest.raises(requests.ConnectionError):
        requests.get(proxy.url, timeout=TIMEOUT_S)
