"""How long files take, from the end of writing to the declared result and to the data-quality page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import campaign_table, task_table
from dashboard.dqm.tables import result_table
from dashboard.operations.campaigns import Campaigns, final_steps, of_campaigns
from dashboard.operations.rates import Window
from declare_daemon.journal.tables import file_table

QUANTILES = (0.5, 0.95, 0.99)
EVALUATE = "evaluate"


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds that one leg of the way took for `files` files; None when there is none."""

    leg: str
    words: str
    files: int
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Way:
    """When one file was where; seconds since the epoch, None for what is not known."""

    closed: float | None
    declared: float | None
    submitted: float | None
    started: float | None
    reported: float | None
    done: float | None
    shown: float | None


# Work does not wait for the catalogues, and a job uploads its record before its outputs are declared: these two run beside the others.
# Submitted and started are of a file's first step, reported of its last; with one job a file that is the whole chain.
LEGS = (
    ("declared", "closed → declared", "closed", "declared"),
    ("submitted", "closed → submitted", "closed", "submitted"),
    ("started", "submitted → running", "submitted", "started"),
    ("worked", "running → reported", "started", "reported"),
    ("results", "reported → outputs declared", "reported", "done"),
    ("shown", "running → on DQM page", "started", "shown"),
    ("visible", "closed → on DQM page", "closed", "shown"),
    ("total", "closed → outputs declared", "closed", "done"),
)


def read_latency(connection: sa.Connection, campaigns: Campaigns, since: float) -> list[Latency]:
    """The latencies of the files that were done after `since`."""
    return latencies(_done_since(connection, campaigns, since))


def read_latency_by_window(
    connection: sa.Connection, campaigns: Campaigns, windows: Sequence[Window], now: float
) -> dict[str, list[Latency]]:
    """The latencies of the files that were done in each of the windows, by its name; the longest window is read."""
    ways = _done_since(connection, campaigns, now - max(window.length_s for window in windows))
    return {
        window.name: latencies([way for way in ways if way.done is not None and way.done >= now - window.length_s]) for window in windows
    }


def read_latency_of_run(connection: sa.Connection, campaigns: Campaigns, run: int) -> list[Latency]:
    """The latencies of the files of one run that are done."""
    return latencies(read_ways(connection, campaigns, task_table.c.run == run, task_table.c.done_at.is_not(None)))


def _done_since(connection: sa.Connection, campaigns: Campaigns, since: float) -> list[Way]:
    return read_ways(connection, campaigns, task_table.c.done_at.is_not(None), task_table.c.done_at >= since)


def read_ways(connection: sa.Connection, campaigns: Campaigns, *conditions: sa.ColumnElement[bool]) -> list[Way]:
    """The ways of files that were processed here and meet the conditions. The journal knows best when a file was declared."""
    t, f, c, d = task_table.c, file_table.c, campaign_table.c, result_table.c
    first = task_table.alias("first")
    shown = sa.and_(d.campaign == c.name, d.version == c.version, d.input_did == t.input_did, d.stage == EVALUATE, d.shown)
    statement = (
        sa.select(
            t.closed_at,
            sa.func.coalesce(f.declared_at, t.declared_at),
            first.c.submitted_at,
            first.c.started_at,
            t.reported_at,
            t.done_at,
            d.received_at,
        )
        .select_from(
            task_table.join(campaign_table, c.id == t.campaign_id)
            .outerjoin(first, first.c.id == t.input_id)
            .outerjoin(file_table, f.did == t.input_did)
            .outerjoin(result_table, shown)
        )
        .where(*conditions, t.attempts > 0, t.step.in_(final_steps(campaigns)), of_campaigns(campaigns))
    )
    return [Way(*row) for row in connection.execute(statement)]


def latencies(ways: Sequence[Way]) -> list[Latency]:
    """Every leg's percentiles."""
    return [
        _latency(
            leg, words, (end - begin for way in ways if (begin := getattr(way, a)) is not None and (end := getattr(way, b)) is not None)
        )
        for leg, words, a, b in LEGS
    ]


def _latency(leg: str, words: str, seconds: Iterable[float]) -> Latency:
    values = sorted(seconds)
    p50, p95, p99 = (quantile(values, q) for q in QUANTILES)
    return Latency(leg, words, len(values), p50, p95, p99, values[-1] if values else None)


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """The q-quantile of ordered values, interpolated between the two neighbours (NumPy's default); None of nothing."""
    if not ordered:
        return None
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
