"""A double of jobsub_lite 1.12 on the real pool of `tests/servers/htcondor.py`, as unhelpful as the real one.

    with Pool(folder) as pool:
        jobsub = Jobsub(other_folder, pool)
        launcher = JobsubLauncher(settings, environment=jobsub.environment())
        jobsub.faults = {"answer_lost": "kill"}

It takes the same command lines, prints the same texts between the same noise, renders submit file and script in the same way, and ends
with the same exit codes, which say nothing. Faults can be changed while jobs run; each command looks at them when it starts:

    hang: [programs]        these never answer
    slow: seconds           every command takes so much longer
    quiet: True             no noise of the tracing library (there is otherwise)
    slow_submit: seconds    condor_submit takes so long; by then the submit file is in `rendered`
    submit_fails: text      condor_submit fails with this text; jobsub_submit ends with 0 all the same
    answer_lost: how        condor has taken the jobs, then jobsub_submit is killed (`kill`), hangs (`hang`), or says it failed (`fail`)
    never_published: True   the tarball does not appear
    schedd_hidden: True     the collector does not know the queue: nothing is printed, exit code 0
    queue_empty: True       the queue is there and answers with no jobs
    stale_ad: True          the collector knows a queue that does not answer: a line on stderr, exit code 0
    collector_down: True    exit code 1, or 0 where queues are named
    no_condor_status: True  there is no condor_status on this machine
    noise: text             a line before each array
    more_queues: [[ads]]    arrays of further queues after the first
    cut_answer: n           jobsub_q prints so many characters only
    removes_nothing: True   jobsub_rm does nothing and says nothing
    vanish: True            jobs leave the queue when they end, whatever was asked for
    hold: why               jobs submitted now go on hold: `credentials`, or `empty_file` (the script dies before its first act)
    extra_lines: [lines]    more lines of the submit file

Jobs that are removed or held run on, always: only the script around the payload is told, and it looks when the payload has ended.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers.htcondor import Pool

PROGRAMS = ("jobsub_submit", "jobsub_q", "jobsub_rm", "jobsub_hold", "jobsub_release", "jobsub_fetchlog", "jobsub_history", "condor_status")
REPOSITORY = Path(__file__).parent.parent.parent
PROGRAM = """\
#!{python} -IB
import sys
sys.path.insert(0, {repository!r})
from tests.servers.jobsub_parts.program import main
main({program!r}, {folder!r})
"""


class Jobsub:
    """The programs in `bin`, which goes first on the PATH, a good token, and everything they keep in `folder`."""

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.folder, self.pool = folder.absolute(), pool
        self.bin = self.folder / "bin"
        self.token_file = self.folder / "token"
        self.bin.mkdir(parents=True)
        (self.folder / "home").mkdir()
        settings = {"prefix": list(pool.prefix), "environment": pool.environment()}
        (self.folder / "settings.json").write_text(json.dumps(settings))
        for program in PROGRAMS:
            file = self.bin / program
            text = PROGRAM.format(python=sys.executable, repository=str(REPOSITORY), program=program, folder=str(self.folder))
            file.write_text(text)
            file.chmod(0o755)
        self._collector = pool.run("condor_config_val", "COLLECTOR_HOST").strip()
        self.faults = {}
        self.give_token()

    @property
    def faults(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "faults.json").read_text()))

    @faults.setter
    def faults(self, faults: Mapping[str, Any]) -> None:
        draft = self.folder / "faults.draft"
        draft.write_text(json.dumps(dict(faults)))
        draft.replace(self.folder / "faults.json")

    def environment(self) -> dict[str, str]:
        """What a user of jobsub has in his."""
        return {
            "PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "USER": "dunepro",
            "TMPDIR": str(self.folder),
            "BEARER_TOKEN_FILE": str(self.token_file),
            "JOBSUB_POOL_MAP": json.dumps({"dune": {"collector": self._collector, "onsite": "FNAL_GPGrid"}}),
            "CONDOR_CONFIG": str(self.pool.config),
        }

    def give_token(self, *, expires_in_s: float = 3600.0, group: str = "/dune/production", scope: str | None = None) -> None:
        """A new token in the file: unsigned, nobody here looks at signatures."""
        scope = scope or "compute.create compute.read storage.create:/dune storage.modify:/ storage.read:/dune"
        claims = {"exp": time.time() + expires_in_s, "wlcg.groups": [group], "scope": scope}
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims)]
        self.token_file.write_text(".".join([*parts, ""]) + "\n")
        self.token_file.chmod(0o600)

    def commands(self, program: str) -> list[list[str]]:
        """The command lines of a program so far, without its name."""
        log = self.folder / "commands.log"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [line[1:] for line in lines if line[0] == program]

    def environments(self) -> list[dict[str, str]]:
        """The environments of all commands so far."""
        log = self.folder / "environments.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def rendered(self, name: str) -> str:
        """`simple.cmd` or `simple.sh` of the last submission."""
        return (self.folder / "rendered" / name).read_text()
