"""Where the files of an attempt are, derived from its id."""

from __future__ import annotations

import time
from pathlib import Path

from ulid import ULID

from declare_daemon.outbox import ATTEMPTS


def job_dir(workspace: Path, attempt: str) -> Path:
    """The folder with assignment, log and report of an attempt; folders are kept by day. An id is a ULID: it holds its time."""
    day = time.strftime("%Y-%m-%d", time.gmtime(ULID.from_str(attempt).timestamp))
    return workspace / "jobs" / day / attempt


def submission_dir(workspace: Path, slice_id: str) -> Path:
    """The folder of what was handed to a batch system together."""
    day = time.strftime("%Y-%m-%d", time.gmtime(ULID.from_str(slice_id).timestamp))
    return workspace / "submissions" / day / slice_id


def output_dir(place: Path, attempt: str) -> Path:
    """The folder of one attempt's outputs, which no other attempt writes to."""
    return place / ATTEMPTS / attempt
