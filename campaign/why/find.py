"""Finds what a question is about: a raw file, an output, or nothing known; then what is called nearly the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import PurePath

import sqlalchemy as sa

from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import campaign_table, task_table
from campaign.ledger.tasks import Task
from declare_daemon.journal import JournalFile, files_by_did
from declare_daemon.journal.files import files_by_name
from declare_daemon.journal.tables import file_table
from declare_daemon.metadata import file_index
from dune_prompt.errors import DataError
from stages.rawdata.file_name import RUN_TYPES, RawFileName

MOST_NEAR = 5
# As long as `np04hd_raw_run028100_0001`, nearly: shorter ones mean no single file.
SHORTEST_BEGINNING = 20
_LOOKED_AT = 400
_RUN = re.compile(r"_run0*(\d{1,9})_")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: the journal's row if it has one, the tasks with it as their input. `path`: the place the question named, if any."""

    name: str
    did: str | None
    file: JournalFile | None
    tasks: Sequence[Task]
    path: str | None

    @property
    def known(self) -> bool:
        return self.file is not None or bool(self.tasks)

    @property
    def is_output(self) -> bool:
        return self.file is not None and self.file.origin == "outbox"


def find(connection: sa.Connection, asked: str) -> Found:
    """Look for a file by DID, name or path, in the journal first; the ledger also has inputs that others declared."""
    text = asked.strip()
    path = text if "/" in text else None
    name = PurePath(text).name if path else text
    if path is None and ":" in text:
        file = files_by_did(connection, [text]).get(text)
        name = text.rpartition(":")[2]
        # An event, a log or a person may name a file by a DID it never got.
        file = file or _by_name(connection, name) if file is None and not tasks_of(connection, [text]) else file
        did: str | None = text if file is None else file.did or text
    else:
        file = _by_name(connection, name, path) or _by_beginning(connection, name)
        name = file.name if file else name
        did = file.did if file else None
    dids = [did] if did else possible_dids(name)
    tasks = tasks_of(connection, dids)
    return Found(name, did or (tasks[0].input_did if tasks else None), file, tasks, path)


def _by_name(connection: sa.Connection, name: str, path: str | None = None) -> JournalFile | None:
    """A file of that name: of a buffer or an outbox, the one at `path` if both have it."""
    found = [*files_by_name(connection, "buffer", [name]).values(), *files_by_name(connection, "outbox", [name]).values()]
    return next((file for file in found if file.path == path), found[0] if found else None)


def _by_beginning(connection: sa.Connection, beginning: str) -> JournalFile | None:
    """The only raw file whose name begins so: names are long."""
    c = file_table.c
    if len(beginning) < SHORTEST_BEGINNING:
        return None
    alike = sa.select(c.name).where(c.origin == "buffer", c.name >= beginning, c.name < beginning + "\U0010ffff").limit(2)
    names = list(connection.execute(alike).scalars())
    return _by_name(connection, names[0]) if len(names) == 1 else None


def possible_dids(name: str) -> list[str]:
    """The DIDs a raw file of this name has in the catalogues: that of the run type it says, else all of them."""
    try:
        return [f"{RawFileName.parse(name).run_type}:{name}"]
    except DataError:
        return [f"{run_type}:{name}" for run_type in sorted(set(RUN_TYPES.values()))]


def tasks_of(connection: sa.Connection, dids: Sequence[str]) -> list[Task]:
    """The tasks with one of these inputs, in the order of campaigns and steps."""
    t = task_table.c
    # The campaigns are named, because they come first in the index.
    return ledger_tasks.select(connection, t.campaign_id.in_(sa.select(campaign_table.c.id)), t.input_did.in_(dids)) if dids else []


def near(connection: sa.Connection, name: str) -> list[str]:
    """Names like this one, the most alike first: those that begin the same, and files of the run it names."""
    c = file_table.c
    names: set[str] = set()
    if (match := _RUN.search(name)) is not None and int(match[1]) < 2**31:
        of_run = sa.select(c.name).where(c.run == int(match[1])).order_by(c.id.desc())
        names |= set(connection.execute(of_run.limit(_LOOKED_AT)).scalars())
    length = len(name)
    while length >= 4 and len(names) < MOST_NEAR:
        length = min(length - 1, length * 3 // 4) if names or length < len(name) else length
        begin = name[:length]
        for origin in ("buffer", "outbox"):
            alike = sa.select(c.name).where(c.origin == origin, c.name >= begin, c.name < begin + "\U0010ffff")
            names |= set(connection.execute(alike.limit(_LOOKED_AT)).scalars())
        length -= 1
    matcher = SequenceMatcher(b=name, autojunk=False)

    def likeness(other: str) -> float:
        if other.startswith(name):
            return 1.0
        matcher.set_seq1(other)
        return matcher.ratio() if matcher.real_quick_ratio() > 0.5 else 0.0

    wanted = file_index(name)

    def order(item: tuple[float, str]) -> tuple[float, int, str]:
        index = file_index(item[1])
        return -item[0], 0 if wanted is None or index is None else abs(index - wanted), item[1]

    ranked = sorted(((likeness(other), other) for other in names if other != name), key=order)
    return [other for ratio, other in ranked if ratio > 0.6][:MOST_NEAR]


def is_hole(connection: sa.Connection, name: str) -> str | None:
    """In words, that later files of the same run and writer are here, so that this one ought to be too; None when that is not so."""
    try:
        parsed = RawFileName.parse(name)
    except DataError:
        return None
    c = file_table.c
    later = sa.select(c.name).where(
        c.run == parsed.run, c.file_index > parsed.index, c.name.contains(f"_{parsed.writer}_", autoescape=True)
    )
    found = connection.execute(later.order_by(c.file_index).limit(1)).scalar()
    return None if found is None else f"later files of its run and writer are here ({found}): it is missing in the sequence"


def near_runs(connection: sa.Connection, run: int) -> list[int]:
    """The known runs next to this number, before and after."""
    c = file_table.c
    before = connection.execute(sa.select(sa.func.max(c.run)).where(c.run < run)).scalar()
    after = connection.execute(sa.select(sa.func.min(c.run)).where(c.run > run)).scalar()
    return [number for number in (before, after) if number is not None]
