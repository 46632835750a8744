"""`jobsub_q`, `jobsub_rm`, `jobsub_hold`, `jobsub_release`: condor's command for each queue in turn, then exit code 0 whatever happened."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

from tests.servers.jobsub_parts import grammar
from tests.servers.jobsub_parts.world import Failed, World

_FORMATS = {"-autoformat", "-batch", "-better-analyze", "-dag", "-format", "-hold", "-io", "-json", "-long", "-nobatch", "-xml"}
_SELECTIONS = {"-allusers", "-autocluster", "-better-analyze", "-constraint", "-factory", "-unmatchable"}
HEADER = "JOBSUBJOBID                             OWNER       \tSUBMITTED     RUNTIME   ST PRIO   SIZE  COMMAND"


def main(world: World, argv: list[str]) -> None:
    options, rest = grammar.about_jobs(world.program).parse_known_args(argv)
    rest += options.jobid.split(",") if options.jobid else []
    rest += [options.user] if getattr(options, "user", None) else []
    rest += ["-constraint", options.constraint] if options.constraint else []
    group = os.environ.get("GROUP")
    if group is None:
        raise Failed("NameError", f"{sys.argv[0]} needs -G group or $GROUP in the environment.")
    schedds = {options.name} if options.name else set()
    arguments: list[str] = []
    jobs: dict[str, list[str]] = {}
    formatted = selected = False
    for argument in rest:
        if match := re.match(r"([\d.]*)@([\w.]+)", argument):
            schedds.add(match[2])
            if match[1]:
                jobs.setdefault(match[2], []).append(match[1].strip("."))
            continue
        argument = argument.removeprefix("-") if argument.startswith("--") else argument
        formatted |= argument in _FORMATS
        selected |= argument in _SELECTIONS or argument[:1].isalnum()
        arguments.append(argument)
    world.token(group, options.role or "Analysis")
    condor = world.program.replace("jobsub_", "condor_")
    if condor == "condor_q":
        arguments = ["-schedd-constraint", "IsJobsubLite==True", *arguments]
        if not selected:
            arguments += ["-allusers", "-constraint", f'Jobsub_Group=?="{group}"']
        if not formatted:
            arguments += ["-format", "%s ", "GlobalJobId", "-format", "%s ", "Owner", "-format", "%s\n", "JobsubCmd"]
            print(HEADER, flush=True)
    named = bool(schedds)
    schedds = schedds or {name for name, _ in world.schedds(group)}
    for schedd in sorted(schedds):
        _ask(world, condor, schedd, [*arguments, *jobs.get(schedd, [])], named)
    if condor == "condor_q" and not named:
        for ads in world.fault("more_queues") or []:
            if world.fault("noise"):
                print(world.fault("noise"), flush=True)
            _print_array(ads)


def _ask(world: World, condor: str, schedd: str, arguments: list[str], named: bool) -> None:
    if world.fault("schedd_hidden"):
        if condor == "condor_q":
            print("All queues are empty", flush=True)
        else:
            sys.stderr.write(f"Error: cannot get address of schedd {schedd}\n")
        return
    if world.fault("collector_down"):
        sys.stderr.write(
            "Error: Couldn't contact the condor_collector on 127.0.0.1:9618. \n\nExtra Info: the condor_collector is a process\n"
        )
        return
    if world.fault("stale_ad"):
        if condor == "condor_q":
            sys.stderr.write(f"\n-- Failed to fetch ads from: <127.0.0.1:9618?addrs=127.0.0.1-9618> : {schedd}\n")
            sys.stderr.write("CEDAR:6001:Failed to connect to <127.0.0.1:9618>\n")
        else:
            sys.stderr.write(f"ERROR: Failed to connect to {schedd}\n")
        return
    if world.fault("queue_empty") and condor == "condor_q":  # the answer of a queue that has lost its jobs, or has not read them yet
        return
    if world.fault("removes_nothing") and condor == "condor_rm":
        return
    answer = world.condor(condor, "-name", schedd, *arguments)
    if world.fault("noise") and condor == "condor_q":
        print(world.fault("noise"), flush=True)
    output = answer.stdout
    if (most := world.fault("cut_answer")) is not None:
        output = output[:most]
    sys.stdout.write(output)
    sys.stdout.flush()
    sys.stderr.write(answer.stderr)


def _print_array(ads: list[dict[str, Any]]) -> None:
    """As condor_q prints ads with `-json`."""
    print("[\n" + "\n,\n".join(json.dumps(ad, indent=2) for ad in ads) + "\n]", flush=True)
