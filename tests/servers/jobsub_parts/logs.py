"""`jobsub_fetchlog` (from condor only, as there is no log server) and `jobsub_history`."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from tests.servers.jobsub_parts import grammar
from tests.servers.jobsub_parts.world import Failed, World

_ID = re.compile(r"(\d+)(?:\.(\d+))?@([\w.]+)")


def fetchlog(world: World, argv: list[str]) -> None:
    """Works while the job is in the queue; brings the whole cluster without `--partial`; the files go where the submission was rendered."""
    args = grammar.fetchlog(world.program).parse_args(argv)
    jobid = (args.jobid or args.job_id or "").replace(".@", "@")
    if not jobid:
        raise Failed("NameError", "jobid is required.")
    group = os.environ.get("GROUP")
    if group is None:
        raise Failed("NameError", f"{sys.argv[0]} needs -G group or $GROUP in the environment.")
    world.token(group, args.role or "Analysis")
    if not args.condor:
        raise Failed("NameError", "JOBSUB_FETCHLOG_URL not set in the environment. You may still be able to download with --condor")
    match = _ID.match(jobid)
    if match is None:
        raise Failed("JobIdError", f'unable to parse job id "{jobid}"')
    cluster, process, schedd = match.groups()
    wanted = f"ClusterId=={cluster}" + (f" && ProcId=={process}" if process else "")
    places = world.condor("condor_q", "-name", schedd, "-allusers", "-constraint", wanted, "-af", "SUBMIT_Iwd").stdout.split()
    if not places:
        raise Failed("NameError", f'job matching "{wanted}" not found on "{schedd}"')
    folder = Path(places[0])
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    job = f"{cluster}.{process}" if args.partial and process else cluster
    answer = world.condor("condor_transfer_data", "-name", schedd, job)
    if answer.returncode != 0:
        print(f"Error in transfer_data(): {answer.stderr}")
    if args.destdir is None:
        raise NotImplementedError("the double makes no archives")
    Path(args.destdir).mkdir(mode=0o750, parents=True, exist_ok=True)
    for file in folder.iterdir():
        shutil.copy2(file, args.destdir)
    shutil.rmtree(folder)
    if answer.returncode != 0:
        print("Transfer may be incomplete.")


def history(world: World, argv: list[str]) -> None:
    """Loses the queue named in an id, and `--constraint`; both work as `-name` and `-constraint`."""
    args, rest = grammar.history(world.program).parse_known_args(argv)
    rest += [args.jobid] if args.jobid else []
    rest += [args.user] if args.user else []
    arguments = []
    for argument in rest:
        if match := re.match(r"([\d.]*)@([\w.]+)", argument):
            argument = match[1]
            if not argument:
                continue
        arguments.append(argument.removeprefix("-") if argument.startswith("--") else argument)
    answer = world.condor("condor_history", "-backwards", *arguments)
    sys.stdout.write(answer.stdout)
    sys.stderr.write(answer.stderr)
