"""The API of data quality: records come in, summaries, records and pictures go out."""

# No `from __future__ import annotations`: FastAPI could not find `caller`, a local name, in the text of an annotation.

import time
from pathlib import Path as FilePath
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel

from campaign.service.access import Caller
from campaign.service.tokens import Principal
from dashboard.dqm.storage import RECORD, DqmStorage, Stored
from dashboard.dqm.summary import Summary
from dashboard.dqm.tables import dqm_table
from dashboard.dqm.upload import UPLOAD_BYTES, Upload, check_right, received
from dashboard.web import FOREVER
from dune_prompt.errors import ConflictError, DataError
from dune_prompt.records import check_name
from dune_prompt.settings import Site
from dune_prompt.store import Store

_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["record"],
                "properties": {
                    "record": {"type": "object", "description": "the data-quality record, schema 1"},
                    "picture": {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "PNG files"},
                },
            }
        }
    },
}


class UploadAnswer(BaseModel):
    """What is kept now. `pictures_missing` are in the record but did not come, in this upload or one before."""

    id: int
    attempt: str
    pictures: int
    pictures_missing: list[str]


class RecordSummary(BaseModel):
    """A record without its channels, spectra and pictures."""

    id: int
    campaign: str
    version: str
    input_did: str
    run: int
    file_index: int | None
    detector: str
    attempt: str
    made_at: float
    received_at: float
    summary: Summary


def create_router(site: Site, store: Store, caller: Caller) -> APIRouter:
    """The routes of data quality; `caller` is the dependency that authenticates."""
    router = APIRouter()
    storage = DqmStorage(store, site.workspace)

    @router.put(
        "/api/v1/dqm/records",
        tags=["dqm"],
        max_body_size=UPLOAD_BYTES,
        responses={201: {"model": UploadAnswer}},
        openapi_extra={"requestBody": _BODY},
    )
    async def upload(principal: Annotated[Principal, Depends(caller)], request: Request, response: Response) -> UploadAnswer:
        """Keep a record and its pictures. 201: it is new, or replaces an older attempt's; 200: this attempt sent it before."""
        async with received(request) as form:
            stored = await run_in_threadpool(keep, principal, form)
        response.status_code = 201 if stored.created else 200
        return UploadAnswer(id=stored.id, attempt=form.record.attempt, pictures=stored.pictures, pictures_missing=stored.pictures_missing)

    def keep(principal: Principal, form: Upload) -> Stored:
        with store.read() as connection:
            check_right(connection, principal, form.record)
        try:
            return storage.keep(form.record, form.content, form.pictures, time.time())
        except ConflictError as error:
            raise HTTPException(409, str(error)) from None

    @router.get("/api/v1/dqm/runs/{run}", tags=["dqm"], response_model=list[RecordSummary])
    def run_summaries(
        run: Annotated[int, Path(ge=0, lt=2**31)],
        campaign: str | None = None,
        version: str | None = None,
        limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    ) -> JSONResponse:
        """The summaries of a run, in the order of its files."""
        d = dqm_table.c
        columns = [d[name] for name in RecordSummary.model_fields]
        statement = sa.select(*columns).where(d.run == run).order_by(d.file_index, d.input_did, d.id).limit(limit)
        if campaign is not None:
            statement = statement.where(d.campaign == campaign)
        if version is not None:
            statement = statement.where(d.version == version)
        with store.read() as connection:
            # Checked when it came in: checking a thousand of them again would take most of a second.
            return JSONResponse([dict(row) for row in connection.execute(statement).mappings()])

    @router.get("/api/v1/dqm/records/{record_id}", tags=["dqm"])
    def record(record_id: int) -> FileResponse:
        """A record, as it was uploaded."""
        row = row_of(record_id)
        return FileResponse(existing(storage.file_path(row.folder, RECORD)), media_type="application/json")

    @router.get("/dqm/pictures/{record_id}/{attempt}/{name}", include_in_schema=False)
    def picture(record_id: int, attempt: str, name: str) -> FileResponse:
        """A picture of the attempt that counts: another attempt has another address, so a browser may keep it."""
        row = row_of(record_id)
        if row.attempt != attempt or not name.endswith(".png"):
            raise HTTPException(404, "no such picture")
        try:
            path = storage.file_path(row.folder, check_name(name))
        except DataError:
            raise HTTPException(404, "no such picture") from None
        return FileResponse(existing(path), media_type="image/png", headers={"Cache-Control": FOREVER})

    def row_of(record_id: int) -> Any:
        statement = sa.select(dqm_table.c.folder, dqm_table.c.attempt).where(dqm_table.c.id == record_id)
        with store.read() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise HTTPException(404, "no such record")
        return row

    return router


def existing(path: FilePath) -> FilePath:
    """`path` if there is a file; 404 otherwise: it was not uploaded, or is being replaced right now."""
    if not path.is_file():
        raise HTTPException(404, "no such file")
    return path
