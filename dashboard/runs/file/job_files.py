"""What a job left in its folder: the end of its log, and its report."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from dune_prompt.errors import DataError, TransientError
from dune_prompt.records import Report

LOG, REPORT = "job.log", "report.json"
TAIL_BYTES = 64 << 10
REPORT_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class LogTail:
    """The last bytes of a log as text; `cut_bytes` stand before them."""

    text: str
    size_bytes: int
    cut_bytes: int


def read_tail(job_dir: Path, length: int = TAIL_BYTES) -> LogTail | None:
    """The log's end; None when there is none, as before a job began, on another host, or after its folder was cleaned away."""
    found = _read(job_dir / LOG, length)
    if found is None:
        return None
    content, size = found
    return LogTail(content.decode("utf-8", "replace"), size, size - len(content))


def read_report_text(job_dir: Path) -> bytes | None:
    """The report as its job wrote it; None when there is none, or one that is too large for a report."""
    found = _read(job_dir / REPORT, REPORT_BYTES)
    return None if found is None or found[1] > REPORT_BYTES else found[0]


def read_report(job_dir: Path) -> Report | str | None:
    """The report; None when there is none, and in words what is wrong with one that cannot be read."""
    text = read_report_text(job_dir)
    if text is None:
        return None
    try:
        return Report.from_json(json.loads(text), REPORT)
    except (ValueError, DataError) as error:
        return str(error)


def _read(path: Path, last_bytes: int) -> tuple[bytes, int] | None:
    """The end of a regular file, and its size; None when there is none.

    A link is not followed: the job owns its folder, and could point it at any file of this machine.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise TransientError(f"{path}: cannot be read ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        file.seek(max(0, status.st_size - last_bytes))
        return file.read(last_bytes), status.st_size
