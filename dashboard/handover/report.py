"""The hand-over as data: page, text and JSON are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from dashboard.handover.failures import FailureLine, read_failure_lines
from dashboard.handover.files import QUESTIONS, Asked, count
from dashboard.handover.latency import LatencyAgainstTarget, read_latency_against
from dashboard.handover.people import Deed, read_deeds
from dashboard.handover.period import Period
from dashboard.handover.runs import RunLine, read_run_lines
from dashboard.handover.watch import Watch, read_watch
from dashboard.operations.campaigns import Campaigns
from dune_prompt.settings import Site


@dataclass(frozen=True, slots=True)
class Number:
    """How many rows the question of this `name` has, and their bytes; `query` is where they are listed, under the service's root."""

    name: str
    words: str
    number: int
    size_bytes: int
    query: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """What happened in the period, and what to watch from now on."""

    site: str
    period: Period
    made_at: float
    numbers: Mapping[str, Number]
    latency: LatencyAgainstTarget
    runs: Sequence[RunLine]
    runs_in_all: int
    failures: Sequence[FailureLine]
    deeds: Sequence[Deed]
    watch: Sequence[Watch]


def asked_of(site: Site, campaigns: Campaigns, period: Period) -> Asked:
    """What a hand-over of this site asks for."""
    return Asked(campaigns, tuple(stream.name for stream in site.streams), period)


def hand_over(connection: sa.Connection, site: Site, campaigns: Campaigns, period: Period, now: float) -> HandOver:
    """Write the hand-over of a period."""
    asked = asked_of(site, campaigns, period)
    numbers = {}
    for name, question in QUESTIONS.items():
        number, size = count(connection, question, asked)
        numbers[name] = Number(name, question.words, number, size, f"/handover/{name}?{period.query}")
    runs, runs_in_all = read_run_lines(connection, asked)
    return HandOver(
        site=site.site,
        period=period,
        made_at=now,
        numbers=numbers,
        latency=read_latency_against(connection, asked, site.slots.drain_within),
        runs=runs,
        runs_in_all=runs_in_all,
        failures=read_failure_lines(connection, asked),
        deeds=read_deeds(connection, period),
        watch=read_watch(connection, campaigns, numbers["parked"].number, numbers["stopped"].number, now),
    )
