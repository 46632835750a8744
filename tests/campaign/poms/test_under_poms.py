"""The whole way under POMS: uploaded, scheduled, fired; real stage scripts through jobsub; dependents; all stages Located."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from campaign.definition import load_campaigns
from campaign.ledger.tables import attempt_table
from campaign.poms import upload
from campaign.poms.client import PomsClient
from campaign.poms.rendering import poms_settings, render_set
from dune_prompt.settings import load_site
from tests.servers.poms import Poms

pytestmark = pytest.mark.needs("condor")

BIN = Path(sys.executable).parent
FILES = 3
STAGES = ("nf_sp", "declare", "evaluate", "dqm_upload")


def checked(grid: Any) -> str:
    """What `dune-prompt check` says of POMS."""
    command = [str(BIN / "dune-prompt"), "check", "--json", "--site", str(grid.pipeline.site_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=grid.environment)
    (row,) = [row for row in json.loads(done.stdout) if str(row["what"]).startswith("launcher poms")]
    return " ".join(map(str, row.values()))


def put_up(grid: Any, poms: Poms) -> str:
    """Render and upload the campaign, as the operator does; its name in POMS."""
    poms.environment = grid.environment
    site = load_site(grid.pipeline.site_path)
    (file,) = load_campaigns(site, grid.pipeline.site_path)
    rendered = render_set(site, poms_settings(site), file)
    client = PomsClient.of(poms_settings(site), {})
    upload.apply(client, poms_settings(site), rendered.files["campaign.ini"], say=lambda _: None)
    client.close()
    return rendered.name


def until_located(grid: Any, poms: Poms, name: str, stages: tuple[str, ...]) -> None:
    """Let POMS work: its cron, its agent's wrap-up, dependents; until each stage has a Located submission that had work."""
    ends = time.monotonic() + 300
    while True:
        poms.fire_all()
        poms.wait()
        poms.wrapup()
        poms.wait()
        if grid.processed() >= FILES and all(located(poms, name, stage) for stage in stages):
            return
        assert time.monotonic() < ends, [
            (item.submission_id, item.status, poms.log(item.submission_id)[-600:]) for item in poms.submissions[-8:]
        ]
        time.sleep(1.0)


def located(poms: Poms, name: str, stage: str) -> bool:
    mine = poms.stage(name, stage).campaign_stage_id
    submissions = [item for item in poms.submissions if item.campaign_stage_id == mine]
    return any(item.status == "Located" and not str(item.jobsub_job_id).endswith("none") for item in submissions)


@pytest.mark.parametrize(("layout", "stages"), [("staged", STAGES), ("fused", ("chain",))])
@pytest.mark.parametrize("faults", [{}, {"duplicate_launch": True}])
def test_files_go_through_all_stages_and_no_file_twice(
    grids: Callable[..., Any], poms: Poms, layout: str, stages: tuple[str, ...], faults: dict[str, Any]
) -> None:
    grid = grids(layout=layout, poms_url=poms.url)
    name = put_up(grid, poms)
    grid.start()
    poms.faults = faults
    grid.pipeline.write_files(FILES)
    grid.until(lambda: grid.backlog() == FILES)
    until_located(grid, poms, name, stages)
    with grid.pipeline.store.read() as connection:
        attempts = connection.execute(sa.select(attempt_table.c.task_id, attempt_table.c.stages)).all()
    assert len(attempts) == len({attempt.task_id for attempt in attempts}) == FILES * len(stages)
    assert {item.status for item in poms.submissions} <= {"Located", "Completed", "Idle"}
    assert set(grid.pipeline.times_processed("nf_sp").values()) == {1}
    assert set(grid.pipeline.times_processed("evaluate").values()) == {1}


def test_real_raw_files_end_on_the_dashboard(grids: Callable[..., Any], poms: Poms) -> None:
    grid = grids(layout="staged", poms_url=poms.url)
    grid.with_real_payload()
    assert "campaign upload kills" in checked(grid)
    name = put_up(grid, poms)
    assert "campaign 1 in POMS" in checked(grid)
    grid.start()
    grid.write_real_files(FILES)
    grid.until(lambda: grid.backlog() == FILES)
    until_located(grid, poms, name, STAGES)
    records = requests.get(f"{grid.url}/api/v1/dqm/runs/27296", timeout=10).json()
    assert len({record["input_did"] for record in records}) == FILES
