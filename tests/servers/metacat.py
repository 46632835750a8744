"""A MetaCat server for tests, a process of its own on a real PostgreSQL.

    with Postgres(folder / "postgres") as postgres, MetacatServer(folder / "metacat", postgres) as server:
        server.add_user("dunepro")
        server.add_namespace("hd-protodune", owner="dunepro")
        client = MetaCatClient(server.url, server.auth_url, token=server.token("dunepro"))

Real, out of the wheel `metacat-client`: the database schema, the database layer (with its COPY, its transactions, its mistakes), the
compiler of the query language, users, roles, tokens and certificates (`metacat.db`, `metacat.mql`, `metacat.auth`). A double: the HTTP
front (`webpie` behind Apache there) and the handlers between it and those layers, which no index has; they are written after the server's
source, check by check, and answer only what the client asks for on our behalf. Stand-ins: `wsdbtools`, `ldap`, `scitokens`.
The wheel's `schema.sql` is taken without its grants to Fermilab's accounts and without a comma too many.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg2

from tests.servers.metacat_parts.certificates import Certificates
from tests.servers.postgres import Postgres

REPOSITORY = Path(__file__).parents[2]
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: `endpoint` such as `app/files`, `things` is the number of files it is about."""

    method: str
    endpoint: str
    things: int
    status: int


class MetacatServer:
    """MetaCat on a free port of 127.0.0.1; what it keeps is in `folder` and in the database `database` of `postgres`.

    With `tls` there is a second, encrypted port that asks for client certificates, and `auth_url` is there, as at Fermilab.
    """

    def __init__(
        self, folder: Path, postgres: Postgres, *, database: str = "metacat", tls: bool = False, token_lifetime_s: float | None = None
    ) -> None:
        self.folder, self.postgres, self._database = folder, postgres, database
        self.certificates = Certificates(folder / "certificates") if tls else None
        self._token_lifetime_s = token_lifetime_s
        self.port = self.tls_port = 0
        self._passwords: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._log_seen = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/app"

    @property
    def auth_url(self) -> str:
        return f"https://localhost:{self.tls_port}/auth" if self.certificates else f"http://127.0.0.1:{self.port}/auth"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._create_database()
        if self.certificates is not None:
            self.certificates.make()
        self._write_passwords()
        self.port, self.tls_port = _free_port(), _free_port()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # -- the process ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server, on the port it had before, and return when it answers."""
        settings = self.folder / "settings.json"
        settings.write_text(json.dumps(self._settings()))
        command = [sys.executable, "-m", "tests.servers.metacat_parts.program", str(settings)]
        with (self.folder / "server.log").open("ab") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=REPOSITORY)
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            ready = waiting.select(START_S)
        if not ready or self._process.stdout.readline() != b"ready\n":
            self.kill()
            raise RuntimeError(f"MetaCat does not start: {(self.folder / 'server.log').read_text()[-1000:]}")

    def stop(self) -> None:
        """End it; what it is answering is cut."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _settings(self) -> dict[str, Any]:
        ldap = {"server_url": str(self.folder / "passwords.json"), "dn_template": "%s"}
        return {
            "folder": str(self.folder),
            "port": self.port,
            "tls_port": self.tls_port,
            "tls": self.certificates.of_server if self.certificates else None,
            "token_lifetime_s": self._token_lifetime_s,
            "database": {"host": "127.0.0.1", "port": self.postgres.port, "dbname": self._database, "user": "postgres"},
            "authentication": {"secret": f"secret of {self.folder}", "issuer": "metacat-test", "realm": "metacat", "ldap": ldap},
        }

    # -- what is in it -------------------------------------------------------------------------------------------------

    def add_user(self, name: str, *, password: str | None = None, subjects: tuple[str, ...] = (), admin: bool = False) -> None:
        """An account; `subjects` are those of its certificates, as `CN=…,O=…`."""
        row = (name, "a" if admin else "", json.dumps({"x509": list(subjects)} if subjects else {}))
        self._execute("insert into users(username, flags, auth_info) values (%s, %s, %s)", row)
        if password is not None:
            self._passwords[name] = password
            self._write_passwords()

    def add_role(self, name: str, *members: str) -> None:
        self._execute("insert into roles(name) values (%s) on conflict do nothing", (name,))
        for member in members:
            self._execute("insert into users_roles(username, role_name) values (%s, %s)", (member, name))

    def add_namespace(self, name: str, *, owner: str | None = None, owner_role: str | None = None) -> None:
        self._execute("insert into namespaces(name, owner_user, owner_role) values (%s, %s, %s)", (name, owner, owner_role))

    def add_dataset(self, did: str, *, frozen: bool = False) -> None:
        """A dataset somebody else has made."""
        self._execute("insert into datasets(namespace, name, frozen) values (%s, %s, %s)", (*did.split(":", 1), frozen))

    def add_category(self, path: str, definitions: dict[str, Any], *, owner: str, restricted: bool = False) -> None:
        """Rules for the metadata keys `path.…`: key -> type, values, min, max, pattern; only these keys if `restricted`."""
        row = (path, owner, restricted, json.dumps(definitions))
        self._execute("insert into parameter_categories(path, owner_user, restricted, definitions) values (%s, %s, %s, %s)", row)

    def remove_category(self, path: str) -> None:
        self._execute("delete from parameter_categories where path = %s", (path,))

    def token(self, user: str, *, lifetime_s: float | None = None) -> str:
        """A token of the server for `user`. With a negative lifetime it has expired already."""
        lifetime = "" if lifetime_s is None else f"&lifetime_s={lifetime_s}"
        return str(json.loads(self._control(f"token?user={quote(user)}{lifetime}")))

    def expire_tokens(self) -> None:
        """No token of before is good any more."""
        self._control("expire_tokens")

    # -- what it was asked ---------------------------------------------------------------------------------------------

    @property
    def log(self) -> list[Asked]:
        """The requests since the start, or since `forget`."""
        path = self.folder / "requests.log"
        lines = path.read_text().splitlines()[self._log_seen :] if path.exists() else []
        return [Asked(method, endpoint, int(things), int(status)) for method, endpoint, things, status in map(str.split, lines)]

    def forget(self) -> None:
        """Start the log anew."""
        self._log_seen += len(self.log)

    # ------------------------------------------------------------------------------------------------------------------

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Ask its database."""
        return self._execute(statement, values)

    def _execute(self, statement: str, values: tuple[Any, ...] = (), *, database: str | None = None) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.postgres.address(database or self._database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def _create_database(self) -> None:
        if not self._execute("select 1 from pg_database where datname = %s", (self._database,), database="postgres"):
            self._execute(f'create database "{self._database}"', database="postgres")
            self._execute(schema())

    def _write_passwords(self) -> None:
        (self.folder / "passwords.json").write_text(json.dumps(self._passwords))

    def _control(self, what: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/control/{what}", timeout=START_S) as answer:
            content: bytes = answer.read()
        return content


def schema() -> str:
    """The wheel's schema, in the form PostgreSQL accepts and without grants."""
    spec = find_spec("metacat")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "db" / "schema.sql").read_text()
    text = re.sub(r"^grant [^;]*;", "", text, flags=re.MULTILINE)
    return re.sub(r",(\s*\);)", r"\1", text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
