"""An upload as it comes in: a multipart body with one `record` and any number of `picture` parts, checked before anything is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

import sqlalchemy as sa
from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from campaign.ledger.tables import attempt_table, campaign_table, commit_table, task_table
from campaign.service.scopes import Scope
from campaign.service.tokens import Principal
from dashboard.dqm.record import DqmRecord, read_record
from dune_prompt.errors import DataError
from dune_prompt.records import check_name

RECORD_BYTES = 20_000_000
PICTURE_BYTES = 5_000_000
UPLOAD_BYTES = 100_000_000
MOST_PICTURES = 200
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Upload:
    """A checked upload. The pictures are open files, by name, and end with the request."""

    record: DqmRecord
    content: bytes
    pictures: Mapping[str, BinaryIO]


@asynccontextmanager
async def received(request: Request) -> AsyncIterator[Upload]:
    """The upload in the body of a request whose caller is known; its files are closed at the end.

    Raises:
        HTTPException: 413 for a part that is too large, 422 for one that is wrong, with the reason.
    """
    async with request.form(max_files=MOST_PICTURES + 1, max_fields=1, max_part_size=RECORD_BYTES) as form:
        # A record of 10,000 channels takes tens of milliseconds to check: not in the loop that serves everybody.
        yield await run_in_threadpool(_check, form)


def _check(form: FormData) -> Upload:
    content: bytes | None = None
    files: list[UploadFile] = []
    for name, part in form.multi_items():
        if name == "record" and content is None:
            content = part.encode() if isinstance(part, str) else _read(part)
        elif name == "picture" and isinstance(part, UploadFile):
            files.append(part)
        else:
            raise HTTPException(422, f"part {name[:40]!r}: expected one 'record', and 'picture' parts with a file name")
    if content is None:
        raise HTTPException(422, "the part 'record' is missing")
    try:
        record = read_record(content)
        listed = {picture.name for picture in record.pictures}
        return Upload(record, content, dict(_picture(part, listed) for part in files))
    except DataError as error:
        raise HTTPException(422, str(error)) from None


def _read(part: UploadFile) -> bytes:
    _check_size(part, RECORD_BYTES, "record")
    return part.file.read()


def _picture(part: UploadFile, listed: Collection[str]) -> tuple[str, BinaryIO]:
    name = check_name(part.filename or "", "picture")
    _check_size(part, PICTURE_BYTES, f"picture {name}")
    if name not in listed:
        raise DataError(f"picture {name}: not listed in the record")
    if part.file.read(len(PNG)) != PNG:
        raise DataError(f"picture {name}: not a PNG file")
    part.file.seek(0)
    return name, part.file


def _check_size(part: UploadFile, limit: int, what: str) -> None:
    if part.size is not None and part.size > limit:
        raise HTTPException(413, f"{what}: {part.size} bytes, at most {limit} are taken")


def check_right(connection: sa.Connection, caller: Principal, record: DqmRecord) -> None:
    """An attempt may upload the record of its own input, made by itself or, where each stage is a job of its own, by the attempt that
    counts for `evaluate`. With the scope `upload`, any.

    Raises:
        HTTPException: 403.
    """
    if caller.may(Scope.UPLOAD):
        return
    t, k, c = task_table.c, campaign_table.c, commit_table.c
    statement = (
        sa.select(t.input_id)
        .select_from(attempt_table.join(task_table, t.id == attempt_table.c.task_id).join(campaign_table, k.id == t.campaign_id))
        .where(
            attempt_table.c.id == caller.attempt,
            k.name == record.campaign,
            k.version == record.version,
            t.input_did == record.input_did,
        )
    )
    input_id = connection.execute(statement).scalar_one_or_none()
    if input_id is not None and record.attempt != caller.attempt:
        evaluated = sa.select(c.attempt_id).where(c.input_id == input_id, c.stage == "evaluate", c.attempt_id == record.attempt)
        input_id = input_id if connection.execute(evaluated).scalar_one_or_none() else None
    if input_id is None:
        raise HTTPException(403, f"without the scope {Scope.UPLOAD} a token speaks for its own attempt only, and this record is another's")
