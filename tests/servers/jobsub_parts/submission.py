"""`jobsub_submit`: what it does and in which order, what it prints, and that it ends with 0 when condor_submit has failed."""

from __future__ import annotations

import bz2
import datetime
import hashlib
import io
import os
import random
import re
import shutil
import signal
import sys
import tarfile
import time
import uuid
from pathlib import Path
from typing import Any

from tests.servers.jobsub_parts import grammar, job_files
from tests.servers.jobsub_parts.world import Failed, World, check_line, hang, job_scopes
from tests.servers.unpacking import unpack_all

HIGHLIGHT = "\n" + "=-" * 30 + "\n\n"


def main(world: World, argv: list[str]) -> None:
    argv = [grammar.unescaped(argument) for argument in argv]
    args = grammar.submit(world.program).parse_args(argv)
    if args.dag or args.dataset_definition or args.maxConcurrent:
        raise NotImplementedError("the double submits plain clusters only")
    if not args.global_pool and os.environ.get("JOBSUB_GLOBAL_POOL"):
        grammar.choose_pool(os.environ["JOBSUB_GLOBAL_POOL"])
    args.environment += [entry for entry in os.environ.get("JOBSUB_EXTRA_ENVIRONMENT", "").split(",") if entry]
    args.lines += [line for line in os.environ.get("JOBSUB_EXTRA_LINES", "").split(",") if line]
    for line in args.lines:
        check_line(line)
    group = os.environ.get("GROUP")
    if group is None:
        raise Failed("NameError", f"{sys.argv[0]} needs -G group or $GROUP in the environment.")
    role = args.role or "Analysis"
    names = [re.sub(r"\.(tbz2|tar|tgz)", "", Path(name).name) for name in args.tar_file_name]
    tarballs = [_published(world, name, group, role) for name in args.tar_file_name]
    token = world.token(group, role)
    schedds = world.schedds(group)
    if not schedds:
        raise Failed("RuntimeError", "Error: No schedds satisfying the constraint were found")
    schedd = random.choice(schedds)[1]
    # jobsub works on a copy beside the token, which condor overwrites.
    copy = token.with_name(f"{token.name}.{os.getpid()}")
    shutil.copy(token, copy)
    handle = hashlib.sha256(" ".join(job_scopes(copy, args.need_storage_modify, args.need_scope)).encode()).hexdigest()[:10]
    now = datetime.datetime.now().astimezone()
    request = str(uuid.uuid4())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ["HOME"]) / ".cache") / "jobsub_lite"
    outdir = cache / f"js_{now:%Y_%m_%d_%H%M%S}_{request}"
    outdir.mkdir(parents=True)
    if not os.environ.get("JOBSUB_OUTPUT_URL"):
        sys.stderr.write("warning: JOBSUB_OUTPUT_URL not defined, web logs will not be available for this submission\n")
    values = _values(args, group, role, schedd, handle, outdir, now, request)
    values |= {"tarballs": tarballs, "tarball_names": names, "dies_early": world.fault("hold") == "empty_file"}
    _render(world, values, outdir)
    try:
        if args.no_submit:
            print(f"NOT submitting file:\n{outdir / 'simple.cmd'}\n")
        else:
            _submit(world, args, schedd, outdir)
    finally:
        if args.no_submit:
            print(f"Submission files are in: {outdir}")
        else:
            shutil.rmtree(outdir)
        copy.unlink(missing_ok=True)


def _values(
    args: Any, group: str, role: str, schedd: str, handle: str, outdir: Path, now: datetime.datetime, request: str
) -> dict[str, Any]:
    script = str(args.executable).removeprefix("file://")
    path = Path(script) if script.startswith("/") else Path.cwd() / script
    if args.site and args.blocklist and (common := set(args.site.split(",")) & set(args.blocklist.split(","))):
        raise Failed("SiteAndBlocklistConflictError", f"The following site(s) are both in the --site and --blocklist argument: {common}.")
    shutil.copyfile(path, outdir / path.name)
    environment = []
    for entry in args.environment:
        if "=" not in entry:
            if not os.environ.get(entry):
                raise Failed("RuntimeError", f"--environment {entry} was given but no value was in the environment")
            entry = f"{entry}={os.environ[entry]}"
        environment.append(entry)
    kilobytes = {"k": 1.0, "m": 1024.0, "g": 1024.0**2, "t": 1024.0**3}
    return vars(args) | {
        "group": group,
        "user": os.environ["USER"],
        "schedd": schedd,
        "credential": f"{group}_{handle}" if role == "Analysis" else f"{group}_{role.lower()}_{handle}",
        "outdir": outdir,
        "datetime": f"{now:%Y_%m_%d_%H%M%S}",
        "uuid": request,
        "script": path.name,
        "arguments": args.exe_arguments,
        "environment": environment,
        "usage_model": "OFFSITE" if args.site else args.usage_model or "DEDICATED,OPPORTUNISTIC,OFFSITE",
        "memory": grammar.size("jobsub_submit", args.memory, {unit: value / 1024 for unit, value in kilobytes.items()}),
        "disk": grammar.size("jobsub_submit", args.disk, kilobytes),
        "expected_lifetime": grammar.duration("jobsub_submit", args.expected_lifetime),
        "timeout": grammar.duration("jobsub_submit", args.timeout) if args.timeout else None,
        "command": " ".join([sys.argv[0], *sys.argv[1:]]),
    }


def _render(world: World, values: dict[str, Any], outdir: Path) -> None:
    if world.fault("vanish"):  # a queue that does not allow it
        values["lines"] = [line for line in values["lines"] if not line.startswith("+LeaveJobInQueue")]
    if world.fault("hold") == "credentials":
        reason = 'periodic_hold_reason = "Job credentials are not available"'
        values["lines"] = [*values["lines"], "periodic_hold = True", reason]
    if world.fault("extra_lines"):
        values["lines"] = [*values["lines"], *world.fault("extra_lines")]
    (outdir / "simple.sh").write_text(job_files.script(values))
    (outdir / "simple.sh").chmod(0o755)
    (outdir / "simple.cmd").write_text(job_files.submit_file(values))
    rendered = world.folder / "rendered"
    rendered.mkdir(exist_ok=True)
    for name in ("simple.cmd", "simple.sh"):
        shutil.copy(outdir / name, rendered / name)


def _submit(world: World, args: Any, schedd: str, outdir: Path) -> None:
    if (text := world.fault("submit_fails")) is not None:
        sys.stderr.write(f"\n{text}\n")
        code = 1
    else:
        time.sleep(float(world.fault("slow_submit") or 0.0))
        answer = world.condor(
            "condor_submit", "-remote", schedd, str(outdir / "simple.cmd"), env={"_condor_CREDD_HOST": schedd}, cwd=outdir
        )
        code = answer.returncode
        match world.fault("answer_lost"):
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                hang()
            case "fail":
                code, answer.stdout = 1, ""
                answer.stderr = "\nERROR: Failed to commit job submission into the queue.\n"
            case _:
                pass
        sys.stdout.write(answer.stdout)
        sys.stderr.write(answer.stderr)
    if code < 0:
        sys.stderr.write(f"{HIGHLIGHT}Error: Child was terminated by signal {-code}{HIGHLIGHT}\n")
        return
    if code > 0:
        sys.stderr.write(f"{HIGHLIGHT}Error: condor_submit exited with failed status code {code}\n\n{HIGHLIGHT}\n")
        return
    if match := re.search(r"\d+ job\(s\) submitted to cluster (\d+).", answer.stdout):
        print(f"{HIGHLIGHT}Use job id {match[1]}.0@{schedd} to retrieve output{HIGHLIGHT}")
        for command in args.job_info:
            os.system(f'{command} {match[1]}.0@{schedd} "{sys.argv!r}" </dev/null')


def _published(world: World, name: str, group: str, role: str) -> str:
    """A tarball on the worker's side. `dropbox:` ones are packed anew in the working folder and published: anybody can read them there."""
    if not name.startswith("dropbox:"):
        return name
    path = Path(name.removeprefix("dropbox:").replace("//", "/", 1))
    if not os.access(".", os.W_OK):
        raise Failed(
            "RuntimeError",
            "jobsub_lite needs to create the tarball, or copy of the tarball you are attempting to upload in the current working directory",
        )
    packed = Path(f"{path.name}{os.getpid()}.tbz2")
    with tarfile.open(path, "r|*") as source, bz2.open(packed, "wb") as compressed, tarfile.open(fileobj=compressed, mode="w|") as target:
        for member in source:
            content = source.extractfile(member) if member.isreg() else None
            member.mode |= 0o755
            target.addfile(member, io.BytesIO(content.read()) if content else None)
    token = world.token(group, role)
    cid = f"{group}/{hashlib.sha256(path.read_bytes()).hexdigest()}"
    print(f"Publishing hash {cid} to RCDS:")
    print(f"Using bearer token located at {token} to authenticate to RCDS")
    place = world.folder / "cvmfs" / cid
    if not place.exists():
        print("Checking to see if uploaded file is published on RCDS")
        if world.fault("never_published"):
            print("Could not locate uploaded file on RCDS.  Will retry in 0 seconds.")
            raise Failed("RuntimeError", f"Max retries 20 to find RCDS tarball at {cid} exceeded.  Exiting now.")
        with tarfile.open(packed) as published:
            unpack_all(published, place)
        print("Found uploaded file on RCDS.")
    packed.unlink()
    return str(place)
