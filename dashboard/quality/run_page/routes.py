"""The data-quality page of a run, and the channels of a record as CSV."""

from __future__ import annotations

import time
from typing import Annotated, Literal, get_args

import sqlalchemy as sa
from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.responses import HTMLResponse, Response

from dashboard.dqm.record_file import RecordFiles
from dashboard.dqm.scalars import PLANES
from dashboard.dqm.tables import result_table
from dashboard.operations.live import LiveOperations
from dashboard.quality.flags import Flag
from dashboard.quality.run_page.channel_lists import Kind, channels_csv
from dashboard.quality.run_page.choice import QualityChoice, Show, View
from dashboard.quality.run_page.page import QualityPageReader
from dashboard.rendering import Pages
from dashboard.runs.head import RunHeads
from dune_prompt.settings import Site
from dune_prompt.store import Store

# Forms send what was left open as an empty text.
Chosen = Annotated[str, Query(max_length=300)]
Zoomed = Annotated[str, Query(max_length=60, pattern=r"^[0-9.,-]*$")]
TriggerRecord = Annotated[str, Query(max_length=20, pattern=r"^[0-9.]*$")]


def chosen(
    run: Annotated[int, Path(ge=0, lt=2**31)],
    campaign: Chosen = "",
    version: Chosen = "",
    file: Chosen = "",
    attempt: Chosen = "",
    element: Chosen = "",
    plane: Chosen = "",
    record: TriggerRecord = "",
    trend: Chosen = "",
    compare: Chosen = "",
    view: Chosen = "",
    show: Chosen = "",
    channels: Zoomed = "",
    files: Zoomed = "",
    zoom: Zoomed = "",
) -> QualityChoice:
    """The state of the page in an address; what cannot be is left to the page."""
    known_view: View | None = view if view in get_args(View) else None  # type: ignore[assignment]
    known_show: Show | None = show if show in get_args(Show) else None  # type: ignore[assignment]
    return QualityChoice(
        run=run,
        campaign=campaign or None,
        version=version or None,
        file=file or None,
        attempt=attempt or None,
        element=element or None,
        plane=plane if plane in PLANES else None,
        record=record or None,
        trend=trend or None,
        compare=compare or None,
        view=known_view,
        show=known_show,
        channels=channels or None,
        files=files or None,
        zoom=zoom or None,
    )


Choice = Annotated[QualityChoice, Depends(chosen)]


def create_router(pages: Pages, site: Site, store: Store, live: LiveOperations, heads: RunHeads) -> APIRouter:
    """The page `/runs/RUN/quality`, and the lists of channels of the API."""
    router = APIRouter()
    reader, records = QualityPageReader(site.workspace, heads), RecordFiles(site.workspace)

    @router.get("/runs/{run}/quality", include_in_schema=False)
    def quality_page(choice: Choice) -> HTMLResponse:
        event_id = live.newest_id
        now = time.time()
        with store.read() as connection:
            view = reader.read(connection, choice, now)
        if view is None:
            raise HTTPException(404, f"nothing is known about run {choice.run}")
        return pages.page(
            "run_quality.html", here="runs", event_id=event_id, at=now, view=view, choice=view.choice, flag_values=tuple(Flag)
        )

    @router.get("/api/v1/dqm/records/{record_id}/channels.csv", tags=["dqm"], response_class=Response)
    def channels(
        record_id: Annotated[int, Path(ge=1, lt=2**63)],
        kind: Annotated[Literal[Kind, "all"] | None, Query(description="default: all that are missing, dead, noisy, low or high")] = None,
        element: Annotated[str | None, Query(max_length=64)] = None,
        plane: Annotated[Literal["U", "V", "W"] | None, Query()] = None,
    ) -> Response:
        """Channels of a record as CSV: those of one kind, or `all`; of one element or plane."""
        with store.read() as connection:
            statement = sa.select(result_table.c.folder, result_table.c.run).where(result_table.c.id == record_id)
            row = connection.execute(statement).one_or_none()
        record = None if row is None else records.read(row.folder)
        if row is None or record is None:
            raise HTTPException(404, "no such record")
        name = "_".join(["channels", f"run{row.run}", f"record{record_id}", *(part for part in (element, plane, kind) if part)])
        headers = {"Content-Disposition": f'attachment; filename="{_plain(name)}.csv"', "Cache-Control": "no-cache"}
        return Response(channels_csv(record, kind, element, plane), media_type="text/csv", headers=headers)

    return router


def _plain(name: str) -> str:
    """`name` with nothing in it that a header or a file system could take for something else."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "_" for letter in name)
