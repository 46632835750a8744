"""A real Rucio server on loopback: SQLite, waitress with one thread, plain HTTP, password login, mock transfers.

    with RucioServer(folder) as server:
        server.add_scope("hd-protodune")
        server.add_rse("DUNE_CERN_EOS", folder / "eos")
        config = server.client_config()          # a rucio.cfg for rucio-clients, also through a proxy: client_config(url=proxy.url)
        server.kill(); server.start()             # on the same port, with the same data
        server.tick("evaluator")                  # one round of a Rucio daemon

The server has an environment of its own, `.venv/rucio-server` (see the Makefile), because `rucio` and `rucio-clients` bring the same
files. This file is run by that environment too: as the server and as the daemons. One thread, because SQLite refuses a reading
transaction that turns into a writing one while another writes; one thread is no slower, Rucio is bound by the CPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ENVIRONMENT = Path(__file__).parents[2] / ".venv" / "rucio-server"
PYTHON = ENVIRONMENT / "bin" / "python"
# A database with all tables takes seconds to build and no time to copy. Another version of Rucio has another environment.
TEMPLATE = ENVIRONMENT / "cache" / "empty.db"
START_S = 120
UNLIMITED = -1

ALEMBIC = """\
[alembic]
script_location = rucio.db.sqla:migrate_repo
sqlalchemy.url = {database}
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = WARN
handlers = console
qualname =
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic
[formatter_generic]
format = %(levelname)s %(name)s %(message)s
"""

# The cache is one nobody answers at: a memcached of the machine must not be used.
SERVER = """\
[common]
logdir = {folder}
loglevel = INFO
[database]
default = {database}
echo = 0
pool_reset_on_return = rollback
[bootstrap]
userpass_identity = ddmlab
userpass_pwd = secret
userpass_email = nobody@localhost
x509_identity =
gss_identity =
ssh_identity =
[alembic]
cfg = {folder}/alembic.ini
[policy]
permission = generic
schema = generic
lfn2pfn_algorithm_default = hash
[monitor]
enable_metrics = False
[conveyor]
scheme = file,root
transfertool = mock
[cache]
url = 127.0.0.1:9
"""

CLIENT = """\
[client]
rucio_host = {url}
auth_host = {url}
auth_type = userpass
username = {username}
password = {password}
account = {account}
request_retries = 3
auth_token_file_path = {token}
[policy]
permission = generic
schema = generic
lfn2pfn_algorithm_default = hash
"""

WAYS = ("read", "write", "delete")
COPIES = ("third_party_copy_read", "third_party_copy_write")


class RucioServer:
    """A Rucio server whose data, logs and settings lie in `folder`; it listens on a free port of 127.0.0.1, the same all its life.

    Its administrator is the account `root`, with user name `ddmlab` and password `secret`. It ends with the process that started it.
    """

    def __init__(self, folder: Path) -> None:
        if why := self.missing():
            raise RuntimeError(why)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Bound and never listening, it keeps the port ours while the server is down, and connections are refused meanwhile.
        self._port_holder = socket.socket()
        self._port_holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port_holder.bind(("127.0.0.1", 0))
        self.port: int = self._port_holder.getsockname()[1]
        self._server: subprocess.Popen[str] | None = None
        self._daemons: subprocess.Popen[str] | None = None
        self._token: str | None = None
        self._configs = 0
        self._environment = _write_settings(folder)
        if not self._database.exists():
            shutil.copyfile(_template(), self._database)

    @staticmethod
    def missing() -> str | None:
        """Why no server can be started here, None if one can."""
        return None if PYTHON.exists() else "no Rucio server is installed in .venv/rucio-server; `make test` installs it"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def _database(self) -> Path:
        return self.folder / "rucio.db"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if self._daemons is not None:
            _end(self._daemons, signal.SIGTERM)
        self._port_holder.close()

    # -- the process ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._server = self._run("serve", str(self.port), stdout=subprocess.DEVNULL)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._server.poll() is not None:
                raise RuntimeError(f"the Rucio server died:\n{self.log()[-2000:]}")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/ping", timeout=5):
                return
            time.sleep(0.05)
        raise RuntimeError(f"the Rucio server does not answer:\n{self.log()[-2000:]}")

    def stop(self) -> None:
        """End the server in good order."""
        self._end_server(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash of its machine would."""
        self._end_server(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end_server(self, signal_number: signal.Signals) -> None:
        if self._server is not None:
            _end(self._server, signal_number)
            self._server = None

    def _run(self, *role: str, stdout: int) -> subprocess.Popen[str]:
        """This file in the server's environment. Its input is a pipe we never write to: when we are gone, it ends too."""
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                [PYTHON, "-P", __file__, *role],
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def log(self) -> str:
        """What the server and the daemons have written."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tick(self, *daemons: str) -> None:
        """Run one round of each of these Rucio daemons (see `_rounds`). The server must be idle meanwhile, SQLite has one writer."""
        if self._daemons is None or self._daemons.poll() is not None:
            self._daemons = self._run("daemons", stdout=subprocess.PIPE)
        questions, answers = self._daemons.stdin, self._daemons.stdout
        assert questions is not None
        assert answers is not None
        for daemon in daemons:
            questions.write(daemon + "\n")
            questions.flush()
            if (answer := answers.readline().strip()) != "done":
                raise RuntimeError(f"{daemon}: {answer or 'died'}\n{self.log()[-2000:]}")

    # -- what clients need ------------------------------------------------------------------------------------------------

    def client_config(self, *, account: str = "root", username: str = "ddmlab", password: str = "secret", url: str | None = None) -> Path:
        """A new `rucio.cfg` for a client that logs in so, at `url` (default: the server itself)."""
        self._configs += 1
        path = self.folder / f"client_{self._configs}.cfg"
        token = self.folder / f"token_{self._configs}"
        path.write_text(CLIENT.format(url=url or self.url, username=username, password=password, account=account, token=token))
        return path

    # -- what an administrator does --------------------------------------------------------------------------------------

    def add_scope(self, scope: str, account: str = "root") -> None:
        self._administer("POST", f"/scopes/{account}/{scope}")

    def add_rse(
        self,
        rse: str,
        prefix: Path | str,
        *,
        scheme: str = "file",
        host: str = "localhost",
        port: int = 0,
        deterministic: bool = True,
        account: str | None = "root",
        attributes: dict[str, str] | None = None,
    ) -> None:
        """A storage element, at a folder (`file`) or behind an XRootD server (`root`), without limit for `account`."""
        self._administer("POST", f"/rses/{rse}", {"deterministic": deterministic})
        for key, value in (attributes or {}).items():
            self._administer("POST", f"/rses/{rse}/attr/{key}", {"value": value})
        module = {"file": "posix", "root": "xrootd"}[scheme]
        protocol = {
            "hostname": host,
            "port": port,
            "prefix": f"{prefix}".rstrip("/") + "/",
            "impl": f"rucio.rse.protocols.{module}.Default",
            "domains": {"lan": dict.fromkeys(WAYS, 1), "wan": dict.fromkeys(WAYS + COPIES, 1)},
        }
        self._administer("POST", f"/rses/{rse}/protocols/{scheme}", protocol)
        if account is not None:
            self.set_limit(account, rse)

    def set_limit(self, account: str, rse: str, size_bytes: int = UNLIMITED) -> None:
        """How much the rules of `account` may hold at `rse`; without a limit it may have none there."""
        self._administer("POST", f"/accountlimits/local/{account}/{rse}", {"bytes": size_bytes})

    def connect(self, source: str, destination: str) -> None:
        """Let rules copy from one storage element to another."""
        self._administer("POST", f"/rses/{source}/distances/{destination}", {"distance": 1})

    def change_rse(self, rse: str, **change: Any) -> None:
        """Change settings of a storage element, such as `availability_write=False`."""
        self._administer("PUT", f"/rses/{rse}", change)

    def add_account(self, account: str, password: str, *, admin: bool = False) -> None:
        """An account that logs in under its own name. It has no scope, no limit, and only with `admin` the right to do all."""
        mail = "nobody@localhost"
        self._administer("POST", f"/accounts/{account}", {"type": "SERVICE", "email": mail})
        identity = {"identity": account, "authtype": "USERPASS", "email": mail, "default": True, "password": password}
        self._administer("POST", f"/accounts/{account}/identities", identity)
        if admin:
            self._administer("POST", f"/accounts/{account}/attr/admin", {"key": "admin", "value": "true"})

    def close_dataset(self, did: str) -> None:
        scope, _, name = did.partition(":")
        self._administer("PUT", f"/dids/{scope}/{name}/status", {"open": False})

    def add_replicas(self, rse: str, files: Sequence[dict[str, Any]]) -> None:
        """What other programs do: enter replicas (scope, name, bytes, adler32), without any comparison with what is there."""
        self._administer("POST", "/replicas", {"rse": rse, "files": list(files)})

    def set_replica_state(self, rse: str, did: str, state: str) -> None:
        """The state of one replica: A available, U unavailable, C copying."""
        scope, _, name = did.partition(":")
        self._administer("PUT", "/replicas", {"rse": rse, "files": [{"scope": scope, "name": name, "state": state}]})

    def set_rule_state(self, dataset: str, state: str) -> None:
        """The state of a dataset's rules, as daemons would leave it: O, R replicating, S stuck, U suspended."""
        self._change("UPDATE rules SET state = ? WHERE scope || ':' || name = ?", state, dataset)

    def forget_tokens(self) -> None:
        """No token given so far is good any more. The server is started again, for it keeps them in memory too."""
        self.stop()
        self._change("DELETE FROM tokens")
        self._token = None
        self.start()

    def _change(self, statement: str, *values: Any) -> None:
        with contextlib.closing(sqlite3.connect(self._database, timeout=60)) as database, database:
            database.execute(statement, values)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the server's own database: what is really there, whatever a client says."""
        with contextlib.closing(sqlite3.connect(self._database, timeout=60)) as database:
            return database.execute(query, values).fetchall()

    def _administer(self, method: str, path: str, content: dict[str, Any] | None = None) -> None:
        if self._token is None:
            login = {"X-Rucio-Account": "root", "X-Rucio-Username": "ddmlab", "X-Rucio-Password": "secret"}
            with urllib.request.urlopen(urllib.request.Request(f"{self.url}/auth/userpass", headers=login), timeout=60) as answer:
                self._token = answer.headers["X-Rucio-Auth-Token"]
        body = None if content is None else json.dumps(content).encode()
        headers = {"X-Rucio-Auth-Token": self._token or "", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60):
                pass
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:500]}") from None


def _write_settings(folder: Path) -> dict[str, str]:
    """Write what the server reads into `folder`; the environment variables it needs."""
    values = {"folder": folder, "database": f"sqlite:///{folder}/rucio.db"}
    (folder / "rucio.cfg").write_text(SERVER.format(**values))
    (folder / "alembic.ini").write_text(ALEMBIC.format(**values))
    # Away from UTC a daemon stops: SQLite keeps no time zones.
    fixed = {"HOME": str(folder), "TZ": "UTC", "LC_ALL": "C.UTF-8", "RUCIO_CONFIG": str(folder / "rucio.cfg")}
    return {"PATH": os.environ.get("PATH", os.defpath), **fixed}


def _template() -> Path:
    """A database with all tables and the administrator's account, built once; several may build it at the same time."""
    if not TEMPLATE.exists():
        TEMPLATE.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TEMPLATE.parent) as name:
            folder = Path(name)
            built = subprocess.run(
                [PYTHON, "-P", __file__, "build"], env=_write_settings(folder), cwd=folder, capture_output=True, text=True, check=False
            )
            if built.returncode:
                raise RuntimeError(f"the Rucio database was not built:\n{built.stderr[-2000:]}")
            (folder / "rucio.db").replace(TEMPLATE)
    return TEMPLATE


def _end(process: subprocess.Popen[str], signal_number: signal.Signals) -> None:
    process.send_signal(signal_number)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


# -- what runs in the server's environment; its modules are imported only there -------------------------------------------------


def _quick_sqlite() -> None:
    """Readers beside a writer, no waiting for the disk, and patience with a lock."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")  # type: ignore[untyped-decorator, unused-ignore]
    def _(connection: Any, _record: Any) -> None:
        for setting in ("journal_mode=WAL", "synchronous=OFF", "busy_timeout=60000"):
            connection.execute(f"PRAGMA {setting}")


def _build() -> None:
    from rucio.db.sqla.util import build_database, create_base_vo, create_root_account

    build_database()
    create_base_vo()
    create_root_account()


def _serve(port: int) -> None:
    import waitress

    threading.Thread(target=_end_with_parent, daemon=True).start()
    _quick_sqlite()
    from rucio.web.rest.main import application

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    waitress.serve(application, host="127.0.0.1", port=port, threads=1, _quiet=True)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def _daemons() -> None:
    """Read names of daemons, run one round of each, and answer `done` or what went wrong."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    _quick_sqlite()
    rounds = _rounds()
    for line in sys.stdin:
        try:
            rounds[line.strip()]()
        except Exception as error:  # noqa: BLE001 - the caller is told
            answers.write(f"{error!r}".replace("\n", " ") + "\n")
        else:
            answers.write("done\n")


def _rounds() -> dict[str, Callable[[], Any]]:
    """One round of each daemon by name. Of the conveyor's the functions below `run`, which would first wait for partners."""
    from rucio.core.topology import ExpiringObjectCache, Topology
    from rucio.daemons.abacus import account, collection_replica, rse
    from rucio.daemons.conveyor import finisher, poller, submitter
    from rucio.daemons.judge import cleaner, evaluator, injector, repairer
    from rucio.daemons.reaper import reaper

    topology = ExpiringObjectCache(ttl=300, new_obj_fnc=Topology)
    return {
        "evaluator": lambda: evaluator.run(once=True),
        "injector": lambda: injector.run(once=True),
        "repairer": lambda: repairer.run(once=True),
        "cleaner": lambda: cleaner.run(once=True),
        "abacus": lambda: (rse.run(once=True), account.run(once=True), collection_replica.run(once=True)),
        "reaper": lambda: reaper.run(once=True, greedy=True, rses=[]),
        "submitter": lambda: submitter.submitter(once=True, partition_wait_time=0, sleep_time=0),
        "poller": lambda: poller.poller(once=True, older_than=0, partition_wait_time=0),
        "finisher": lambda: finisher.finisher(once=True, partition_wait_time=0, sleep_time=0, cached_topology=topology),
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["build"]:
            _build()
        case ["serve", port]:
            _serve(int(port))
        case ["daemons"]:
            _daemons()
