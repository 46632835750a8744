"""A real HTCondor pool on this machine, from the programs `make services` unpacks (`htcondor_install.sh`).

    with Pool(folder) as pool:
        subprocess.run(pool.command("condor_submit", "job.sub"), env=pool.environment())

One partitionable slot, one queue, short cycles: a job starts about two seconds after its submission. The machine says of itself what a
glidein at CERN does, and the queue what jobsub_lite looks for. HTCondor takes no jobs from root. Under root, pool, clients and jobs run
as `nobody` (`setpriv`), who keeps the one right he needs to work in folders that only root may enter. The pool ends with the thread
that started it.
"""

from __future__ import annotations

import getpass
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from dune_prompt.errors import TransientError

T = TypeVar("T")

INSTALLED = Path("/opt/dune-prompt-condor")
UNPRIVILEGED = "nobody"
SCHEDD = "jobsub01.local"
START_S, STOP_S, COMMAND_S = 60.0, 20.0, 60.0
# A process of the pool has the first in its environment, a job of the pool the second.
_MARKS = ("CONDOR_CONFIG={folder}/condor_config\0", "_CONDOR_SCRATCH_DIR={folder}/execute/")

CONFIG = """\
RELEASE_DIR = {installed}
LOCAL_DIR = {folder}
LOG = $(LOCAL_DIR)/log
SPOOL = $(LOCAL_DIR)/spool
EXECUTE = $(LOCAL_DIR)/execute
LOCK = $(LOCAL_DIR)/lock
RUN = $(LOCAL_DIR)/run
BIN = $(RELEASE_DIR)/bin
SBIN = $(RELEASE_DIR)/sbin
LIBEXEC = $(RELEASE_DIR)/libexec
LIB = $(RELEASE_DIR)/lib
DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR STARTD
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{port}
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
USE_SHARED_PORT = False
ENABLE_IPV6 = False
NETWORK_HOSTNAME = {schedd}
SCHEDD_NAME = {schedd}
UID_DOMAIN = local
FILESYSTEM_DOMAIN = local
TRUST_UID_DOMAIN = True

SEC_DEFAULT_AUTHENTICATION_METHODS = FS
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_DEFAULT_ENCRYPTION = OPTIONAL
# Queue and negotiator may greet each other at the same moment, then both wait 20 s for an answer. The negotiator asks every second anyway.
SCHEDD_SEND_RESCHEDULE = False
# What is killed here is processes, never the machine.
CONDOR_FSYNC = False
SEC_DEFAULT_INTEGRITY = OPTIONAL
# The queue is not a child of the master, so that a killed one stays dead.
SEC_USE_FAMILY_SESSION = False
# Newer client bindings ask for a directory name that these daemons do not send.
SEC_FS_ENFORCE_CHANNEL_BINDING = False
ALLOW_WRITE = *
ALLOW_READ = *
ALLOW_ADMINISTRATOR = {user}@*
ALLOW_DAEMON = {user}@*
ALLOW_NEGOTIATOR = {user}@*
ALLOW_ADVERTISE_MASTER = {user}@*
ALLOW_ADVERTISE_SCHEDD = {user}@*
ALLOW_ADVERTISE_STARTD = {user}@*

START = True
SUSPEND = False
PREEMPT = False
KILL = False
NUM_SLOTS = 1
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
# More than there is: jobs of tests ask for what real ones need and use nothing of it.
NUM_CPUS = {cpus}
MEMORY = {memory_mb}
DISK = 1000000000
RunBenchmarks = 0
CGROUP_POLLING_INTERVAL = 0
BASE_CGROUP =
DISCARD_SESSION_KEYRING_ON_STARTUP = False
STARTER_ALLOW_RUNAS_OWNER = True
MAX_FILE_DESCRIPTORS = 0
CREATE_CORE_FILES = False
DAGMAN_USE_STRICT = 0
DEFAULT_USERLOG_FORMAT_OPTIONS = ISO_DATE, SUB_SECOND

GLIDEIN_Site = "CERN"
GLIDEIN_DUNESite = "CERN"
HAS_usage_model = "OFFSITE"
HAS_Singularity = True
HAS_CVMFS_dune_opensciencegrid_org = True
IFOS_installed = "SL7,EL9"
STARTD_ATTRS = $(STARTD_ATTRS) GLIDEIN_Site GLIDEIN_DUNESite HAS_usage_model HAS_Singularity IFOS_installed
STARTD_ATTRS = $(STARTD_ATTRS) HAS_CVMFS_dune_opensciencegrid_org
STARTER_JOB_ENVIRONMENT = "GLIDEIN_Site=CERN GLIDEIN_DUNESite=CERN"
SYSTEM_JOB_MACHINE_ATTRS = $(SYSTEM_JOB_MACHINE_ATTRS) GLIDEIN_Site
IsJobsubLite = True
SupportedVOList = "dune"
InDownTime = False
Jobsub_Max_Jobs_Per_Submission = 10000
SCHEDD_ATTRS = $(SCHEDD_ATTRS) IsJobsubLite SupportedVOList InDownTime Jobsub_Max_Jobs_Per_Submission

NEGOTIATOR_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
SCHEDD_INTERVAL = 5
SCHEDD_MIN_INTERVAL = 1
UPDATE_INTERVAL = 10
PERIODIC_EXPR_INTERVAL = 2
MAX_PERIODIC_EXPR_INTERVAL = 2
STARTER_UPDATE_INTERVAL = 2
STARTER_INITIAL_UPDATE_INTERVAL = 1
MachineMaxVacateTime = 2
{more}
"""


def insisted(ask: Callable[[], T], tries: int = 3) -> T:
    """What a launcher answers, asked again as the engine does when a queue was too busy for an answer."""
    for _ in range(tries - 1):
        with suppress(TransientError):
            return ask()
        time.sleep(1.0)
    return ask()


def installed() -> str | None:
    """Why there can be no pool here; None if there can."""
    if not (INSTALLED / ".complete").exists():
        return f"no HTCondor in {INSTALLED}; `make services` installs it (root)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "HTCondor takes no jobs from root, and there is no `setpriv` (package util-linux) to be somebody else"
    return None


class Pool:
    """One machine with `cpus` slots and one queue, everything it keeps in `folder`. `more`: further lines of its configuration."""

    def __init__(self, folder: Path, cpus: int = 8, *, memory_mb: int = 64_000, more: str = "") -> None:
        self.folder = folder.absolute()
        self.bin = INSTALLED / "bin"
        self.config = self.folder / "condor_config"
        self.schedd = SCHEDD
        self.user = UNPRIVILEGED if os.geteuid() == 0 else getpass.getuser()
        self.prefix = tuple(_unprivileged())
        self._settings = {"cpus": cpus, "memory_mb": memory_mb, "more": more}
        self._master: subprocess.Popen[bytes] | None = None
        self._schedd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("log", "spool", "execute", "lock", "run", "home"):
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                shutil.chown(folder, self.user)
        fixed = {"folder": self.folder, "installed": INSTALLED, "schedd": self.schedd, "user": self.user, "port": _free_port()}
        self.config.write_text(CONFIG.format(**fixed, **self._settings))
        try:
            self._master = self._daemon("condor_master")
            # A queue that finds no collector tries again only much later.
            self._until("condor_status", "-any", "-af", "Name", printing=False)
            self.start_schedd()
            self._until("condor_status", "-af", "Name")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    # -- clients ---------------------------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """What a client of the pool needs to have in its environment; nothing of ours."""
        return {
            "CONDOR_CONFIG": str(self.config),
            "HOME": str(self.folder / "home"),
            "USER": self.user,
            "LOGNAME": self.user,
            "LANG": "C.UTF-8",
            "PATH": f"{self.bin}:{INSTALLED / 'sbin'}:/usr/local/bin:/usr/bin:/bin",
        }

    def command(self, *argv: str) -> list[str]:
        """The arguments that run a command as the pool's user."""
        return [*self.prefix, *argv]

    def run(self, *argv: str, check: bool = True) -> str:
        """What a command of HTCondor prints."""
        done = subprocess.run(
            self.command(*argv),
            env=self.environment(),
            cwd=self.folder / "home",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        if check and done.returncode:
            raise RuntimeError(f"{argv[0]}: exit code {done.returncode}: {done.stderr[-1000:]}")
        return done.stdout

    def jobs(self, constraint: str = "true") -> list[dict[str, Any]]:
        """The ads of all jobs in the queue that meet `constraint`."""
        return json.loads(self.run("condor_q", "-allusers", "-json", "-constraint", constraint) or "[]")

    def clear(self) -> None:
        """Remove all jobs."""
        self.run("condor_rm", "-all", check=False)
        self.run("condor_rm", "-all", "-forcex", check=False)

    # -- the queue -------------------------------------------------------------------------------------------------------------

    def start_schedd(self) -> None:
        """Start the queue, if it does not run, and return when it takes jobs and the collector knows it."""
        if self._schedd is not None and self._schedd.poll() is None:
            return
        (self.folder / "spool" / "job_queue.log.lock").unlink(missing_ok=True)
        address = self.folder / "log" / ".schedd_address"
        address.unlink(missing_ok=True)
        self._schedd = self._daemon("condor_schedd")
        self._until("condor_q", "-af", "ClusterId", printing=False)
        self._until("condor_status", "-schedd", "-af", "Name")

    def stop_schedd(self) -> None:
        """End the queue in order: it takes its ad out of the collector; running jobs run on and are found again."""
        self._signal_schedd(signal.SIGQUIT)
        self._wait_schedd()

    def kill_schedd(self) -> None:
        """End the queue as a crash of its machine would: its ad stays in the collector, running jobs run on and are found again.

        What it has noted of jobs in the last moments may be lost. Its shadows die with it: alive, they would fight over the jobs with
        those of the next one, and the jobs would be started anew.
        """
        self._signal_schedd(signal.SIGKILL)
        self._wait_schedd()
        for pid in self._processes():
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "condor_shadow":
                    os.kill(pid, signal.SIGKILL)

    def hide_schedd(self) -> None:
        """Kill the queue and take its ad out of the collector: it then looks as if there were no queues and no jobs."""
        self.kill_schedd()
        ad = f'MyType = "Query"\nTargetType = "Scheduler"\nName = "{self.schedd}"\nRequirements = TARGET.Name == "{self.schedd}"\n'
        file = self.folder / "home" / "invalidate.ad"
        file.write_text(ad)
        self.run("condor_advertise", "INVALIDATE_SCHEDD_ADS", str(file))

    def freeze_schedd(self) -> None:
        """Let the queue hang: it takes connections and answers nothing."""
        self._signal_schedd(signal.SIGSTOP)

    def thaw_schedd(self) -> None:
        """Let it go on."""
        self._signal_schedd(signal.SIGCONT)

    def _signal_schedd(self, number: signal.Signals) -> None:
        if self._schedd is not None and self._schedd.poll() is None:
            self._schedd.send_signal(number)

    def _wait_schedd(self) -> None:
        if self._schedd is not None:
            _wait(self._schedd)
            self._schedd = None

    # -- processes -------------------------------------------------------------------------------------------------------------

    def _daemon(self, program: str) -> subprocess.Popen[bytes]:
        setpriv = [*self.prefix, "--pdeathsig", "QUIT"] if self.prefix else ["setpriv", "--pdeathsig", "QUIT"]
        with (self.folder / "log" / "start.log").open("ab") as output:
            return subprocess.Popen(
                [*(part for part in setpriv if part != "--"), "--", str(INSTALLED / "sbin" / program), "-f"],
                env=self.environment(),
                cwd=self.folder / "log",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _until(self, *argv: str, printing: bool = True) -> None:
        """Wait until a client is answered."""
        until = time.monotonic() + START_S
        while True:
            with suppress(RuntimeError):
                if self.run(*argv).strip() or not printing:
                    return
            if time.monotonic() > until:
                raise RuntimeError(f"HTCondor does not start, see {self.folder / 'log'}: {self._last_words()}")
            time.sleep(0.1)

    def _last_words(self) -> str:
        logs = [self.folder / "log" / name for name in ("start.log", "MasterLog", "SchedLog")]
        return " | ".join(log.read_text(errors="replace")[-300:] for log in logs if log.exists())

    def _end(self) -> None:
        for process in (self._schedd, self._master):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGQUIT)
        for process in (self._schedd, self._master):
            if process is not None:
                _wait(process)
        self._schedd = self._master = None
        # Jobs whose queue was killed, and what did not end in time.
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self) -> list[int]:
        """What still runs of the pool and its jobs."""
        marks = [mark.format(folder=self.folder).encode() for mark in _MARKS]
        uid = pwd.getpwnam(self.user).pw_uid
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if entry.stat().st_uid == uid and int(entry.name) != os.getpid():
                    environment = (entry / "environ").read_bytes() + b"\0"
                    if any(mark in environment for mark in marks):
                        found.append(int(entry.name))
        return found


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _unprivileged() -> list[str]:
    """What a command starts with so that it runs as somebody who is not root."""
    if os.geteuid() != 0:
        return []
    rights = ["--inh-caps", "-all,+dac_override", "--ambient-caps", "-all,+dac_override", "--securebits", "+no_setuid_fixup"]
    return ["setpriv", "--reuid", UNPRIVILEGED, "--regid", "nogroup", "--clear-groups", *rights, "--"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
