"""Runs one command of the double: exceptions end as the real programs let them, with one line on stderr and exit code 1."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.servers.jobsub_parts import logs, queries, submission
from tests.servers.jobsub_parts.world import Failed, World


def main(program: str, folder: str) -> None:
    world = World(Path(folder), program)
    if os.environ.pop("LD_LIBRARY_PATH", ""):
        os.execv(sys.argv[0], sys.argv)
    world.begin()
    argv = sys.argv[1:]
    try:
        if program == "condor_status":
            condor_status(world, argv)
        elif program == "jobsub_submit":
            submission.main(world, argv)
        elif program == "jobsub_fetchlog":
            logs.fetchlog(world, argv)
        elif program == "jobsub_history":
            logs.history(world, argv)
        else:
            queries.main(world, argv)
    except Exception as error:  # noqa: BLE001 - as the real one
        kind = error.kind if isinstance(error, Failed) else type(error).__name__
        sys.stderr.write(f"\n\nError: {kind}: {error}\n\n")
        sys.exit(1)


def condor_status(world: World, argv: list[str]) -> None:
    """condor's own, which sees of the queues what the double's faults let it see."""
    if world.fault("no_condor_status"):
        sys.stderr.write("condor_status: not here\n")
        sys.exit(127)
    if world.fault("collector_down"):
        sys.stderr.write("Error: communication error\nCEDAR:6001:Failed to connect to <127.0.0.1:9618>\n")
        sys.exit(1)
    if world.fault("schedd_hidden"):
        return
    answer = world.condor("condor_status", *argv)
    sys.stdout.write(answer.stdout)
    sys.stderr.write(answer.stderr)
    sys.exit(answer.returncode)
