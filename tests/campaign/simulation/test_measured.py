"""What the ledger tells of the last hours, and the parameters made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.definition import Campaign
from campaign.ledger.tables import attempt_table, campaign_table, commit_table, task_table
from campaign.simulation.defaults import defaults
from campaign.simulation.measured import Measured, measure
from campaign.simulation.run import simulate
from dune_prompt.settings import Site
from dune_prompt.store import metadata

NOW = 1_700_000_000.0
CAMPAIGN = Campaign.model_validate(
    {
        "campaign": "pdhd-prompt",
        "detector": "pdhd",
        "stream": "physics",
        "version": "v1",
        "required": True,
        "stages": {"nf_sp": {"memory": "3GB", "lifetime": "1h", "cpus": 2}},
        "outputs": {"namespace": "reco", "data_tier": "decoded-raw"},
        "retries": 2,
    }
)


def site_of(**more: Any) -> Site:
    content: dict[str, Any] = {
        "site": "test",
        "buffer": {"path": "/buffer", "capacity": "100TB"},
        "streams": [{"name": "physics", "pattern": "*.hdf5", "process": True, "lifetime": "12h", "release": {"move_to": "/done"}}],
        "slots": {"min": 1, "max": 300},
        "launchers": [{"kind": "htcondor", "poll_every": "20s"}, {"kind": "local"}],
    }
    return Site.model_validate(content | more)


@pytest.fixture
def ledger() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        values = {"name": "pdhd-prompt", "version": "v1", "stream": "physics", "detector": "pdhd", "layout": "fused", "required": True}
        connection.execute(sa.insert(campaign_table).values(id=1, **values, file_hash="0", content={}, first_seen=NOW))
        yield connection
    engine.dispose()


def add(connection: sa.Connection, number: int, *, closed_at: float, job_s: float, failed: str | None = None, step: str = "chain") -> None:
    """A file that is through; `failed` is the class of a first attempt that went wrong."""
    task = number * 10 + (step != "chain") * (1 + ["nf_sp", "declare"].index(step) if step != "chain" else 0)
    connection.execute(
        sa.insert(task_table).values(
            id=task,
            input_id=number,
            campaign_id=1,
            input_did=f"raw:{number}",
            step=step,
            state="done",
            run=1,
            size_bytes=2 * 10**9,
            deadline=closed_at + 3600,
            allowed_failures=4,
            ready_at=closed_at,
            closed_at=closed_at,
            created_at=closed_at + 3,
            reported_at=closed_at + 50 + job_s,
            done_at=closed_at + 54 + job_s,
        )
    )
    classes = [failed, None] if failed else [None]
    for attempt, error_class in enumerate(classes, 1):
        begun = closed_at + 10 + attempt * 20
        connection.execute(
            sa.insert(attempt_table).values(
                id=f"{task:020d}{attempt:06d}",
                task_id=task,
                number=attempt,
                state="failed" if error_class else "succeeded",
                stages="nf_sp",
                launcher="htcondor",
                lease_until=begun,
                created_at=begun - 16,
                submitted_at=begun - 15,
                started_at=begun,
                ended_at=begun + (5 if error_class else job_s),
                error_class=error_class,
            )
        )
    if step != "declare":
        outputs = [["a.npz", 300, "0", True], ["b.json", 20, "0", True]]
        connection.execute(
            sa.insert(commit_table).values(input_id=number, stage="nf_sp", attempt_id=f"{task:020d}{1:06d}", outputs=outputs)
        )


def test_the_last_hours_are_measured(ledger: sa.Connection) -> None:
    for number in range(101):
        add(ledger, number, closed_at=NOW - 10_000 + 10 * number, job_s=100 + number, failed="payload" if number % 4 == 0 else None)
    seen = measure(ledger, "pdhd-prompt", "v1", NOW, 24)
    assert seen.files_per_s == pytest.approx(0.1)
    assert seen.file_bytes == 2 * 10**9
    assert seen.latency_s == pytest.approx([15.0] * 127)
    assert dict(seen.failures) == pytest.approx({"payload": 26 / 127})
    assert seen.intake_s == pytest.approx(3)
    assert seen.declare_s == pytest.approx(4)
    assert seen.output_bytes == 320
    # Files whose chain was walked in two attempts do not tell how long one takes.
    assert seen.job_s == pytest.approx([100 + number for number in range(101) if number % 4])


def test_too_little_is_no_measurement(ledger: sa.Connection) -> None:
    assert measure(ledger, "pdhd-prompt", "v2", NOW, 24) == Measured(24)
    for number in range(5):
        add(ledger, number, closed_at=NOW - 1000 + number, job_s=10)
    seen = measure(ledger, "pdhd-prompt", "v1", NOW, 24)
    assert (seen.files, seen.files_per_s, seen.job_s, seen.failures, seen.declare_s) == (5, None, (), (), None)
    assert measure(ledger, "pdhd-prompt", "v1", NOW, 0.01).files == 0


def test_the_jobs_of_all_steps_count_for_a_file(ledger: sa.Connection) -> None:
    for number in range(30):
        add(ledger, number, closed_at=NOW - 1000, job_s=60, step="nf_sp")
        add(ledger, number, closed_at=NOW - 1000, job_s=7, step="declare")
    assert measure(ledger, "pdhd-prompt", "v1", NOW, 24).job_s == pytest.approx([67.0] * 30)


def test_what_is_not_known_is_assumed_and_said_to_be() -> None:
    parameters, sources = defaults()
    found = {item.key: item.source for item in sources}
    assert parameters.streams[0].rate == 3e9
    assert found["streams.0.rate"] == "assumed"
    assert found["streams.0.job_time"] == "assumed: 160 APA-events a file x 5 s"
    assert found["slots.max"].startswith("assumed")


def test_site_and_campaign_files_give_the_rest() -> None:
    parameters, sources = defaults(site_of(), [CAMPAIGN])
    stream = parameters.streams[0]
    assert (stream.name, stream.lifetime, stream.required, stream.retries, stream.cpus) == ("physics", 43200, True, 2, 2)
    assert (stream.memory, stream.time_limit) == (4 * 10**9, 3600 + 3 * 7200)
    assert parameters.slots == site_of().slots
    assert parameters.buffer.capacity == 100 * 10**12
    assert [item.name for item in parameters.launchers] == ["htcondor", "local"]
    assert parameters.launchers[0].poll_every == 20
    assert parameters.launchers[0].reports_pushed
    assert {item.key: item.source for item in sources}["slots.max"] == "site file"


def test_what_was_measured_goes_before_what_is_assumed(ledger: sa.Connection) -> None:
    for number in range(100):
        add(ledger, number, closed_at=NOW - 10_000 + 10 * number, job_s=100)
    seen = measure(ledger, "pdhd-prompt", "v1", NOW, 24)
    parameters, sources = defaults(site_of(), [CAMPAIGN], {("pdhd-prompt", "v1"): seen})
    stream = parameters.streams[0]
    assert stream.mean_files_hz == pytest.approx(0.1)
    assert stream.job_time.mean == pytest.approx(100)
    assert parameters.launchers[0].latency.mean == pytest.approx(15)
    assert parameters.engine.intake == pytest.approx(3)
    assert {item.key: item.source for item in sources}["streams.0.job_time"] == "measured: 100 files in the last 24 h"
    outcome = simulate(parameters.model_copy(update={"duration": 3600.0}))
    assert outcome.processed == outcome.files == 360


def test_a_stream_that_never_leaves_the_buffer_is_pointed_out() -> None:
    site = site_of(streams=[{"name": "physics", "pattern": "*", "process": True}])
    parameters, sources = defaults(site, [CAMPAIGN])
    assert not parameters.streams[0].leaves
    assert any("no release" in item.source for item in sources)


def test_of_several_campaigns_on_a_stream_the_required_one_is_simulated() -> None:
    other = CAMPAIGN.model_copy(update={"campaign": "other", "required": False})
    parameters, sources = defaults(site_of(), [other, CAMPAIGN])
    assert len(parameters.streams) == 1
    assert any("pdhd-prompt v1" in item.source for item in sources)
