"""A real XRootD server on this machine, with files in a folder: `with XrootdServer(folder) as server: server.url("/eos/x")`.

Debian: `apt-get install --no-install-recommends xrootd-server xrootd-server-plugins`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

EXPORTED = "/eos"
START_S = 30.0
STARTS = 3
SETTLE_S = 0.05
USER = "nobody"

CONFIG = """\
all.role server
all.adminpath {folder}/admin
all.pidpath {folder}/admin
oss.localroot {folder}/root
all.export {exported}
xrd.port {port}
xrd.network nodnr
xrd.allow host localhost
xrootd.async off
ofs.persist off
"""
# Before anything else the server asks the name server for the names of this machine's addresses. One that does not answer
# would hold it for twenty seconds.
RESOLVER = "timeout:1 attempts:1"
CHECKSUMS = "xrootd.chksum max 2 adler32\n"

_PR_SET_PDEATHSIG = 1


class XrootdServer:
    """One server, which exports `/eos`. It stays at the same port over `stop`, `kill`, `start` and dies with this process.

    `checksums` False: one that computes none. As root the server runs as the user nobody, as it refuses root; every folder above
    `folder` must then be open to others (pytest's are not: use `tempfile.TemporaryDirectory`).
    """

    def __init__(self, folder: Path, *, checksums: bool = True) -> None:
        self.folder, self._checksums = folder.absolute(), checksums
        self.root = self.folder / "root"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str | None:
        """Why there can be no server here; None if there can."""
        if shutil.which("xrootd") is None:
            return "no xrootd server on this machine; `make services` installs it (root)"
        if importlib.util.find_spec("XRootD") is None:
            return "no XRootD module in this environment; pip install 'dune-prompt[dune]'"
        return None

    @property
    def address(self) -> str:
        return f"root://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        """The address of a path such as `/eos/x`."""
        return f"{self.address}/{path}"

    def local(self, path: str) -> Path:
        """Where the server keeps that path, to peek."""
        return self.root / path.lstrip("/")

    def put(self, path: str, content: bytes) -> str:
        """A file that is there, as the server's own, with the folders above it; its address."""
        file = self.local(path)
        self.make_folder(str(Path(path).parent))
        file.write_bytes(content)
        self._give(file)
        return self.url(path)

    def make_folder(self, path: str) -> str:
        """A folder that is there; its address."""
        missing = [folder for folder in (self.local(path), *self.local(path).parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir()
            self._give(folder)
        return self.url(path)

    def start(self) -> None:
        """Start, or start again, and wait until the port answers."""
        for name in ("root" + EXPORTED, "admin", "log"):
            path = self.folder / name
            path.mkdir(parents=True, exist_ok=True)
            self._give(path)
        self._open_up()
        config = self.folder / "xrd.cfg"
        config.write_text(CONFIG.format(folder=self.folder, exported=EXPORTED, port=self.port) + (CHECKSUMS if self._checksums else ""))
        for attempt in range(STARTS):
            self._launch(config)
            code = self._ended_or_answers()
            if code is None:
                return
            # xrootd 5.5 may crash when a client reaches it while it is still setting itself up, as one does that was cut off by our kill.
            if code != -signal.SIGSEGV or attempt == STARTS - 1:
                raise RuntimeError(f"xrootd ended with code {code} as it started:\n{self.log()[-2000:]}")

    def _launch(self, config: Path) -> None:
        as_user = {"user": USER, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        self._process = subprocess.Popen(
            ["xrootd", "-n", "test", "-c", str(config), "-l", str(self.folder / "log" / "xrd.log"), "-I", "v4"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder / "admin",
            env=os.environ | {"RES_OPTIONS": RESOLVER},
            preexec_fn=_die_with_parent,
            **as_user,
        )

    def _ended_or_answers(self) -> int | None:
        """Wait until the server answers (None) or has ended (its exit code)."""
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while (code := self._process.poll()) is None:
            if self._answers():
                # Its port is open some moments before it is ready, and that is when it crashes.
                time.sleep(SETTLE_S)
                return self._process.poll()
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"xrootd did not answer within {START_S:.0f} s:\n{self.log()[-2000:]}")
            time.sleep(0.02)
        return code

    def stop(self) -> None:
        """End the server; its files stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let the server hang: it takes connections and answers nothing."""
        self._signal(signal.SIGSTOP)
        # On a busy machine its threads go on for a moment.
        while self._process is not None and any(_state(task) != "T" for task in Path(f"/proc/{self._process.pid}/task").iterdir()):
            time.sleep(0.005)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """What the server wrote into its log."""
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.folder / "log").rglob("xrd.log")))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self._signal(number)
            try:
                self._process.wait(START_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, USER)

    def _open_up(self) -> None:
        if os.geteuid() != 0:
            return
        self.folder.chmod(self.folder.stat().st_mode | 0o011)
        if closed := [str(folder) for folder in self.folder.parents if not folder.stat().st_mode & 0o001]:
            raise RuntimeError(f"xrootd runs as {USER}, who cannot enter {', '.join(closed)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _state(task: Path) -> str:
    """The state of a thread, as `proc(5)` writes it; T: stopped."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
