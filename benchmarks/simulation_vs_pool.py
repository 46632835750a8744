"""A prediction against a real run: `python -m benchmarks.simulation_vs_pool [--json] [--launcher htcondor|local] [--keep FILE]`.

A small installation runs on a real HTCondor pool of this machine, with a payload that only sleeps. First a few files come one by one: from
them the ledger knows how long a job takes, how soon it starts, how soon it is declared. Then the prediction for the run is made and written
down. Then the run: files come evenly, in the middle the queue (schedd) is killed for a while. Makespan and the peak of the backlog are
compared with what was predicted. `local` runs without a pool, and without an outage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from benchmarks.installation import Pipeline
from campaign.definition import load_campaigns
from campaign.ledger.tables import task_table
from campaign.simulation.defaults import defaults
from campaign.simulation.measured import measure
from campaign.simulation.parameters import Parameters, as_yaml, changed
from campaign.simulation.prediction import Prediction, predict
from campaign.states import BACKLOG
from dune_prompt.settings import load_site

if TYPE_CHECKING:
    from tests.servers.htcondor import Pool

CALIBRATION_FILES, CALIBRATION_RUN, RUN = 24, 28100, 28200
SETTLE_S, LOOK_EVERY_S = 4.0, 0.1
# As the pool does it: a killed queue lets jobs run on, a stopped one starts them again.
JOBS = {"kill": "go_on", "stop": "restarted"}


@dataclass(frozen=True, slots=True)
class Plan:
    """The run: `files` at `rate_hz`, jobs of `job_s` in `slots`; the queue is out between the two times after the first file."""

    files: int
    rate_hz: float
    job_s: float
    slots: int
    out_from_s: float
    out_to_s: float
    outage: str


class Installation(Pipeline):
    """The small installation, its jobs on a pool when there is one: as the pool's user, who may submit."""

    def __init__(self, folder: Path, plan: Plan, pool: Pool | None) -> None:
        super().__init__(folder, slots=plan.slots, seconds=plan.job_s)
        self._pool = pool
        if pool is not None:
            launcher = f"{{kind: htcondor, config: {pool.config}, command_path: {pool.bin}, share_files: true, poll_every: 2s}}"
            self.site_path.write_text(self.site_path.read_text() + f"launchers: [{launcher}]\n")
            self.site = load_site(self.site_path)

    def start(self, *names: str) -> None:
        if self._pool is None:
            super().start(*names)
            return
        arguments = {"service": ["serve"], "daemon": ["declare", "run", "--interval", "0.1"]}
        for name in names or ("service", "daemon"):
            command = [sys.executable, "-m", "dune_prompt", *arguments[name], "--site", str(self.site_path)]
            with (self.folder / f"{name}.log").open("ab") as output:
                self.processes[name] = subprocess.Popen(
                    self._pool.command(*command),
                    env=self._pool.environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )

    def backlog(self) -> int:
        with self.store.read() as connection:
            waiting = sa.select(sa.func.count()).where(task_table.c.state.in_(BACKLOG), task_table.c.done_at.is_(None))
            return int(connection.execute(waiting).scalar_one())

    def makespan_s(self, run: int) -> float:
        """From the first file's end to the last one's end of processing."""
        with self.store.read() as connection:
            times = sa.select(sa.func.min(task_table.c.closed_at), sa.func.max(task_table.c.done_at)).where(task_table.c.run == run)
            first, last = connection.execute(times).one()
        return float(last - first)


class Peak(threading.Thread):
    """The largest backlog, looked for all the time."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(daemon=True)
        self.highest, self.at, self._installation = 0, 0.0, installation
        self._over = threading.Event()
        self._began = time.monotonic()

    def run(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            if (backlog := self._installation.backlog()) > self.highest:
                self.highest, self.at = backlog, time.monotonic() - self._began

    def end(self) -> None:
        self._over.set()
        self.join()


def parameters_of(installation: Installation, plan: Plan, *, with_outage: bool) -> Parameters:
    """What is known before the run: the site file, the ledger's measurements of other files, and the plan."""
    campaigns = [item.settings for item in load_campaigns(installation.site, installation.site_path)]
    with installation.store.read() as connection:
        measured = {(item.campaign, item.version): measure(connection, item.campaign, item.version, time.time(), 1.0) for item in campaigns}
    parameters, _ = defaults(installation.site, campaigns, measured)
    launcher = parameters.launchers[0].name
    values: dict[str, Any] = {
        "files_per_s": plan.rate_hz,
        "duration": f"{(plan.files - 0.5) / plan.rate_hz:.3f}s",
        "launchers.0.slots": plan.slots,
    }
    if with_outage:
        outage = {"what": launcher, "begin": f"{plan.out_from_s}s", "end": f"{plan.out_to_s}s", "jobs": JOBS[plan.outage]}
        values |= {"outages": [outage], "launchers.0.submit": "0.2s"}
    return changed(parameters, values)


def calibrate(installation: Installation, plan: Plan) -> None:
    """Let a few files come, never more than there are slots."""
    for _ in range(CALIBRATION_FILES):
        installation.write_files(1, run=CALIBRATION_RUN)
        time.sleep(max(1.5 * plan.job_s / plan.slots, 0.2))
    installation.wait_until_processed(60 + 4 * plan.job_s)


def take_data(installation: Installation, plan: Plan, pool: Pool | None) -> tuple[float, int, float]:
    """The run itself: makespan, peak of the backlog, and when that was."""
    peak = Peak(installation)
    peak.start()
    began = time.monotonic()
    over = threading.Event()

    def switch(pool: Pool) -> None:
        """The outage, in a thread of its own: starting takes seconds, and files must not wait for it. What a thread starts ends with it."""
        over.wait(began + plan.out_from_s - time.monotonic())
        getattr(pool, f"{plan.outage}_schedd")()
        over.wait(began + plan.out_to_s - time.monotonic())
        pool.start_schedd()
        over.wait()

    if pool is not None:
        threading.Thread(target=switch, args=(pool,), daemon=True).start()
    for index in range(plan.files):
        time.sleep(max(began + index / plan.rate_hz - time.monotonic(), 0.0))
        installation.write_files(1, run=RUN)
    installation.wait_until_processed(600 + 10 * plan.files * plan.job_s / plan.slots)
    over.set()
    peak.end()
    return installation.makespan_s(RUN), peak.highest, peak.at


def compare(plan: Plan, launcher: str, keep: Path | None) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pool = None
        if launcher == "htcondor":
            from tests.servers.htcondor import Pool

            pool = stack.enter_context(Pool(folder / "pool", cpus=plan.slots))
        installation = Installation(folder / "p", plan, pool)
        installation.start()
        stack.callback(installation.stop)
        time.sleep(SETTLE_S)
        calibrate(installation, plan)
        parameters = parameters_of(installation, plan, with_outage=pool is not None)
        predicted = predict(parameters)
        if keep is not None:
            keep.write_text(f"# predicted before the run: {json.dumps(predicted.to_json())}\n{as_yaml(parameters)}", "utf-8")
        makespan_s, backlog_peak, at = take_data(installation, plan, pool)
    return _table(predicted, makespan_s, backlog_peak, at)


def _table(predicted: Prediction, makespan_s: float, backlog_peak: int, at: float) -> dict[str, Any]:
    return {
        "makespan_s": _row(predicted.makespan_s, makespan_s),
        "backlog_peak": _row(predicted.backlog_peak, backlog_peak),
        "backlog_peak_at_s": _row(predicted.backlog_peak_at, at),
    }


def _row(predicted: float, real: float) -> dict[str, float | None]:
    return {"predicted": round(predicted, 1), "real": round(real, 1), "off_by": round(predicted / real - 1, 3) if real else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--launcher", choices=["htcondor", "local"], default="htcondor")
    parser.add_argument("--files", type=int, default=240)
    parser.add_argument("--rate", type=float, default=0.8, help="files per second")
    parser.add_argument("--job", type=float, default=8.0, help="seconds a job sleeps")
    parser.add_argument("--slots", type=int, default=10)
    parser.add_argument("--out", type=float, nargs=2, default=(90.0, 180.0), metavar=("FROM", "TO"), help="when the queue is out, seconds")
    parser.add_argument("--outage", choices=sorted(JOBS), default="kill", help="kill: its jobs run on; stop: they begin again")
    parser.add_argument("--keep", type=Path, help="write the prediction with its parameters to this file, before the run")
    options = parser.parse_args()
    plan = Plan(options.files, options.rate, options.job, options.slots, *options.out, options.outage)
    result = compare(plan, options.launcher, options.keep)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, values in result.items():
        print(f"{name:18}", "  ".join(f"{key} {value}" for key, value in values.items()))


if __name__ == "__main__":
    main()
