"""`dune-prompt launch` with a real service and real jobs: what POMS would run, without POMS."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from campaign.ledger.tables import attempt_table
from declare_daemon.journal.tables import file_table

pytestmark = pytest.mark.needs("condor")

FILES = 4


def test_a_launch_submits_the_backlog_and_its_jobs_run_to_the_end(grids: Callable[..., Any]) -> None:
    grid = grids(layout="fused")
    grid.start()
    grid.pipeline.write_files(FILES)
    grid.until(lambda: grid.backlog() == FILES)
    done = grid.launch("chain", task=7)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Use job id " in done.stdout
    assert f"{FILES} jobs submitted" in done.stdout
    grid.until(lambda: grid.processed() == FILES)
    (over,) = grid.get("/api/v1/launches/untold")
    assert (over["task_id"], over["done"], over["tasks"]) == (7, FILES, FILES)
    shown = subprocess.run(
        [grid.command("chain")[0], "campaign", "status", "--poms", "--site", str(grid.pipeline.site_path)], capture_output=True, text=True
    )
    assert "submission_details/dune/production?submission_id=7" in shown.stdout, shown.stderr
    page = requests.get(f"{grid.url}/launches", timeout=10).text
    assert 'href="http://127.0.0.1:9/poms/submission_details/dune/production?submission_id=7"' in page
    assert "launches of POMS" in requests.get(f"{grid.url}/runs", timeout=10).text
    again = grid.launch("chain", task=7)
    assert "nothing to do: submitted before as" in again.stdout
    assert "nothing to do: nothing waits" in grid.launch("chain", task=8).stdout


def test_ten_overlapping_launches_take_no_file_twice(grids: Callable[..., Any]) -> None:
    grid = grids(layout="fused")
    grid.start()
    grid.pipeline.write_files(12)
    grid.until(lambda: grid.backlog() == 12)
    with ThreadPoolExecutor(10) as threads:
        launches = list(threads.map(lambda task: grid.launch("chain", "--jobs=3", task=task, timeout_s=300.0), range(1, 11)))
    assert [launch.returncode for launch in launches] == [0] * 10
    submitted = [launch for launch in launches if "jobs submitted" in launch.stdout]
    assert len(submitted) >= 3
    grid.until(lambda: grid.launch("chain").returncode == 0 and grid.processed() == 12)
    with grid.pipeline.store.read() as connection:
        attempts = connection.execute(sa.select(attempt_table.c.task_id, attempt_table.c.handle)).all()
    assert len(attempts) == len({attempt.task_id for attempt in attempts}) == len({attempt.handle for attempt in attempts}) == 12


@pytest.mark.parametrize("fault", [{"answer_lost": "kill"}, {"submit_fails": "ERROR: Failed to connect to queue manager"}])
def test_what_a_dead_launch_left_is_completed_by_the_next(grids: Callable[..., Any], fault: dict[str, Any]) -> None:
    """The launch is killed while jobsub_submit runs. Jobs that are in the queue all the same run to their end, others are submitted."""
    grid = grids(layout="fused", retake_after="12s")  # longer than the queue takes to say that it is empty
    grid.start()
    grid.pipeline.write_files(2)
    grid.until(lambda: grid.backlog() == 2)
    grid.jobsub.faults = fault | {"slow_submit": 1.0}
    process = subprocess.Popen(grid.command("chain"), env=grid.environment | {"POMS_TASK_ID": "1"}, stdout=subprocess.DEVNULL)
    grid.until(lambda: (grid.jobsub.folder / "rendered" / "simple.cmd").exists())
    process.kill()
    process.wait()
    grid.jobsub.faults = {}
    assert grid.launch("chain", task=2).stdout.startswith("nothing to do")

    def processed() -> bool:
        launch = grid.launch("chain", task=next(tasks))
        assert launch.returncode in (0, 20), launch.stderr
        said.append(launch.stdout)
        return bool(grid.processed() == 2)

    tasks, said = iter(range(3, 1000)), list[str]()
    grid.until(processed, pause_s=2.0)
    assert any("of POMS left half done" in text for text in said) == ("submit_fails" in fault)
    with grid.pipeline.store.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(attempt_table)).scalar_one() == 2
    assert len(grid.pool.jobs('PPAttempt =!= undefined && JobStatus =!= 3 && Jobsub_Group == "dune"')) == 2


def test_an_engine_out_of_reach_and_a_wrong_token_are_said_and_ended_cleanly(grids: Callable[..., Any]) -> None:
    grid = grids(layout="fused")
    away = grid.launch("chain")
    assert away.returncode == 20
    assert "no answer (ConnectionError)" in away.stderr
    assert "Traceback" not in away.stderr
    grid.start()
    wrong = grid.folder / "wrong"
    wrong.write_text("x" * 40)
    wrong.chmod(0o600)
    refused = grid.launch("chain", f"--token-file={wrong}")
    assert refused.returncode == 30
    assert "is the token that of this service's operator?" in refused.stderr
    assert "x" * 40 not in refused.stderr + refused.stdout
    wrong.chmod(0o644)
    assert "chmod 600" in grid.launch("chain", f"--token-file={wrong}").stderr
    assert "restricts jobs to FNAL_GPGrid, the site file to CERN" in grid.launch("chain", "--site=FNAL_GPGrid").stderr
    assert grid.launch("chain", "--dry-run").returncode == 0


def test_the_declare_stage_waits_until_outputs_are_registered(grids: Callable[..., Any]) -> None:
    grid = grids(layout="staged")
    grid.start()
    grid.pipeline.write_files(2)
    grid.until(lambda: grid.backlog() == 2)
    assert grid.launch("nf_sp", "--wait=90s", task=1).stdout.endswith("2 of 2 tasks are done\n")
    grid.until(lambda: grid.backlog() == 2)
    declared = grid.launch("declare", "--wait=90s", task=2)
    assert declared.stdout.endswith("2 of 2 tasks are done\n"), declared.stderr
    with grid.pipeline.store.read() as connection:
        states = connection.execute(sa.select(file_table.c.state).where(file_table.c.origin == "outbox")).scalars().all()
    assert list(states) == ["declared"] * 2
    for task, step in ((3, "evaluate"), (4, "dqm_upload")):
        grid.until(lambda: grid.backlog() == 2)
        assert grid.launch(step, "--wait=90s", task=task).stdout.endswith("2 of 2 tasks are done\n")
    assert grid.processed() == 2
