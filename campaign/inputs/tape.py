"""Reads inputs back from tape: what is missing of a run together, by one rule, no more than the campaign allows.

Every recall is written down before it is asked for, so that one whose answer was lost, or that a crash cut off, is asked for again under
the same name and found there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog
from ulid import ULID

from campaign.definition import RecallSettings
from campaign.inputs import recalls
from campaign.inputs.places import AT_HAND
from campaign.inputs.recalls import ASKING, DONE, LOST, RecallRow, Use
from campaign.installation import ActiveCampaign, Installation, Write
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import OPEN, Task
from campaign.states import TaskState
from declare_daemon.catalogs import Found, ReplicaCatalog
from declare_daemon.journal import files_by_did
from dune_prompt.errors import ConfigError, DataError
from dune_prompt.records import split_did

log = structlog.get_logger(__name__)

# How many waiting tasks of a run are looked at for files that can be read back with the one that is asked for.
LOOK_AHEAD = 2000

# A campaign's version (its id in the ledger) and a run.
Group = tuple[int, int]


class Tape:
    """Asks `catalog` for recalls and follows them. Used by one thread."""

    def __init__(self, installation: Installation, write: Write, now: Callable[[], float]) -> None:
        self._installation, self._write, self._now = installation, write, now

    def ask_for(self, catalog: ReplicaCatalog, group: Group) -> None:
        """Begin to read back what waiting tasks of a run lack, as far as there is room.

        Raises:
            TransientError: the catalogue is away. What was written down is asked for by `follow`.
        """
        campaign = self._installation.campaigns[group[0]]
        settings = campaign.settings.inputs.recall
        if settings is None:
            return
        tasks = self._waiting(group)
        copies = catalog.find([task.input_did for task in tasks])
        on_tape = [task for task in tasks if only_on_tape(copies.get(task.input_did, ()))]
        row = self._write_down(campaign, group[1], settings, on_tape)
        if row is not None:
            self._ask(catalog, row)

    def _waiting(self, group: Group) -> list[Task]:
        """The tasks of a run that wait, whose input is not at hand and not on its way, first those that are late first."""
        c = task_table.c
        with self._installation.store.read() as connection:
            mine = (OPEN, c.state == TaskState.READY, c.campaign_id == group[0], c.run == group[1])
            found = ledger_tasks.select(connection, *mine, limit=LOOK_AHEAD)
            dids = [task.input_did for task in found]
            journaled = files_by_did(connection, dids)
            on_their_way = recalls.coming(connection, dids)
        missing = [task for task in found if task.input_did not in on_their_way]
        missing = [task for task in missing if task.input_did not in journaled or journaled[task.input_did].state not in AT_HAND]
        # The layout with a task for each stage has several tasks of one input.
        return list({task.input_did: task for task in sorted(missing, key=lambda task: (task.deadline, task.id))}.values())

    def _write_down(self, campaign: ActiveCampaign, run: int, settings: RecallSettings, tasks: Sequence[Task]) -> RecallRow | None:
        now = self._now()
        with self._write() as connection:
            files = _that_fit(tasks, settings, recalls.use_of(connection, campaign.id))
            if not files:
                return None
            recall_id = str(ULID.from_timestamp(now))
            namespace = split_did(next(iter(files)))[0]
            name = f"{namespace}:recall_{campaign.settings.campaign}_{campaign.settings.version}_{run}_{recall_id}"
            row = RecallRow(
                recall_id, campaign.id, run, name, settings.rse, settings.lifetime, None, ASKING, None, asked_at=now, ended_at=None
            )
            recalls.begin(connection, row, files)
        log.info("reading back from tape", campaign=campaign.settings.campaign, run=run, files=len(files), bytes=sum(files.values()))
        return row

    def _ask(self, catalog: ReplicaCatalog, row: RecallRow) -> None:
        with self._installation.store.read() as connection:
            files = recalls.files_of(connection, row.id)
        try:
            rule = catalog.recall(recalls.as_asked(row, files))
        except (ConfigError, DataError) as error:
            log.error("files cannot be read back from tape", run=row.run, error=str(error))
            with self._write() as connection:
                recalls.update(connection, row.id, message=str(error))
            return
        with self._write() as connection:
            recalls.update(connection, row.id, rule=rule.id, state=rule.state, message=rule.error)

    def follow(self, catalog: ReplicaCatalog) -> int:
        """Ask again for what was not taken yet, and look how far the others are; how many are open.

        Raises:
            TransientError: the catalogue is away.
        """
        with self._installation.store.read() as connection:
            rows = recalls.open_recalls(connection)
        for row in rows:
            if row.campaign_id not in self._installation.campaigns:
                continue
            if row.rule is None:
                self._ask(catalog, row)
            else:
                self._look(catalog, row)
        return len(rows)

    def _look(self, catalog: ReplicaCatalog, row: RecallRow) -> None:
        now = self._now()
        with self._installation.store.read() as connection:
            files = recalls.files_of(connection, row.id)
        rule = catalog.recalled(recalls.as_asked(row, files))
        coming = [file.did for file in files if file.there_at is None]
        copies = catalog.find(coming) if coming else {}
        there = [did for did in coming if any(not copy.tape for copy in copies.get(did, ()))]
        with self._write() as connection:
            recalls.are_there(connection, row.id, there, now)
            if rule is None:
                # Its lifetime is over, or somebody deleted it: what is still needed may be asked for anew.
                recalls.update(connection, row.id, state=LOST, ended_at=now, message="the rule is gone")
            else:
                over = now if rule.state == DONE and len(there) == len(coming) else None
                recalls.update(connection, row.id, rule=rule.id, state=rule.state, message=rule.error, ended_at=over)
        if there:
            log.info("read back from tape", run=row.run, files=len(there), coming=len(coming) - len(there))


def only_on_tape(copies: Sequence[Found]) -> bool:
    """Whether there are copies of a file, all of them on tape."""
    return bool(copies) and all(copy.tape for copy in copies)


def has_room(settings: RecallSettings, use: Use, size_bytes: int) -> bool:
    """Whether a file may be asked back at all; if so, it may still have to wait for its turn."""
    return use.bytes_asked + size_bytes <= settings.most


def _that_fit(tasks: Sequence[Task], settings: RecallSettings, use: Use) -> Mapping[str, int]:
    """The inputs that may be asked for now (DID -> bytes): the most urgent ones."""
    files: dict[str, int] = {}
    asked, room = use.bytes_asked, settings.at_once - use.files_coming
    for task in tasks:
        if len(files) < room and asked + task.size_bytes <= settings.most:
            files[task.input_did] = task.size_bytes
            asked += task.size_bytes
    return files
