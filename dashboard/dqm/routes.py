"""The API of data quality: records come in, summaries, records and pictures go out."""

# No `from __future__ import annotations`: FastAPI could not find `caller`, a local name, in the text of an annotation.

import time
from pathlib import Path as FilePath
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel

from campaign.service.access import Caller
from campaign.service.tokens import Principal
from dashboard.dqm.storage import RECORD, DqmStorage, Stored
from dashboard.dqm.summary import RecordSummary, read_summaries
from dashboard.dqm.tables import result_table
from dashboard.dqm.upload import UPLOAD_BYTES, Upload, check_right, received
from dashboard.web import FOREVER
from dune_prompt.errors import DataError
from dune_prompt.records import check_name
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


RecordId = Annotated[int, Path(ge=1, lt=2**63)]
Word = Annotated[str, Query(max_length=64)]


class UploadAnswer(BaseModel):
    """What is kept now. `shown`: the record counts for its input, the others of it are history. `pictures_missing` are in the record but
    did not come, in this upload or one before."""

    id: int
    attempt: str
    shown: bool
    pictures: int
    pictures_missing: list[str]


def create_router(store: Store, storage: DqmStorage, caller: Caller) -> APIRouter:
    """The routes of data quality; `caller` is the dependency that authenticates."""
    router = APIRouter()

    @router.put(
        "/api/v1/dqm/records",
        tags=["dqm"],
        max_body_size=UPLOAD_BYTES,
        responses={201: {"model": UploadAnswer}},
        openapi_extra={"requestBody": _BODY},
    )
    async def upload(principal: Annotated[Principal, Depends(caller)], request: Request, response: Response) -> UploadAnswer:
        """Keep a record and its pictures. 201: it is new; 200: this attempt sent it before."""
        async with received(request) as form:
            stored = await run_in_threadpool(keep, principal, form)
        response.status_code = 201 if stored.created else 200
        return UploadAnswer(
            id=stored.id,
            attempt=form.record.attempt,
            shown=stored.shown,
            pictures=stored.pictures,
            pictures_missing=stored.pictures_missing,
        )

    def keep(principal: Principal, form: Upload) -> Stored:
        with store.read() as connection:
            check_right(connection, principal, form.record)
        return storage.keep(form.record, form.content, form.pictures, time.time())

    @router.get("/api/v1/dqm/runs/{run}", tags=["dqm"], response_model=list[RecordSummary])
    def run_summaries(
        run: Annotated[int, Path(ge=0, lt=2**31)],
        campaign: Word | None = None,
        version: Word | None = None,
        history: Annotated[bool, Query(description="also the records of attempts that do not count")] = False,
        limit: Annotated[int, Query(ge=1, le=5000)] = 200,
    ) -> JSONResponse:
        """The summaries of a run, in the order of its files."""
        with store.read() as connection:
            summaries = read_summaries(connection, run, campaign, version, history=history, limit=limit)
        # Not checked against the model: a thousand of them would take most of a second.
        return JSONResponse(summaries)

    @router.get("/api/v1/dqm/records/{record_id}", tags=["dqm"])
    def record(record_id: RecordId) -> FileResponse:
        """A record, as it was uploaded."""
        return FileResponse(existing(storage.file_path(folder_of(record_id), RECORD)), media_type="application/json")

    @router.get("/dqm/pictures/{record_id}/{name}", include_in_schema=False)
    def picture(record_id: RecordId, name: str) -> FileResponse:
        """A picture. Another attempt's has another address, so a browser may keep it."""
        folder = folder_of(record_id)
        if not name.endswith(".png"):
            raise HTTPException(404, "no such picture")
        try:
            path = storage.file_path(folder, check_name(name))
        except DataError:
            raise HTTPException(404, "no such picture") from None
        return FileResponse(existing(path), media_type="image/png", headers={"Cache-Control": FOREVER})

    def folder_of(record_id: int) -> str:
        with store.read() as connection:
            folder = connection.execute(sa.select(result_table.c.folder).where(result_table.c.id == record_id)).scalar_one_or_none()
        if folder is None:
            raise HTTPException(404, "no such record")
        return str(folder)

    return router


def existing(path: FilePath) -> FilePath:
    """`path` if there is a file; 404 otherwise: it was not uploaded, or is being replaced right now."""
    if not path.is_file():
        raise HTTPException(404, "no such file")
    return path
