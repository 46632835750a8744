"""The outbox: where attempts leave their outputs, and the final places of those that count.

<root>/attempts/<attempt>/<file>         written by a job
<root>/<namespace>/<dataset>/<file>      after the file was verified
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from declare_daemon.journal.files import JournalFile
from declare_daemon.journal.tables import file_table
from declare_daemon.journal.writer import Journal
from declare_daemon.outage import Outages
from declare_daemon.quarantine import BESIDE
from dune_prompt.errors import TransientError
from dune_prompt.records import check_name

ATTEMPTS = "attempts"
SENTINEL = ".outbox"


def root_of(file: JournalFile, default_root: Path) -> Path:
    """The root an output is in: above `attempts`, above its final place, or above a quarantine; else `default_root`."""
    path = Path(file.path)
    if path.parts[-3:] == _final(file):
        return path.parents[2]
    return next((parent.parent for parent in path.parents if parent.name in (ATTEMPTS, BESIDE)), default_root)


def place_of(file: JournalFile, default_root: Path) -> Path:
    """The final place of an output.

    Raises:
        DataError: its namespace, dataset or name is no folder's name.
    """
    final = _final(file)
    for folder, where in zip(final, ("namespace", "dataset", "name"), strict=True):
        check_name(folder, f"{file.did}: {where}")
    return root_of(file, default_root).joinpath(*final)


def _final(file: JournalFile) -> tuple[str, str, str]:
    record = file.record
    return record.namespace, (record.dataset or "").rpartition(":")[2], record.name


class Outbox:
    """The roots outputs are handed over from (the workspace's, and the places of campaigns), and whether they are there."""

    def __init__(self, default_root: Path, journal: Journal, outages: Outages) -> None:
        self.default_root, self._journal, self._outages = default_root, journal, outages

    def is_there(self, root: Path) -> bool:
        """Whether `root` can be worked in now; if not, its outage is noted."""
        outage = self._outages.of(f"outbox:{root}")
        try:
            self.check(root)
        except TransientError as error:
            outage.failed(error, self._journal.now())
            return False
        outage.answered(self._journal.now())
        return True

    def check(self, root: Path) -> None:
        """Return if `root` is there. A new one gets its sentinel file; one that files were placed in before must have it.

        Raises:
            TransientError: it is away.
        """
        sentinel = root / SENTINEL
        try:
            if sentinel.exists():
                return
            if not root.is_dir():
                raise TransientError(f"{root}: the outbox is not there")
            if self._was_used(root):
                raise TransientError(f"{root}: the sentinel {SENTINEL} is missing, so this is not the outbox files were placed in")
            sentinel.touch()
        except OSError as error:
            raise TransientError(f"{root}: {error.strerror}") from None

    def _was_used(self, root: Path) -> bool:
        c = file_table.c
        placed = sa.select(c.id).where(c.origin == "outbox", c.verified_at.is_not(None), c.path.startswith(f"{root}/", autoescape=True))
        with self._journal.read() as connection:
            return connection.execute(placed.limit(1)).first() is not None
