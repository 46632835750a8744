"""The end of a job's log, from the folder the ledger names."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from dune_prompt.errors import TransientError

LOG = "job.log"
TAIL_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class LogTail:
    """The last bytes of a log as text; `cut_bytes` stand before them."""

    text: str
    size_bytes: int
    cut_bytes: int


def read_tail(job_dir: Path) -> LogTail | None:
    """The log's end; None when there is none, as before a job began, on another host, or after its folder was cleaned away.

    A link is not followed: the job owns its folder, and could point it at any file of this machine.
    """
    try:
        descriptor = os.open(job_dir / LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise TransientError(f"{job_dir / LOG}: cannot be read ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        size = status.st_size
        cut = max(0, size - TAIL_BYTES)
        file.seek(cut)
        return LogTail(file.read(TAIL_BYTES).decode("utf-8", "replace"), size, cut)
