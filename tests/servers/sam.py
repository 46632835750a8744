"""A double of SAM's HTTP interface, a process of its own on 127.0.0.1 that keeps everything in one folder.

    with SamServer(folder) as sam:
        requests.post(f"{sam.url}/files", json={…})
        sam.kill()          # as a power cut would, but for what the disk has not got
        sam.start()         # at the same address, with all it had said yes to

What it answers is in `samweb_parts/records.py`, the query language in `samweb_parts/dims.py`. Requests and answers are those that
sam-web-client sends and expects. `SamServer` is what tests hold; the server itself is `main`.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import Request, urlopen

from tests.servers.samweb_parts.records import Records, Refused

REPOSITORY = Path(__file__).resolve().parents[2]
API = "/sam/dune/api"
# Longer lines are refused, as web servers do.
MAX_LINE = 8192
ONE_FILE = re.compile(r"/(name|id)/[^/]+")
# What a definition's parts are called where it is described in plain text, in its order.
LABELS = {
    "defname": "Definition Name",
    "defid": "Definition Id",
    "create_time": "Creation Date",
    "username": "Username",
    "description": "Description",
    "group": "Group",
    "dimensions": "Dimensions",
}
START_S, STOP_S = 30.0, 10.0


class SamServer:
    """The server as tests hold it. `set` changes how it behaves, `counts` says what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self._switches: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{API}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, at the address it had before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.servers.sam", str(self.folder), str(self.port)]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if not said.isdecimal():
            self.stop()
            raise RuntimeError(f"the double of SAM does not start: {said}")
        self.port = int(said)
        if self._switches:
            self.set(**self._switches)

    def stop(self) -> None:
        """End it; it ends by itself too when the pipe to it closes."""
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            self._process = None

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self.stop()

    def set(self, **switches: Any) -> None:
        """`deny_writes` (403), `retired_names_are_free`, `data_tiers`, `parameters` (all that are known; None: any), `delay_s`."""
        self._switches |= switches
        self._manage("/_switches", switches)

    def counts(self) -> dict[str, int]:
        """How often each request came since the last start or `forget`, such as `POST /files` or `GET /files/name/*/metadata`."""
        answer: dict[str, int] = json.loads(self._manage("/_counts", {}))
        return answer

    def forget(self) -> None:
        """Count anew."""
        self._manage("/_forget", {})

    def _manage(self, path: str, content: dict[str, Any]) -> bytes:
        request = Request(f"http://127.0.0.1:{self.port}{path}", data=json.dumps(content).encode())
        with urlopen(request, timeout=START_S) as answer:
            body: bytes = answer.read()
        return body


class Server:
    """The server's side: connections, and what each address means."""

    def __init__(self, folder: Path) -> None:
        self.records = Records(folder / "sam.sqlite")
        self.counts: Counter[str] = Counter()
        self.deny_writes = False
        self.delay_s = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while (first := await reader.readline()) not in (b"", b"\r\n"):
                method, target, _ = first.decode("latin-1").split(" ", 2)
                headers = {}
                while (line := await reader.readline()) not in (b"\r\n", b""):
                    key, _, value = line.decode("latin-1").partition(":")
                    headers[key.strip().lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                status, kind, content = self.answer(method, target, headers, body)
                head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
                writer.write(head.encode() + content)
                await writer.drain()
                if headers.get("connection", "").lower() == "close":
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        if len(target) > MAX_LINE:
            return 414, "text/html", b"<h1>Request-URI Too Long</h1>"
        try:
            answer = self._route(method, target, headers, body)
        except Refused as refused:
            error = {"error": refused.kind, "message": str(refused)}
            return refused.status, "application/json", json.dumps(error).encode()
        if answer is None:
            return 404, "text/html", b"<h1>Not Found</h1>"
        if isinstance(answer, str):
            return 200, "text/plain", answer.encode()
        return 200, "application/json", json.dumps(answer).encode()

    def _route(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Any:
        address = urlsplit(target)
        query = parse_qs(address.query, keep_blank_values=True)
        if address.path.startswith("/_"):
            return self._manage(address.path, body)
        path = address.path.removeprefix(API)
        if path == address.path:
            return None
        self.counts[f"{method} {ONE_FILE.sub('/name/*', path)}"] += 1
        if headers.get("content-type", "").startswith("application/json"):
            content = json.loads(body)
        else:
            content = None
            query |= parse_qs(body.decode(), keep_blank_values=True)
        if path in ("/files/list", "/files/count", "/files/summary", "/files/metadata", "/files/locations", "/files/validate_metadata"):
            return self._ask(path, query, content)
        writing = method != "GET"
        if writing and self.deny_writes:
            return self._denied()
        if path == "/files" and writing:
            return str(self.records.declare(content)) if method == "POST" else {"modified": self.records.modify(content)}
        if match := re.fullmatch(r"/files/(name|id)/([^/]+)/(.+)", path):
            name = unquote(match[2])
            # SAM's client takes a name of digits for an id; the server does not.
            file_id = int(name) if match[1] == "id" else self.records.id_of(name)
            return self._file(method, file_id, match[3], query, content)
        if path == "/definitions/create" and writing:
            told = {key: values[0] for key, values in query.items()}
            if missing := next((key for key in ("defname", "dims", "group") if not told.get(key)), None):
                raise Refused(400, "HTTPBadRequest", f"Missing {missing}")
            user, description = told.get("user", "dunepro"), told.get("description")
            return self.records.define(told["defname"], told["dims"], told["group"], user=user, description=description)
        if match := re.fullmatch(r"/definitions/name/([^/]+)(/describe|/files/list|/files/count)?", path):
            return self._definition(method, unquote(match[1]), match[2], query)
        return None

    def _definition(self, method: str, name: str, what: str | None, query: dict[str, list[str]]) -> Any:
        match method, what:
            case "GET", "/describe":
                return self._described(self.records.definition(name), plain=query.get("format") == ["plain"])
            case "GET", "/files/list" | "/files/count":
                found = self.records.find(self.records.definition(name)["dimensions"])
                return str(len(found)) if what == "/files/count" else "".join(f"{file}\n" for _, file in found)
            case "PUT", None:
                change = {key: query.get(key, [None])[0] for key in ("defname", "description")}
                self.records.modify_definition(name, new_name=change["defname"], description=change["description"])
                return "Definition has been updated"
        return None

    def _described(self, definition: dict[str, Any], *, plain: bool) -> Any:
        if not plain:
            return definition
        return "".join(f"{label:>15}: {definition[key]}\n" for key, label in LABELS.items() if key in definition)

    def _ask(self, path: str, query: dict[str, list[str]], content: Any) -> Any:
        names, ids = query.get("file_name", []), [int(file_id) for file_id in query.get("file_id", [])]
        match path:
            case "/files/metadata":
                return self.records.metadata(names, ids, locations="locations" in query)
            case "/files/locations":
                forms = self.records.metadata(names, ids, locations=True)
                return {form["file_name"]: form["locations"] for form in forms}
            case "/files/validate_metadata":
                self.records.validate(content)
                return "Metadata is valid"
        found = self.records.find(query.get("dims", [""])[0])
        if path == "/files/count":
            return str(len(found))
        if path == "/files/list":
            return "".join(f"{name}\n" for _, name in found)
        forms = [self.records.form_of(file_id) for file_id, _ in found]
        sizes, events = (sum(form.get(key, 0) for form in forms) for key in ("file_size", "event_count"))
        return {"file_count": len(found), "total_file_size": sizes, "total_event_count": events}

    def _file(self, method: str, file_id: int, what: str, query: dict[str, list[str]], content: Any) -> Any:
        match method, what:
            case "GET", "metadata":
                return self.records.form_of(file_id, locations="locations" in query)
            case "PUT", "metadata":
                name = self.records.form_of(file_id)["file_name"]
                self.records.modify([content | {"file_name": name}])
                return "Metadata has been updated"
            case "GET", "locations":
                return self.records.locations_of(file_id)
            case "POST", "locations":
                self.records.change_locations(file_id, query.get("add", []), query.get("remove", []))
                return "Locations have been updated"
            case "POST", "retired_date":
                self.records.retire(file_id)
                return "File has been retired"
            case "GET", ("lineage/parents" | "lineage/children") as lineage:
                form = self.records.form_of(file_id)
                return {"file_name": form["file_name"], **{key: form.get(key, []) for key in [lineage.removeprefix("lineage/")]}}
        return None

    def _denied(self) -> None:
        raise Refused(403, "HTTPForbidden", "User nobody is not an admin")

    def _manage(self, path: str, body: bytes) -> Any:
        if path == "/_counts":
            return dict(self.counts)
        if path == "/_forget":
            self.counts.clear()
            return "forgotten"
        for key, value in json.loads(body).items():
            owner = self if hasattr(self, key) else self.records
            if not hasattr(owner, key):
                return None
            setattr(owner, key, set(value) if isinstance(value, list) else value)
        return "set"


async def main(folder: Path, port: int) -> None:
    """Serve until the parent's pipe closes; the port goes to the standard output."""
    server = Server(folder)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", port, limit=1 << 20, backlog=256, reuse_address=True)
    print(listening.sockets[0].getsockname()[1], flush=True)
    orphaned = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, orphaned.set)
    await orphaned.wait()
    listening.close()
    server.records.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
