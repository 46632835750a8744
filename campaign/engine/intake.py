"""Takes new work into the ledger: verified files of the journal and open files of the catalogues' datasets, less what is done already."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.deadlines import deadline_of
from campaign.definition import FINAL_STAGE
from campaign.draining import known
from campaign.draining.answers import PATIENCE_S, Answer, Answers, AtOnce, Health, Key
from campaign.draining.background import Background
from campaign.draining.datasets import Drainer, Finding
from campaign.draining.known import CatalogInput
from campaign.installation import ActiveCampaign, Installation, Write
from campaign.layout import steps_of
from campaign.ledger import campaigns as ledger_campaigns
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import Move, NewTask, Task, chunks
from campaign.states import TaskState
from declare_daemon.catalogs import open_catalogs
from declare_daemon.journal import (
    FileState,
    JournalFile,
    all_of_stream,
    file_obligations,
    files_by_did,
    meet_obligations,
    take_in,
    taken_in,
)

BATCH = 500
# Files in one step, of datasets and of those that were there before a campaign: it stays short.
DATASET_FILES_A_STEP = 1000
KNOWN_FILES_A_STEP = 10_000
# Files that were there before a campaign can wait longer for the catalogue than new ones: without its answer all would be done again.
PATIENCE_WITH_KNOWN_S = 600.0
IN_CATALOG = "its final child is in the catalogue already"

# Whether an input is one of the campaign's: given its run, DID, metadata, and when the journal first had it (None: just now).
Covers = Callable[[int, str, Mapping[str, Any], float | None], bool]
# What each campaign covers now, by its id; asked once for each batch.
Coverage = Callable[[sa.Connection], Mapping[int, Covers]]


@dataclass(frozen=True, slots=True)
class Input:
    """A raw file, from the journal or a dataset. `arrived`: when its lifetime began; `journaled_at`: when the journal first had it."""

    did: str
    run: int
    file_index: int | None
    size_bytes: int
    metadata: Mapping[str, Any]
    arrived: float
    closed_at: float | None
    declared_at: float | None
    journaled_at: float | None = None


class Intake:
    """What the engine's step calls for new work. It never waits for a server that hangs.

    `coverage` says what each campaign covers (default: what its file says), `room_s` in which time the buffer fills up now.
    """

    def __init__(
        self,
        installation: Installation,
        write: Write,
        *,
        answers: Answers | None = None,
        drainer: Drainer | None = None,
        coverage: Coverage | None = None,
        room_s: Callable[[float], float | None] = lambda now: None,
    ) -> None:
        self._installation, self._write = installation, write
        self._coverage, self._room_s = coverage or by_file(installation), room_s
        self._behind = [campaign for campaign in installation.campaigns.values() if campaign.behind]
        # How far it is with the first of them, and with the oldest finding of a dataset.
        self._behind_after = self._finding_at = 0
        if self._behind:
            with write() as connection:
                known.forget(connection, [campaign.id for campaign in self._behind])
        self._drainer = drainer or Drainer(installation.store, installation.campaigns)
        self._answers, self._background = _askers(installation, self._drainer, answers)

    def take_in(self, now: float) -> int:
        """Make tasks of what is new; how many."""
        self._mark_late(now)
        return self._known(now) + self._new(now) + self._of_datasets(now)

    def health(self) -> list[Health]:
        """How the catalogues are that are asked."""
        found = [self._answers.health()]
        if self._background is not None and self._background is not self._answers:
            found.append(self._background.health())
        return found

    @property
    def problems(self) -> list[str]:
        """Datasets that cannot be asked for until somebody changes a setting."""
        return self._drainer.problems

    def close(self, patience_s: float = 1.0) -> None:
        """End the thread, or leave it to the end of the process when it waits for a server; what it knew is asked again."""
        if self._background is not None:
            self._background.close(patience_s)

    # -- the journal -------------------------------------------------------------------------------------------------------

    def _new(self, now: float) -> int:
        """Make tasks of the files the journal has verified since the last time."""
        new = 0
        for stream in sorted({campaign.settings.stream for campaign in self._installation.campaigns.values()}):
            campaigns = [campaign for campaign in self._installation.campaigns.values() if campaign.settings.stream == stream]
            while True:
                with self._installation.store.read() as connection:
                    files = take_in(connection, stream, BATCH)
                if not files:
                    break
                answers = {campaign.id: self._answers.of(campaign, _dids(files), PATIENCE_S) for campaign in campaigns}
                still_open = set().union(*(answer.open for answer in answers.values()))
                ready = [file for file in files if file.did not in still_open]
                if ready:
                    with self._write() as connection:
                        new += self._create(connection, campaigns, _inputs(ready), answers, now)
                        taken_in(connection, [file.id for file in ready])
                if len(files) < BATCH or len(ready) < len(files):
                    break
        return new

    def _known(self, now: float) -> int:
        """Make tasks of all files of the stream that were there before the campaign. Goes on in the next step where an answer is open."""
        new = looked_at = 0
        while self._behind and looked_at < KNOWN_FILES_A_STEP:
            campaign = self._behind[0]
            with self._installation.store.read() as connection:
                files = all_of_stream(connection, campaign.settings.stream, self._behind_after, BATCH)
            if not files:
                with self._write() as connection:
                    ledger_campaigns.has_taken_in(connection, campaign.id, now)
                self._behind.pop(0)
                self._behind_after = 0
                continue
            answer = self._answers.of(campaign, _dids(files), PATIENCE_WITH_KNOWN_S)
            if answer.open:
                break
            with self._write() as connection:
                new += self._create(connection, [campaign], _inputs(files), {campaign.id: answer}, now)
            self._behind_after = files[-1].id
            looked_at += len(files)
        return new

    # -- the datasets ------------------------------------------------------------------------------------------------------

    def _of_datasets(self, now: float) -> int:
        """Make tasks of what was found open in datasets, a part of it in each step."""
        new, room = 0, DATASET_FILES_A_STEP
        while room > 0 and (finding := self._drainer.next()) is not None:
            campaign = self._installation.campaigns[finding.campaign_id]
            part = finding.inputs[self._finding_at : self._finding_at + min(BATCH, room)]
            is_last = self._finding_at + len(part) >= len(finding.inputs)
            with self._write() as connection:
                new += self._take_part(connection, campaign, finding, part, now)
                if is_last:
                    _mark_done(self._installation, connection, {(campaign.id, did) for did in finding.done}, now)
                    known.note(connection, campaign.id, finding.dataset, finding.seen)
            room -= max(len(part), 1)
            self._finding_at += len(part)
            if is_last:
                self._finding_at = 0
                self._drainer.taken(finding)
                if self._background is not None:
                    self._background.wake()
        return new

    def _take_part(
        self, connection: sa.Connection, campaign: ActiveCampaign, finding: Finding, part: Sequence[CatalogInput], now: float
    ) -> int:
        site, stream = self._installation.site, campaign.settings.stream
        mine = [item for item in part if (fits := site.stream_of(item.name, dict(item.metadata))) is not None and fits.name == stream]
        # The journal's own files come in by the journal.
        journaled = files_by_did(connection, [item.did for item in mine])
        others = [item for item in mine if item.did not in journaled or journaled[item.did].state is FileState.GONE]
        covers = self._coverage(connection)[campaign.id]
        wanted = [item for item in others if covers(item.run, item.did, item.metadata, None)]
        known.keep(connection, wanted, finding.dataset, now)
        return self._create(connection, [campaign], [_of_catalog(item, now) for item in wanted], {}, now, obligations=False)

    # -- tasks -------------------------------------------------------------------------------------------------------------

    def _mark_late(self, now: float) -> None:
        """What went in without an answer and turned out to be done need not be done again."""
        if late := self._answers.late():
            with self._write() as connection:
                _mark_done(self._installation, connection, late, now)

    def _create(
        self,
        connection: sa.Connection,
        campaigns: Sequence[ActiveCampaign],
        inputs: Sequence[Input],
        answers: Mapping[int, Answer],
        now: float,
        *,
        obligations: bool = True,
    ) -> int:
        tasks: list[NewTask] = []
        filed: list[tuple[str, str, str, str]] = []
        met: list[tuple[str, str, str]] = []
        coverage = self._coverage(connection)
        for campaign in campaigns:
            settings, covers = campaign.settings, coverage[campaign.id]
            done = answers.get(campaign.id, Answer()).done
            stream = self._installation.site.stream(settings.stream)
            lifetime_s = stream.lifetime if stream else 0.0
            room_s = self._room_s(now)
            for item in inputs:
                if covers(item.run, item.did, item.metadata, item.journaled_at):
                    tasks += _tasks_of(campaign, item, deadline_of(item.arrived, lifetime_s, room_s), done=item.did in done)
                    if settings.required and obligations:
                        filed.append((item.did, settings.campaign, settings.version, FINAL_STAGE))
                        met += [(item.did, settings.campaign, settings.version)] if item.did in done else []
        file_obligations(connection, filed)
        # A file without any obligation would be kept for ever, as one that no campaign has asked for yet.
        meet_obligations(connection, met, now)
        return ledger_tasks.create(connection, tasks, now)


def by_file(installation: Installation) -> Coverage:
    """What each campaign covers by its file alone."""

    def covers_of(campaign: ActiveCampaign) -> Covers:
        return lambda run, did, metadata, arrived: campaign.settings.inputs.covers(run, dict(metadata))

    found = {campaign.id: covers_of(campaign) for campaign in installation.campaigns.values()}
    return lambda connection: found


def _askers(installation: Installation, drainer: Drainer, answers: Answers | None) -> tuple[Answers, Background | None]:
    """Who answers what is done, and the thread that asks servers and datasets, if there is need of one.

    A local database is asked in the step itself: that is quicker than a thread.
    """
    truth = installation.catalogs.truth
    local = any(item.kind == "embedded" and item.metadata is truth for item in installation.catalogs.all)
    if answers is None and local:
        answers = AtOnce(truth)
    if answers is not None and not drainer.needed:
        return answers, None
    background = Background(truth.name, lambda: open_catalogs(installation.site).truth, drainer if drainer.needed else None)
    return answers or background, background


def _dids(files: Sequence[JournalFile]) -> list[str]:
    return [file.did for file in files if file.did is not None]


def _inputs(files: Iterable[JournalFile]) -> list[Input]:
    return [
        Input(
            did=file.did,
            run=file.run or 0,
            file_index=file.file_index,
            size_bytes=file.size_bytes or 0,
            metadata=file.metadata,
            arrived=file.closed_at or file.found_at,
            closed_at=file.closed_at,
            declared_at=file.declared_at,
            journaled_at=file.found_at,
        )
        for file in files
        if file.did is not None
    ]


def _of_catalog(item: CatalogInput, now: float) -> Input:
    """Its lifetime begins when it was declared: the catalogue knows nothing of any buffer."""
    arrived = item.declared_at if item.declared_at is not None else now
    return Input(item.did, item.run, item.file_index, max(item.size_bytes, 0), item.metadata, arrived, None, item.declared_at)


def _tasks_of(campaign: ActiveCampaign, item: Input, deadline: float, *, done: bool) -> list[NewTask]:
    return [
        NewTask(
            campaign_id=campaign.id,
            input_did=item.did,
            step=step.name,
            state=TaskState.DONE if done else TaskState.BLOCKED if step.after else TaskState.READY,
            run=item.run,
            file_index=item.file_index,
            size_bytes=item.size_bytes,
            deadline=deadline,
            allowed_failures=campaign.settings.retries + 1,
            closed_at=item.closed_at,
            declared_at=item.declared_at,
        )
        for step in steps_of(campaign.settings.layout)
    ]


def _mark_done(installation: Installation, connection: sa.Connection, keys: Collection[Key], now: float) -> None:
    """Inputs that turned out to have their final child in the catalogue are done, unless somebody has begun to work on them."""
    untouched = (TaskState.READY, TaskState.BLOCKED)
    met: list[tuple[str, str, str]] = []
    for campaign_id in sorted({key[0] for key in keys} & installation.campaigns.keys()):
        settings = installation.campaigns[campaign_id].settings
        for dids in chunks(sorted(did for of, did in keys if of == campaign_id)):
            of_input: dict[str, list[Task]] = {}
            for task in ledger_tasks.select(connection, task_table.c.campaign_id == campaign_id, task_table.c.input_did.in_(dids)):
                of_input.setdefault(task.input_did, []).append(task)
            chosen = {did: tasks for did, tasks in of_input.items() if all(t.state in untouched and not t.attempts for t in tasks)}
            tasks = [task for tasks in chosen.values() for task in tasks]
            blocked = [task for task in tasks if task.state is TaskState.BLOCKED]
            ledger_tasks.apply(connection, [Move(task, TaskState.READY, IN_CATALOG) for task in blocked], now)
            ready = ledger_tasks.by_ids(connection, [task.id for task in tasks]).values()
            ledger_tasks.apply(connection, [Move(task, TaskState.DONE, IN_CATALOG, {"done_at": now}) for task in ready], now)
            met += [(did, settings.campaign, settings.version) for did in chosen]
    meet_obligations(connection, met, now)
