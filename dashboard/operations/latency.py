"""How long files take, from the end of writing to the declared result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import task_table
from dashboard.operations.campaigns import Campaigns, final_steps
from declare_daemon.journal.tables import file_table

QUANTILES = (0.5, 0.95, 0.99)


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
    started: float | None
    reported: float | None
    done: float | None


# Started, reported: of the file's last step, which with one job a file is the whole chain.
LEGS = (
    ("declared", "closed → declared", "closed", "declared"),
    ("started", "closed → job started", "closed", "started"),
    ("worked", "job started → reported", "started", "reported"),
    ("results", "reported → results declared", "reported", "done"),
    ("total", "closed → done", "closed", "done"),
)


def read_latency(connection: sa.Connection, campaigns: Campaigns, since: float) -> list[Latency]:
    """The latencies of the files that were done after `since`."""
    return latencies(read_ways(connection, campaigns, task_table.c.done_at >= since))


def read_latency_of_run(connection: sa.Connection, campaigns: Campaigns, run: int) -> list[Latency]:
    """The latencies of the files of one run that are done."""
    return latencies(read_ways(connection, campaigns, task_table.c.run == run, task_table.c.done_at.is_not(None)))


def read_ways(connection: sa.Connection, campaigns: Campaigns, *conditions: sa.ColumnElement[bool]) -> list[Way]:
    """The ways of files that were processed here and meet the conditions. The journal knows best when a file was declared."""
    t, f = task_table.c, file_table.c
    statement = (
        sa.select(t.closed_at, sa.func.coalesce(f.declared_at, t.declared_at), t.started_at, t.reported_at, t.done_at)
        .select_from(task_table.outerjoin(file_table, f.did == t.input_did))
        .where(*conditions, t.attempts > 0, t.step.in_(final_steps(campaigns)), t.campaign_id.in_(campaigns))
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
