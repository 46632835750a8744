"""The command lines jobsub_lite 1.12 takes (its `lib/get_parser.py`, `lib/mains/`): anything else ends with exit code 2 and a usage."""

from __future__ import annotations

import argparse
import json
import os
import re
from typing import Any

AUTH_METHODS = ("token", "proxy")
DEFAULT_IMAGE = "/cvmfs/singularity.opensciencegrid.org/fermilab/fnal-wn-el9:latest"


def unescaped(argument: str) -> str:
    """An argument after the layer of single quotes and backslashes that `jobsub_submit` takes off."""
    without_quotes = re.sub(r"(?!\\)'(.*[^\\])'", r"\1", argument)
    return re.sub(r"\\(.)", r"\1", without_quotes)


class _Group(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        os.environ["GROUP"] = values
        setattr(namespace, self.dest, values)


class _Pool(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        choose_pool(values)
        setattr(namespace, self.dest, values)


class _AuthMethods(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        methods = [method.strip() for method in values.split(",") if method.strip()]
        for method in methods:
            if method not in AUTH_METHODS:
                raise ValueError(f"Invalid auth method {method}.  Supported auth methods are {list(AUTH_METHODS)}.")
        if "token" not in methods:
            raise ValueError("The jobsub_lite infrastructure requires that the following authorization methods be present: ['token'].")
        setattr(namespace, self.dest, ",".join(methods))


def choose_pool(name: str) -> None:
    """A key of the pool map; its collector is the one that is asked from now on."""
    pools = json.loads(os.environ.get("JOBSUB_POOL_MAP", "{}"))
    if name not in pools:
        raise KeyError(f"--global-pool value must be one of ({', '.join(pools)})")
    os.environ["_condor_COLLECTOR_HOST"] = pools[name]["collector"]  # noqa: SIM112 - condor's own spelling


def executable(value: str) -> str:
    if not value.startswith("file://"):
        raise TypeError("executable must start with file://")
    return value


def base(program: str) -> argparse.ArgumentParser:
    """What every command takes."""
    if os.environ.get("JOBSUB_GROUP"):
        os.environ["GROUP"] = os.environ["JOBSUB_GROUP"]
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--auth-methods", action=_AuthMethods, default=os.environ.get("JOBSUB_AUTH_METHODS", ",".join(AUTH_METHODS)))
    parser.add_argument("-G", "--group", action=_Group, default=os.environ.get("GROUP"))
    parser.add_argument("--global-pool", action=_Pool, default="")
    parser.add_argument("--role")
    parser.add_argument("--subgroup")
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--devserver", action="store_true")
    parser.add_argument("--version", action="version", version="jobsub_lite version 1.12")
    parser.add_argument("--support-email", action="store_true")
    parser.add_argument("--schedd-for-testing", help=argparse.SUPPRESS)
    return parser


def with_job_ids(program: str) -> argparse.ArgumentParser:
    """What the commands about jobs take besides; most hand on to condor what they do not know."""
    parser = base(program)
    parser.add_argument("-J", "--jobid")
    parser.add_argument("--constraint")
    return parser


def about_jobs(program: str) -> argparse.ArgumentParser:
    parser = with_job_ids(program)
    parser.add_argument("-name")
    parser.add_argument("--jobsub_server")
    if program == "jobsub_q":
        parser.add_argument("--user")
    return parser


def fetchlog(program: str) -> argparse.ArgumentParser:
    parser = with_job_ids(program)
    parser.add_argument("--destdir", "--dest-dir", "--unzipdir")
    parser.add_argument("--archive-format", default="tar")
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--condor", action="store_true")
    parser.add_argument("job_id", nargs="?")
    return parser


def history(program: str) -> argparse.ArgumentParser:
    parser = with_job_ids(program)
    parser.add_argument("--user", default="")
    parser.add_argument("--qdate-ge", default="")
    parser.add_argument("--qdate-le", default="")
    return parser


def submit(program: str) -> argparse.ArgumentParser:
    """Everything from the first positional on belongs to the script."""
    parser = base(program)
    repeated: dict[str, Any] = {"action": "append", "default": []}
    flag: dict[str, Any] = {"action": "store_true"}
    parser.add_argument("--job-info", action="append", default=[])
    parser.add_argument("--need-storage-modify", action="append", default=[])
    parser.add_argument("--need-scope", action="append", default=[])
    parser.add_argument("-c", "--append_condor_requirements", "--append-condor-requirements", **repeated)
    parser.add_argument("--blocklist", "--blacklist", dest="blocklist")
    parser.add_argument("-r")
    parser.add_argument("-i")
    parser.add_argument("-t")
    parser.add_argument("--cmtconfig", default="")
    parser.add_argument("--cpu")
    parser.add_argument("--dag", **flag)
    parser.add_argument("--dataset-definition", "--dataset_definition", "--dataset")
    parser.add_argument("--dd-percentage", type=int, default=100)
    parser.add_argument("--dd-extra-dataset", **repeated)
    parser.add_argument("--disk", default="10GB")
    parser.add_argument("-d", nargs=2, action="append", default=[])
    parser.add_argument("--email-to", default=f"{os.environ['USER']}@fnal.gov")
    parser.add_argument("-e", "--environment", **repeated)
    parser.add_argument("--expected-lifetime", default="8h")
    parser.add_argument("-f", dest="input_file", **repeated)
    parser.add_argument("--generate-email-summary", **flag)
    parser.add_argument("--gpu")
    parser.add_argument("-L", "--log-file", "--log_file")
    parser.add_argument("-l", "--lines", action="append", default=[""])
    parser.add_argument("--project-name", "--project_name", default="")
    parser.add_argument("-Q", "--mail_never", "--mail-never", dest="mail", action="store_const", const="Never", default="Never")
    parser.add_argument("--mail_on_error", "--mail-on-error", dest="mail", action="store_const", const="Error")
    parser.add_argument("--mail_always", "--mail-always", dest="mail", action="store_const", const="Always")
    parser.add_argument("--maxConcurrent", type=int, default=0)
    parser.add_argument("--managed-token", **flag)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("-N", type=int, default=1)
    parser.add_argument("-n", "--no_submit", "--no-submit", **flag)
    parser.add_argument("--no-env-cleanup", **flag)
    parser.add_argument("--OS")
    parser.add_argument("--overwrite-condor-requirements", "--overwrite_condor_requirements")
    parser.add_argument("--resource-provides", **repeated)
    parser.add_argument("--skip-check", action="append", default=[], choices=["rcds"])
    parser.add_argument("--tar_file_name", "--tar-file-name", **repeated)
    parser.add_argument("--tarball-exclusion-file")
    parser.add_argument("--timeout")
    parser.add_argument("--use-cvmfs-dropbox", dest="use_dropbox", action="store_const", const="cvmfs")
    parser.add_argument("--use-pnfs-dropbox", dest="use_dropbox", action="store_const", const="pnfs")
    parser.add_argument("executable", type=executable, nargs="?")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--site", default="")
    where.add_argument("--onsite", "--onsite-only", dest="usage_model", action="store_const", const="OPPORTUNISTIC,DEDICATED", default="")
    where.add_argument("--offsite", "--offsite-only", dest="usage_model", action="store_const", const="OFFSITE", default="")
    image = parser.add_mutually_exclusive_group()
    image.add_argument("--singularity-image", "--apptainer-image", default=DEFAULT_IMAGE)
    image.add_argument("--no-singularity", "--no-apptainer", **flag)
    parser.add_argument("exe_arguments", nargs=argparse.REMAINDER)
    return parser


def size(name: str, value: str, table: dict[str, float]) -> float:
    """A number with a unit such as `4000MB`; a bare number is in the table's own unit. `4G` and `4GiB` are errors, each in its way."""
    if value and value[-1].lower() == "b":
        return float(value[:-2]) * table[value[-2].lower()]
    try:
        return float(value)
    except ValueError:
        units = [f"{unit}b" for unit in table]
        raise ValueError(f"{name}: error: unable to convert units on argument '{value}', expected units from {units!r}") from None


def duration(name: str, value: str) -> float:
    """Seconds: `short`, `medium`, `long`, or a number with one unit."""
    value = {"short": "3h", "medium": "8h", "long": "85200s"}.get(value, value)
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    if value[-1:].lower() in units:
        return float(value[:-1]) * units[value[-1].lower()]
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{name}: error: unable to convert units on argument '{value}', expected units from {list(units)!r}") from None
