"""The page of alarms, the same as JSON, and the acknowledgement of one."""

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field, StringConstraints

from campaign.service.access import Authenticate, needs
from campaign.service.scopes import Scope
from campaign.service.tokens import Principal
from dashboard.alarms.alarm import Alarm, AlarmState, is_looked_after, raised_alarms
from dashboard.alarms.page import read_page
from dashboard.alarms.running import RunningAlarms
from dashboard.operations.live import LiveOperations
from dashboard.rendering import Pages
from dune_prompt.errors import ConfigError, ConflictError
from dune_prompt.settings import Site
from dune_prompt.settings.units import parse_moment
from dune_prompt.store import Store

MOST_ROWS = 500
# What both databases keep as a number of a row.
AlarmId = Annotated[int, Path(ge=1, lt=2**63)]


@dataclass(frozen=True)
class AlarmRow:
    """An alarm. Times in seconds since the Unix epoch; `link` is a path of the dashboard."""

    id: int
    state: AlarmState
    key: str
    rule: str
    severity: str
    subject: str
    message: str
    owner: str
    link: str
    raised_at: float | None
    last_seen_at: float
    cleared_at: float | None
    cleared_by: str | None
    acknowledged_at: float | None
    acknowledged_by: str | None
    acknowledged_until: float | None
    acknowledged_why: str | None


@dataclass(frozen=True)
class AlarmList:
    """Alarms, the newest first. `looked_at`: the last look (None: none yet); `older`: give it as `before` for those that follow."""

    looked_at: float | None
    alarms: list[AlarmRow]
    older: int | None


class Acknowledgement(BaseModel):
    """Why an alarm needs nobody else, and until when: `8h` from now, or a date; without it, for as long as the alarm lasts."""

    why: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
    until: str | None = Field(None, max_length=40)


def create_router(
    pages: Pages,
    site: Site,
    store: Store,
    live: LiveOperations,
    running: RunningAlarms,
    authenticate: Authenticate,
) -> APIRouter:
    """The routes of alarms."""
    router = APIRouter()

    def not_read_only() -> None:
        if site.service.read_only:
            raise HTTPException(403, "this service only shows: alarms are acknowledged elsewhere")

    @router.get("/alarms", include_in_schema=False)
    def alarms_page(before: Annotated[int | None, Query(ge=1, lt=2**63)] = None) -> HTMLResponse:
        event_id = live.newest_id
        now = time.time()
        with store.read() as connection:
            view = read_page(connection, site, running.watcher.last, running.targets, now, before=before)
        return pages.page("alarms.html", here="alarms", event_id=event_id, at=now, view=view, before=before)

    @router.get("/api/v1/alarms", tags=["alarms"])
    def alarms(
        only_open: Annotated[bool, Query(alias="open", description="only those that are not over")] = False,
        since: Annotated[float | None, Query(description="only those that were not over then, in seconds since the Unix epoch")] = None,
        before: Annotated[int | None, Query(ge=1, lt=2**63, description="only those with lower numbers")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
    ) -> AlarmList:
        """The alarms that were raised, the newest first."""
        now = time.time()
        with store.read() as connection:
            found = raised_alarms(connection, limit + 1, which="open" if only_open else "all", since=since, before=before)
        older = found[limit - 1].id if len(found) > limit else None
        return AlarmList(running.watcher.last.at, [_row(alarm, now) for alarm in found[:limit]], older)

    @router.post("/api/v1/alarms/{alarm_id}/acknowledge", tags=["alarms"], dependencies=[Depends(not_read_only)])
    def acknowledge(
        alarm_id: AlarmId, content: Acknowledgement, principal: Annotated[Principal, Depends(needs(Scope.ALARMS, authenticate))]
    ) -> AlarmRow:
        """Say that you look after an alarm: nobody is told of it again until `until`, if it lasts so long."""
        now = time.time()
        try:
            until = None if content.until is None else parse_moment(content.until, now)
        except ValueError as error:
            raise HTTPException(422, f"until: {error}") from None
        try:
            return _row(running.book.acknowledge(alarm_id, principal.name, content.why, until, now), now)
        except ConfigError as error:
            raise HTTPException(404, str(error)) from None
        except ConflictError as error:
            raise HTTPException(409, str(error)) from None

    return router


def _row(alarm: Alarm, now: float) -> AlarmRow:
    """An alarm as it is now: an acknowledgement whose time is over is none."""
    over = alarm.state is AlarmState.ACKNOWLEDGED and not is_looked_after(alarm, now)
    return AlarmRow(
        id=alarm.id,
        state=AlarmState.RAISED if over else alarm.state,
        key=alarm.key,
        rule=alarm.rule,
        severity=alarm.severity.value,
        subject=alarm.subject,
        message=alarm.message,
        owner=alarm.owner,
        link=alarm.link,
        raised_at=alarm.raised_at,
        last_seen_at=alarm.last_seen_at,
        cleared_at=alarm.cleared_at,
        cleared_by=alarm.cleared_by,
        acknowledged_at=alarm.acknowledged_at,
        acknowledged_by=alarm.acknowledged_by,
        acknowledged_until=alarm.acknowledged_until,
        acknowledged_why=alarm.acknowledged_why,
    )
