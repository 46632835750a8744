"""Where everything stands: the numbers of the ledger, for the command line, the HTTP interface and the demo."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.layout import last_step
from campaign.ledger.tables import campaign_table, count_table
from campaign.states import BACKLOG, IN_FLIGHT, TaskState


@dataclass(frozen=True, slots=True)
class CampaignStatus:
    """One campaign's version. Files are counted by their last step, tasks by state over all steps. `fraction_prompt` is of the files
    whose time is over or that are processed: those processed before the buffer had to give them up."""

    campaign: str
    version: str
    layout: str
    files: int
    processed: int
    fraction_processed: float | None
    fraction_prompt: float | None
    backlog: int
    in_flight: int
    reported: int
    parked: int
    late: int
    states: dict[str, int]
    paused: str | None


def campaign_statuses(connection: sa.Connection, run: int | None = None, *, leave_out: int | None = None) -> list[CampaignStatus]:
    """Every campaign and version the ledger knows, from the summary of counts. `leave_out` is a run that does not count: that of probes."""
    totals = sa.select(
        count_table.c.campaign_id, count_table.c.step, count_table.c.state, count_table.c.late, sa.func.sum(count_table.c.tasks)
    ).group_by(count_table.c.campaign_id, count_table.c.step, count_table.c.state, count_table.c.late)
    if run is not None:
        totals = totals.where(count_table.c.run == run)
    if leave_out is not None and leave_out != run:
        totals = totals.where(count_table.c.run != leave_out)
    counts: dict[int, Counter[tuple[str, TaskState, bool]]] = {}
    for campaign_id, step, state, late, tasks in connection.execute(totals):
        counts.setdefault(campaign_id, Counter())[step, TaskState(state), bool(late)] += int(tasks)
    result = []
    for row in connection.execute(sa.select(campaign_table).order_by(campaign_table.c.name, campaign_table.c.id)):
        mine = counts.get(row.id, Counter())
        states: Counter[TaskState] = Counter()
        files = processed = prompt = late = missed = 0
        final = last_step(row.layout)
        for (step, state, is_late), tasks in mine.items():
            states[state] += tasks
            late += tasks if is_late and state is not TaskState.DONE else 0
            files += tasks if step == final else 0
            processed += tasks if step == final and state is TaskState.DONE else 0
            missed += tasks if step == final and state is not TaskState.DONE and is_late else 0
            prompt += tasks if step == final and state is TaskState.DONE and not is_late else 0
        result.append(
            CampaignStatus(
                campaign=row.name,
                version=row.version,
                layout=row.layout,
                files=files,
                processed=processed,
                fraction_processed=processed / files if files else None,
                fraction_prompt=prompt / (processed + missed) if processed + missed else None,
                backlog=sum(states[state] for state in BACKLOG),
                in_flight=sum(states[state] for state in IN_FLIGHT),
                reported=states[TaskState.REPORTED],
                parked=states[TaskState.PARKED],
                late=late,
                states={state.value: states[state] for state in TaskState if states[state]},
                paused=row.paused_why if row.paused_at is not None else None,
            )
        )
    return result
