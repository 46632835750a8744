"""`dune-prompt campaign probe`: what it shows, what it ends with, and a probe through daemon, service and a job as they run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from benchmarks.installation import Pipeline
from campaign.ledger.tables import task_table
from campaign.probe import history
from campaign.probe.history import Probe
from campaign.probe.verdict import Outcome
from declare_daemon.journal.tables import obligation_table
from dune_prompt.cli.campaign.probe import probe
from dune_prompt.store import Store
from templates import render

RUN = 999_900
PROBE = f"\nprobe: {{run: {RUN}, stream: physics, frames: 4, late_after: 60s}}\n"


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    made = Pipeline(tmp_path / "pipeline")
    made.site_path.write_text(made.site_path.read_text() + PROBE)
    yield made
    made.stop()


def run(pipeline: Pipeline, *options: str) -> Result:
    return CliRunner().invoke(probe, ["--site", str(pipeline.site_path), *options])


def past(store: Store, *, outcome: Outcome = Outcome.OK, slow: float = 1.0, number: int = 0) -> Probe:
    """A probe that was sent earlier."""
    begin = 1_700_000_000.0 + 3600 * number
    item = Probe(f"01HF{number:022d}", f"raw{number}.hdf5", f"x:raw{number}.hdf5", "kills", "v1", "1", "raw", begin, begin)
    hops = {"found": begin + slow, "verified": begin + slow + 1, "done": begin + slow + 10}
    with store.write() as connection:
        history.begin(connection, item)
        item = Probe(**{name: getattr(item, name) for name in Probe.__slots__} | {"hops": hops, "numbers": {"evaluate.hits": 5.0}})
        return history.end(connection, item, outcome, "as it was", begin + 20)


def test_a_dry_run_says_what_it_would_send_and_writes_nothing(pipeline: Pipeline) -> None:
    before = sorted(path.name for path in (pipeline.folder / "buffer").iterdir())
    done = run(pipeline, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.output)
    assert (row["run"], row["stream"], row["campaign"], row["version"]) == (RUN, "physics", "kills", "v1")
    assert sorted(path.name for path in (pipeline.folder / "buffer").iterdir()) == before
    with pipeline.store.read() as connection:
        assert history.newest(connection, 1) == []


def test_a_site_without_a_probe_is_told_what_is_missing(tmp_path: Path) -> None:
    made = Pipeline(tmp_path / "bare")
    done = run(made)
    made.stop()
    assert "probe: is missing" in str(done.exception)


def test_the_history_shows_each_probe_and_what_each_hop_usually_takes(pipeline: Pipeline) -> None:
    assert "no probe has been sent yet" in run(pipeline, "--history").output
    for number in range(3):
        past(pipeline.store, slow=float(number + 1), number=number, outcome=Outcome.LATE if number == 2 else Outcome.OK)
    content = json.loads(run(pipeline, "--history", "--json").output)
    assert [item["outcome"] for item in content["probes"]] == ["late", "ok", "ok"]
    assert content["probes"][0]["total_s"] == 13.0
    found = next(row for row in content["hops"] if row["hop"] == "found")
    assert (found["probes"], found["p50_s"], found["longest_s"], found["last_s"]) == (3, 2.0, 3.0, 3.0)
    table = run(pipeline, "--history", "--last", "1").output
    assert "noticed in the buffer" in table
    assert "2023-11-15T00:13:20Z" in table


def test_accepting_takes_the_numbers_of_the_last_probe_that_was_through(pipeline: Pipeline) -> None:
    assert "no probe has been through" in str(run(pipeline, "--accept").exception)
    item = past(pipeline.store, outcome=Outcome.DIFFERENT)
    assert "would be" in run(pipeline, "--accept", "--dry-run").output
    with pipeline.store.read() as connection:
        assert history.expected(connection, item) is None
    assert run(pipeline, "--accept").exit_code == 0
    with pipeline.store.read() as connection:
        assert history.expected(connection, item) == {"evaluate.hits": 5.0}


def test_a_probe_that_is_late_ends_with_code_20(pipeline: Pipeline) -> None:
    pipeline.site_path.write_text(pipeline.site_path.read_text().replace("late_after: 60s", "late_after: 0.1s"))
    done = run(pipeline)
    assert done.exit_code == 20
    assert "the declare daemon has not noticed it" in done.output


@pytest.mark.parametrize("layout", ["fused", "staged"])
def test_a_probe_goes_through_daemon_service_and_jobs(pipeline: Pipeline, layout: str) -> None:
    campaign = pipeline.folder / "campaigns" / "c.yaml"
    campaign.write_text(campaign.read_text().replace("layout: fused", f"layout: {layout}"))
    pipeline.start()
    pipeline.write_files(3)
    first = _in_a_process(pipeline)
    assert first["outcome"] == "ok", first
    assert all(row["after_s"] is not None for row in first["hops"] if row["hop"] != "rules"), first["hops"]
    assert first["numbers"]
    second = _in_a_process(pipeline)
    assert second["outcome"] == "ok"
    assert second["file"] != first["file"]
    pipeline.wait_until_processed(60)
    with pipeline.store.read() as connection:
        probes = sa.select(sa.func.count()).select_from(task_table).where(task_table.c.run == RUN, task_table.c.state == "done")
        assert connection.execute(probes).scalar_one() == 2 * (4 if layout == "staged" else 1)
        held = sa.select(sa.func.count()).select_from(obligation_table)
        held = held.where(obligation_table.c.did.contains(f"run{RUN}"), obligation_table.c.met_at.is_(None))
        assert connection.execute(held.where(obligation_table.c.waived_by.is_(None))).scalar_one() == 0


def _in_a_process(pipeline: Pipeline) -> dict[str, Any]:
    """`campaign probe` as the timer runs it."""
    command = [sys.executable, "-m", "dune_prompt", "campaign", "probe", "--json", "--site", str(pipeline.site_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_its_systemd_units_are_rendered(pipeline: Pipeline) -> None:
    from dune_prompt.settings import load_site

    site = load_site(pipeline.site_path)
    values = {"site": site.site, "site_path": "/etc/site.yaml", "environment_file": "/etc/e", "workspace": "/w", "user": "prompt"}
    texts = [
        render(f"systemd/probe.{ending}.j2", **values, program=["/opt/dune-prompt"], probe=site.probe) for ending in ("service", "timer")
    ]
    assert 'ExecStart="/opt/dune-prompt" "campaign" "probe" "--site" "/etc/site.yaml"' in texts[0]
    assert "TimeoutStartSec=360\n" in texts[0]
    assert "OnUnitActiveSec=3600s\n" in texts[1]
