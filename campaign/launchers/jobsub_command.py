"""The command lines of jobsub_lite 1.12, checked before they are used.

jobsub_lite pastes what it is given into a submit file and a shell script without quoting, and takes one layer of single quotes and
backslashes off its own arguments first (its `lib/utils.py`, `templates/simple/`). Nothing that this could change is let through.
"""

from __future__ import annotations

import json
import math
import os
import posixpath
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from campaign.launchers.protocol import AVOID_FOR_S, Submission
from dune_prompt.errors import ConfigError
from dune_prompt.settings.launchers import JobsubLauncherSettings

# Attributes of each job's ad: by them a submission whose answer was lost is found again, and the attempt each of its jobs is.
REQUEST, ATTEMPT = "PPRequestId", "PPAttempt"
SCRIPT = "job.sh"
# What the script is called with instead of a tarball: jobsub has unpacked it already, in $INPUT_TAR_DIR_LOCAL.
UNPACKED = "@tar"
# In the job's environment: the sites it may run at, separated by commas. The script compares $GLIDEIN_Site, without regard to case.
SITES_VARIABLE = "DUNE_PROMPT_SITES"
# A completed job stays in the queue this long. jobsub's own submit file lets it vanish at once; the later line wins.
KEPT_S = 7200
# jobsub waits for the published tarball and unpacks before the payload begins: its time comes on top of the payload's.
START_UP_S = 900
# Linux takes no longer argument (MAX_ARG_STRLEN).
LONGEST_ARGUMENT = 131_000
# Constraints are cut into pieces of so many names.
NAMES_PER_QUESTION = 50

ATTRIBUTES = (
    "ClusterId,ProcId,GlobalJobId,JobsubJobId,JobStatus,LastJobStatus,EnteredCurrentStatus,QDate,JobStartDate,NumJobStarts,"
    "HoldReason,HoldReasonCode,HoldReasonSubCode,RemoveReason,RemoteHost,LastRemoteHost,MATCH_GLIDEIN_Site,MATCH_EXP_JOB_GLIDEIN_Site,"
    f"ExitBySignal,ExitCode,ExitSignal,CompletionDate,{REQUEST},{ATTEMPT}"
)

SCHEDD_ATTRIBUTES = (
    "Name,Machine,IsJobsubLite,SupportedVOList,InDownTime,LastHeardFrom,"
    "TotalJobAds,TotalRunningJobs,TotalIdleJobs,TotalHeldJobs,TotalRemovedJobs"
)

_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
# Printable ASCII. A line feed would end the comment in jobsub's script that repeats the command line.
_TEXT = re.compile(r"[ -~]+")
_LINE = re.compile(r"(?P<name>(?:\+|MY\.)?[A-Za-z_][A-Za-z0-9_.]*)\s*=(?!=)\s*\S.*")
# jobsub's ids, as its own patterns have them: a queue with a hyphen in its name cannot be named in one.
_ID = re.compile(r"(?P<job>\d+(?:\.\d+)?)@(?P<schedd>[\w.]+)")
# Lines that would undo what is set here or by jobsub: theirs come before these in the submit file.
_TAKEN_LINES = frozenset(
    {REQUEST.lower(), ATTEMPT.lower(), "leavejobinqueue", "leave_in_queue", "desired_sites", "desired_usage_model", "blacklist_sites"}
    | {"jobsubjobid", "jobsub_group", "accountinggroup", "accounting_group", "singularityimage", "container_image"}
    | {"requirements", "executable", "arguments", "args", "environment", "env", "getenv", "universe", "queue", "iwd", "initialdir"}
    | {"output", "error", "log", "transfer_executable", "transfer_input_files", "transfer_output_files", "transfer_output"}
    | {"transfer_error", "should_transfer_files", "when_to_transfer_output", "request_memory", "request_disk", "request_cpus"}
    # Repetition is the engine's: an attempt is one start.
    | {"max_retries", "retry_until", "on_exit_remove", "on_exit_hold", "use_oauth_services", "hold"}
)

_PASSED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CONDOR_CONFIG", "BEARER_TOKEN_FILE", "X509_USER_PROXY"}
    | {"X509_CERT_DIR", "KRB5CCNAME", "KRB5_CONFIG", "HTGETTOKENOPTS", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"}
    | {"SPACK_ROOT"}
)
_PASSED_PREFIXES = ("JOBSUB_", "_condor_", "_CONDOR_", "OTEL_", "POMS")


def common_options(settings: JobsubLauncherSettings) -> list[str]:
    """What every command of jobsub gets: who asks, with which credentials, and in which pool."""
    options = ["-G", settings.group, f"--role={settings.role}", "--auth-methods", settings.auth]
    return options + (["--global-pool", settings.global_pool] if settings.global_pool else [])


def submit_command(settings: JobsubLauncherSettings, submission: Submission) -> list[str]:
    """The `jobsub_submit` that starts the jobs of `submission` as one cluster.

    Raises:
        ConfigError: something in it would not arrive as it is.
    """
    jobs = submission.jobs
    script = plain("the submission's folder", str(submission.folder / SCRIPT))
    if not script.startswith("/"):
        raise ConfigError(f"jobsub: the submission's folder {submission.folder} is not an absolute path")
    if submission.bundle is None or submission.assignments_url is None:
        raise ConfigError("jobsub: workers share no files with us: set outputs.worker_url, and share_files: false for this launcher")
    arguments = [UNPACKED, plain("outputs.worker_url", submission.assignments_url)]
    lifetime_s = math.ceil(max(job.lifetime_s for job in jobs))
    command = ["jobsub_submit", *common_options(settings)]
    command += [f"--subgroup={settings.subgroup}"] if settings.subgroup else []
    command += [f"--site={settings.site}"] if settings.site else []
    command += ["-N", str(len(jobs))]
    command += [
        f"--memory={_mebibytes(max(job.memory_bytes for job in jobs))}MB",
        f"--disk={_mebibytes(max(job.disk_bytes for job in jobs))}MB",
        f"--cpu={max(job.cpus for job in jobs)}",
        f"--expected-lifetime={lifetime_s + START_UP_S}s",
        f"--timeout={lifetime_s}s",
    ]
    if settings.requirements:
        # In parentheses, as jobsub joins its own requirements, the site's included, with && and this.
        command.append(f"--append_condor_requirements=({expression('requirements', settings.requirements)})")
    hosts = dict.fromkeys(host for job in jobs for host in job.avoid_hosts)
    if hosts:
        command.append(f"--append_condor_requirements=({' && '.join(_is_not(host) for host in hosts)})")
    command += ["-l", f'+{REQUEST}="{name("id of the submission", submission.id)}"']
    attempts = [name("attempt", job.attempt) for job in jobs]
    # Of two arguments, condor takes the second for the name of a list.
    command += ["-l", f'+{ATTEMPT}="$CHOICE(Process,{",".join(attempts)})"' if len(attempts) > 1 else f'+{ATTEMPT}="{attempts[0]}"']
    command += ["-l", f"+LeaveJobInQueue = (JobStatus == 4) && ((time() - CompletionDate) < {KEPT_S})"]
    for number, line in enumerate(settings.lines):
        command += ["-l", submit_line(f"lines[{number}]", line)]
    if settings.site:
        command += ["-e", environment_entry(SITES_VARIABLE, settings.site)]
    if settings.image:
        command += ["--singularity-image", plain("image", settings.image)]
    if writable := _storage(settings, submission):
        command += ["--need-storage-modify", writable]
    if settings.managed_token:
        command.append("--managed-token")
    command += ["--tar_file_name", f"dropbox://{plain('the path of the bundle', str(submission.bundle))}"]
    command += [f"file://{script}", *arguments]
    if longest := max((part for part in command if len(part) > LONGEST_ARGUMENT), key=len, default=None):
        raise ConfigError(f"jobsub: an argument has {len(longest)} characters, {longest[:40]}…; lower this launcher's `slice`")
    return command


def queue_command(settings: JobsubLauncherSettings, constraint: str, schedds: Iterable[str] = ()) -> list[str]:
    """The `jobsub_q` for the ads of jobs that meet `constraint`: from the queues named, or from all that take the group's jobs now."""
    named = [f"@{schedd}" for schedd in sorted(schedds)]
    return ["jobsub_q", *common_options(settings), "--constraint", constraint, "-json", "-attributes", ATTRIBUTES, *named]


def remove_commands(settings: JobsubLauncherSettings, handles: Iterable[str]) -> list[list[str]]:
    """The `jobsub_rm` for jobs: one for all queues, and one for each queue whose name jobsub cannot read in an id."""
    command = ["jobsub_rm", *common_options(settings)]
    readable: list[str] = []
    others: dict[str, list[str]] = {}
    for handle in sorted(set(handles)):
        if _ID.fullmatch(handle):
            readable.append(handle)
        else:
            job, _, schedd = handle.partition("@")
            others.setdefault(schedd, []).append(job)
    commands = [[*command, "-J", ",".join(piece)] for piece in pieces(readable)]
    return commands + [[*command, "-name", schedd, *piece] for schedd, jobs in others.items() for piece in pieces(jobs)]


def remove_by_constraint(settings: JobsubLauncherSettings, constraint: str) -> list[str]:
    """The `jobsub_rm` for all jobs that meet `constraint`, in all queues."""
    return ["jobsub_rm", *common_options(settings), "--constraint", constraint]


def fetchlog_command(settings: JobsubLauncherSettings, handle: str, folder: Path) -> list[str]:
    """The `jobsub_fetchlog` that brings what one job printed; without `--partial` it would bring the whole cluster's."""
    return ["jobsub_fetchlog", *common_options(settings), "--condor", "--partial", "-J", handle, "--destdir", str(folder)]


def schedds_command(collector: str | None) -> list[str]:
    """The `condor_status` for the queues a collector knows."""
    pool = ["-pool", collector] if collector else []
    return ["condor_status", *pool, "-schedd", "-json", "-attributes", SCHEDD_ATTRIBUTES]


def one_of(attribute: str, values: Iterable[str]) -> str:
    """A constraint: the attribute is one of these names."""
    return " || ".join(f'{attribute}=?="{name(attribute, value)}"' for value in values)


def in_an_id(schedd: str) -> bool:
    """Whether jobsub can read the name of this queue in an id."""
    return re.fullmatch(r"[\w.]+", schedd) is not None


def pieces(items: Sequence[str]) -> list[Sequence[str]]:
    """The items in pieces that fit into one command line."""
    return [items[start : start + NAMES_PER_QUESTION] for start in range(0, len(items), NAMES_PER_QUESTION)]


def collector_of(settings: JobsubLauncherSettings, environment: Mapping[str, str]) -> str | None:
    """The collector of the settings' pool, from jobsub's pool map (its `lib/pool.py`); None: that of the condor configuration."""
    try:
        return str(json.loads(environment["JOBSUB_POOL_MAP"])[settings.global_pool]["collector"])
    except (KeyError, TypeError, ValueError):
        return None


def command_environment(settings: JobsubLauncherSettings, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of jobsub's commands: what they read, and nothing else of ours.

    LD_LIBRARY_PATH makes them start themselves again. JOBSUB_GLOBAL_POOL counts for submitting only: jobs would go where nobody asks.
    """
    kept = {key: value for key, value in ours.items() if key in _PASSED or key.startswith(_PASSED_PREFIXES)}
    kept.pop("JOBSUB_GLOBAL_POOL", None)
    account = pwd.getpwuid(os.getuid())
    environment = {"USER": account.pw_name, "HOME": account.pw_dir, "LANG": "C.UTF-8", "PATH": os.defpath} | kept
    environment["GROUP"] = settings.group
    if settings.command_path:
        environment["PATH"] = f"{settings.command_path}:{environment['PATH']}"
    if settings.token_file:
        environment["BEARER_TOKEN_FILE"] = str(settings.token_file)
    return environment


# --- what may be in an argument


def plain(setting: str, value: str) -> str:
    """A word that comes out as it went in: the shell on the worker, the submit file and jobsub itself find nothing to expand."""
    if not _PLAIN.fullmatch(value):
        raise _refused(setting, value, "only letters, digits and _./:=,@+- survive jobsub")
    return value


def name(setting: str, value: str) -> str:
    """A name inside a ClassAd string."""
    if not _NAME.fullmatch(value):
        raise _refused(setting, value, "only letters, digits and _.- are allowed")
    return value


def expression(setting: str, value: str) -> str:
    """A ClassAd expression: one that is closed in itself, without what jobsub takes away."""
    text(setting, value)
    depth, quoted = 0, False
    for character in value:
        if character == '"':
            quoted = not quoted
        elif not quoted:
            depth += (character == "(") - (character == ")")
            if depth < 0:
                break
    if depth or quoted:
        raise _refused(setting, value, "its parentheses or double quotes do not match")
    return value


def submit_line(setting: str, value: str) -> str:
    """A line of the submit file, `name = value` or `+Attribute = value`, which changes nothing that is set here or by jobsub."""
    expression(setting, value)
    match = _LINE.fullmatch(value)
    if match is None:
        raise _refused(setting, value, "a line is `name = value` or `+Attribute = value`")
    attribute = re.sub(r"^(\+|MY\.)", "", match["name"], flags=re.IGNORECASE).lower()
    if attribute in _TAKEN_LINES:
        raise _refused(setting, value, f"{match['name']} is set by dune-prompt or jobsub itself")
    return value


def environment_entry(variable: str, value: str) -> str:
    """`NAME=VALUE` for `-e`: jobsub joins them with `;` in condor's old syntax, which knows no quoting."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise _refused("environment", variable, "not the name of a variable")
    text(f"environment {variable}", value)
    if any(character in value for character in ';"$'):
        raise _refused(f"environment {variable}", value, "no semicolon, double quote or $ is allowed")
    return f"{variable}={value}"


def text(setting: str, value: str) -> str:
    """Printable ASCII in one line, without single quotes and backslashes."""
    if not _TEXT.fullmatch(value) or "'" in value or "\\" in value:
        raise _refused(setting, value, "one line of ASCII without single quotes and backslashes is allowed")
    return value


def storage_path(url: str) -> str:
    """The path of a place as tokens name it. jobsub takes `/pnfs` and `/eos` off itself, with a warning, but not dCache's long form.

    `root://host//pnfs/fnal.gov/usr/dune/x`, `/pnfs/dune/x` and `https://host/dune/x` are all `/dune/x`.
    """
    path = urlsplit(url).path if "://" in url else url
    path = posixpath.normpath("/" + path.lstrip("/"))
    for mounted in ("/pnfs/fnal.gov/usr", "/pnfs", "/eos"):
        if path.startswith(f"{mounted}/"):
            return path.removeprefix(mounted)
    return path


def _storage(settings: JobsubLauncherSettings, submission: Submission) -> str | None:
    """Below which path the job's token may write: jobsub takes all such rights away that are not asked for."""
    if settings.storage_modify is None and submission.outputs_url is None:
        return None
    setting, value = (
        ("storage_modify", settings.storage_modify) if settings.storage_modify else ("outputs.worker_url", submission.outputs_url)
    )
    path = storage_path(plain(setting, str(value)))
    if path == "/":
        raise _refused(setting, str(value), "a job's token must not be good for everything; name a folder")
    return path


def _is_not(host: str) -> str:
    """A machine is not this host, or the job has waited long enough for another; a short name is that of the host in any domain."""
    machine = "TARGET.Machine" if "." in host else 'split(TARGET.Machine,".")[0]'
    return f'({machine} != "{name("host to avoid", host)}" || time() - MY.QDate > {AVOID_FOR_S})'


def _mebibytes(size: int) -> int:
    """HTCondor's and jobsub's MB are 2^20 bytes."""
    return max(math.ceil(size / 2**20), 1)


def _refused(setting: str, value: str, reason: str) -> ConfigError:
    return ConfigError(f"jobsub: {setting}: {value[:200]!r}: {reason}")
