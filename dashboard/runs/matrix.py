"""The files of a run by stages: where each file is, stage by stage, and how its data are judged.

In the layout `staged` each stage has a task of its own. In `fused` the stages that are committed are done, and the first that is not has
the state of the file's one task.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, Field

from campaign.layout import ALL_STAGES, CHAIN
from campaign.ledger.tables import commit_table, task_table
from campaign.states import TaskState
from dashboard import words
from dashboard.dqm.tables import result_table
from dashboard.operations.campaigns import CountedCampaign
from dashboard.quality.flags import Flag

STATES = tuple(TaskState)
# Waiting tasks are looked at as one thing, tasks with a job too.
KINDS = {"done": "done", "work": "at work", "wait": "waiting", "parked": "parked", "waived": "waived"}
MOST_MESSAGES = 500
# A reading of a long run is kept ten times as long as it took.
LONG_S, REST = 0.05, 10.0
MOST_KEPT = 8


@dataclass(frozen=True, slots=True)
class MatrixFile:
    """A file. `stages` are states in the order of `ALL_STAGES`, `state` that of the stage it is at; `flag` None: it has no record."""

    input_did: str
    file_index: int | None
    stages: tuple[TaskState, ...]
    state: TaskState
    late: bool
    attempts: int
    failures: int
    deadline: float
    error_class: str | None
    message: str | None
    flag: Flag | None

    @property
    def name(self) -> str:
        return self.input_did.rpartition(":")[2]

    @property
    def kind(self) -> str:
        return words.SIGNS[self.state].kind


class MatrixColumns(BaseModel):
    """The matrix in columns, a file at the same place in each.

    A file's DID is `prefix`, its entry in `names`, `suffix`. `stages` has a digit for each file: the place in `states`, and in `kinds` and
    `words`, which say how such a state is drawn and called. `quality` has the number of the flag (0 not judged, 1 good, 2 medium, 3 bad) or
    `-` without a record. `late` are the places of files past their deadline, `messages` says what went wrong, by place.
    """

    run: int
    campaign: str
    version: str
    files: int
    states: list[str]
    kinds: list[str]
    words: list[str]
    prefix: str
    suffix: str
    names: list[str]
    index: list[int | None]
    stages: dict[str, str]
    quality: str
    late: list[int]
    messages: dict[int, str] = Field(description=f"of at most {MOST_MESSAGES} files")


class MatrixReader:
    """Reads the files of a run. Those of a long run are kept for a moment, for all who look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], tuple[float, list[MatrixFile]]] = OrderedDict()

    def read(self, connection: sa.Connection, campaign: CountedCampaign, run: int) -> list[MatrixFile]:
        """The files in the order they were written."""
        key, began = (campaign.id, run), time.monotonic()
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and began < kept[0]:
            return kept[1]
        files = read_matrix(connection, campaign, run)
        took = time.monotonic() - began
        if took > LONG_S:
            with self._lock:
                self._kept[key] = (began + REST * took, files)
                self._kept.move_to_end(key)
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
        return files


def read_matrix(connection: sa.Connection, campaign: CountedCampaign, run: int) -> list[MatrixFile]:
    """The files of a run as a campaign's version sees them, in the order they were written."""
    t = task_table.c
    columns = (
        t.input_id,
        t.input_did,
        t.step,
        t.state,
        t.late,
        t.file_index,
        t.attempts,
        t.failures,
        t.deadline,
        t.error_class,
        t.message,
    )
    rows = connection.execute(sa.select(*columns).where(t.run == run, t.campaign_id == campaign.id)).all()
    flags = _flags(connection, campaign, run)
    if campaign.layout == "fused":
        committed = _committed(connection, campaign, run)
        files = [_file([row], of_chain(TaskState(row.state), committed.get(row.input_id, frozenset())), flags) for row in rows]
    else:
        by_input: dict[int, list[Any]] = {}
        for row in rows:
            by_input.setdefault(row.input_id, []).append(row)
        files = [_file(steps, of_steps(steps), flags) for steps in by_input.values()]
    return sorted(files, key=lambda file: (file.file_index is None, file.file_index or 0, file.input_did))


def _flags(connection: sa.Connection, campaign: CountedCampaign, run: int) -> dict[str, Flag]:
    d = result_table.c
    mine = (d.run == run, d.campaign == campaign.name, d.version == campaign.version, d.shown)
    return {did: Flag(flag) for did, flag in connection.execute(sa.select(d.input_did, d.flag).where(*mine))}


def _committed(connection: sa.Connection, campaign: CountedCampaign, run: int) -> Mapping[int, frozenset[str]]:
    """The stages that count already, of files that are not through."""
    t, m = task_table.c, commit_table.c
    statement = (
        sa.select(m.input_id, m.stage)
        .join_from(task_table, commit_table, m.input_id == t.id)
        .where(t.run == run, t.campaign_id == campaign.id, t.done_at.is_(None))
    )
    found: dict[int, set[str]] = {}
    for input_id, stage in connection.execute(statement):
        found.setdefault(input_id, set()).add(stage)
    return {input_id: frozenset(stages) for input_id, stages in found.items()}


_ALL_DONE = (TaskState.DONE,) * len(ALL_STAGES)


def of_chain(state: TaskState, committed: frozenset[str]) -> tuple[TaskState, ...]:
    """The states of the stages of a file with one task in `state`, of which the stages `committed` count."""
    if state is TaskState.DONE:
        return _ALL_DONE
    if state is TaskState.REPORTED:
        return tuple(TaskState.REPORTED if stage == "declare" else TaskState.DONE for stage in ALL_STAGES)
    at = next((i for i, stage in enumerate(ALL_STAGES) if stage not in committed), len(ALL_STAGES) - 1)
    rest = TaskState.WAIVED if state is TaskState.WAIVED else TaskState.BLOCKED
    return (TaskState.DONE,) * at + (state,) + (rest,) * (len(ALL_STAGES) - at - 1)


def of_steps(steps: Sequence[Any]) -> tuple[TaskState, ...]:
    """The states of the stages of a file with a task for each."""
    states = {row.step: TaskState(row.state) for row in steps}
    return tuple(states.get(stage, TaskState.BLOCKED) for stage in ALL_STAGES)


def _file(steps: Sequence[Any], stages: tuple[TaskState, ...], flags: Mapping[str, Flag]) -> MatrixFile:
    at = _current(steps)
    return MatrixFile(
        input_did=at.input_did,
        file_index=at.file_index,
        stages=stages,
        state=TaskState(at.state),
        late=any(row.late and row.state != TaskState.DONE for row in steps),
        attempts=sum(row.attempts for row in steps),
        failures=at.failures,
        deadline=at.deadline,
        error_class=at.error_class,
        message=at.message,
        flag=flags.get(at.input_did),
    )


def _current(steps: Sequence[Any]) -> Any:
    """The step a file is at: the one that is neither done nor blocked; without one, the last."""
    moving = [row for row in steps if row.state not in (TaskState.DONE, TaskState.BLOCKED)]
    return moving[0] if moving else max(steps, key=lambda row: ALL_STAGES.index(row.step) if row.step != CHAIN else 0)


def count_kinds(files: Sequence[MatrixFile]) -> dict[str, int]:
    """How many files there are of each kind, in the order of `KINDS`."""
    found = Counter(file.kind for file in files)
    return {kind: found[kind] for kind in KINDS}


def in_columns(run: int, campaign: CountedCampaign, files: Sequence[MatrixFile]) -> MatrixColumns:
    """The matrix as a browser draws it: small, because a run can have ten thousand files."""
    dids = [file.input_did for file in files]
    prefix = _common_start(dids)
    suffix = _common_start([did[len(prefix) :][::-1] for did in dids])[::-1]
    digit = {state: str(place) for place, state in enumerate(STATES)}
    wrong = [(place, file) for place, file in enumerate(files) if file.error_class and file.state is not TaskState.DONE]
    return MatrixColumns(
        run=run,
        campaign=campaign.name,
        version=campaign.version,
        files=len(files),
        states=[state.value for state in STATES],
        kinds=[words.SIGNS[state].kind for state in STATES],
        words=[words.SIGNS[state].word for state in STATES],
        prefix=prefix,
        suffix=suffix,
        names=[did[len(prefix) : len(did) - len(suffix)] for did in dids],
        index=[file.file_index for file in files],
        stages={stage: "".join(digit[file.stages[i]] for file in files) for i, stage in enumerate(ALL_STAGES)},
        quality="".join("-" if file.flag is None else str(int(file.flag)) for file in files),
        late=[place for place, file in enumerate(files) if file.late],
        messages={place: f"{file.error_class}: {(file.message or '')[:200]}" for place, file in wrong[:MOST_MESSAGES]},
    )


def _common_start(texts: Sequence[str]) -> str:
    """What all of them begin with."""
    first, last = min(texts, default=""), max(texts, default="")
    length = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), min(len(first), len(last)))
    return first[:length]
