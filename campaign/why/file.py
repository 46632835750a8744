"""Why is this file where it is? One file's story: place, registration, every campaign's work on it, what was tried, what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from campaign.draining.tables import catalog_input_table
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger.attempts import Attempt
from campaign.provenance import Provenance, trace
from campaign.states import TaskState
from campaign.why.circumstances import Circumstances, read_circumstances
from campaign.why.file_sentences import FileSituation, say_file
from campaign.why.find import Found, find, is_hole, near
from campaign.why.registered import registrations
from campaign.why.sentences import Said
from campaign.why.spelled import moment, size
from campaign.why.work import CampaignAnswer, campaign_answers
from declare_daemon.journal import FileState, JournalFile
from declare_daemon.release.candidates import obligations_of
from declare_daemon.release.checklist import by_id, proofs_of
from dune_prompt.settings import Site
from dune_prompt.store import event_table

MOST_EVENTS = 20


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One event in the file's history, of its own or of a task."""

    at: float
    who: str | None
    what: str


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """The whole answer. `kind` is raw, output or unknown; `headline` says the most important in one sentence."""

    asked: str
    kind: str
    name: str
    did: str | None
    run: int | None
    headline: str
    state: str | None
    where: str
    size_bytes: int | None
    next: str | None
    next_at: float | None
    registered: tuple[str, ...] = ()
    campaigns: tuple[CampaignAnswer, ...] = ()
    provenance: Provenance | None = None
    history: tuple[HistoryLine, ...] = ()
    near: tuple[str, ...] = ()
    to_do: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The answer as data. Times in seconds since the Unix epoch."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The answer as text, line by line."""
        lines = [self.headline, ""]
        lines.append(f"  file      {self.did or self.name}" + (f" ({size(self.size_bytes)})" if self.size_bytes is not None else ""))
        lines.append(f"  where     {self.where}")
        if self.next:
            lines.append(f"  next      {self.next}")
        lines += [f"  {'catalogue' if i == 0 else '':<10}{line}" for i, line in enumerate(self.registered)]
        if self.provenance is not None:
            lines += [f"  {'made by' if i == 0 else '':<10}{line}" for i, line in enumerate(self.provenance.sentences())]
        for item in self.campaigns:
            lines += ["", f"{item.campaign} {item.version}" + (f" ({item.role})" if item.role != "full" else "")]
            lines.append(f"  state     {item.state}, step {item.step}: {item.says}" if item.state else f"  no task   {item.says}")
            if len(item.steps) > 1:
                lines.append(f"  steps     {', '.join(f'{step} {state}' for step, state in item.steps.items())}")
            if item.deadline_says:
                lines.append(f"  deadline  {item.deadline_says}")
            lines.append(f"  next      {item.next}")
            for attempt in item.tried:
                lines += [f"  tried     {attempt.says}", f"            log {attempt.log}"]
        if self.history:
            lines += ["", "history"]
            lines += [f"  {moment(line.at)}  {line.what}" + (f", by {line.who}" if line.who else "") for line in self.history]
        if self.near:
            lines += ["", "called nearly the same:", *(f"  {name}" for name in self.near)]
        lines += [f"  to do     {line}" for line in self.to_do]
        return lines


def why_file(connection: sa.Connection, site: Site, asked: str, now: float) -> FileAnswer:
    """The story of the file called `asked`: a DID, a bare name, or a path, of a raw file or of an output. Only reads."""
    found = find(connection, asked)
    if not found.known:
        return _unknown(connection, site, found, asked, now)
    around = read_circumstances(connection, site, now)
    file = found.file
    run = found.tasks[0].run if found.tasks else file.run if file else None
    journal = _file_situation(connection, around, file) if file else None
    said = say_file(journal) if journal else Said(_of_others(connection, found), "")
    attempts = ledger_attempts.of_tasks(connection, [task.id for task in found.tasks])
    campaigns = () if found.is_output else campaign_answers(connection, around, found, attempts, run)
    provenance = trace(connection, site, found.did or found.name) if found.is_output else None
    return FileAnswer(
        asked=asked,
        kind="output" if found.is_output else "raw",
        name=found.name,
        did=found.did,
        run=run,
        headline=_headline(found, said, campaigns),
        state=file.state.value if file else None,
        where=said.now + _elsewhere(found),
        size_bytes=file.size_bytes if file else found.tasks[0].size_bytes,
        next=said.next or None,
        next_at=said.at,
        registered=_registered(journal),
        campaigns=campaigns,
        provenance=provenance,
        history=_history(connection, found, attempts),
    )


def _unknown(connection: sa.Connection, site: Site, found: Found, asked: str, now: float) -> FileAnswer:
    around = read_circumstances(connection, site, now)
    stream = site.stream_of(found.name, {})
    to_do = []
    if any(item.sidecar for item in site.streams):
        to_do.append(f"if it lies in the buffer ({site.buffer.path}): is it closed, is its sidecar {found.name}.json there?")
    if stream is None:
        to_do.append("its name fits no stream of the site file (or only one that looks at metadata)")
    if around.daemon is None:
        to_do.append("no daemon runs, so new files are not seen: `dune-prompt declare run`, or once: `dune-prompt declare once`")
    else:
        to_do.append("`dune-prompt declare once --dry-run` shows what the buffer holds that is not taken in yet")
    to_do = [words for words in (around.buffer_away(), is_hole(connection, found.name)) if words is not None] + to_do
    headline = f"{found.name} has never been seen here: neither journal nor ledger knows a file of that name."
    return FileAnswer(
        asked, "unknown", found.name, found.did, None, headline, None, "never seen", None, None, None,
        near=tuple(near(connection, found.name)), to_do=tuple(to_do),
    )  # fmt: skip


def _of_others(connection: sa.Connection, found: Found) -> str:
    c = catalog_input_table.c
    dataset = connection.execute(sa.select(c.dataset).where(c.did == found.did)).scalar()
    return f"the journal does not know it: others declared it{f', in {dataset}' if dataset else ''}; the catalogue has its place"


def _headline(found: Found, said: Said, campaigns: Sequence[CampaignAnswer]) -> str:
    """The most important in one sentence: the first campaign that is not through, else the file's own state."""
    waiting = [item for item in campaigns if item.state is not None and item.state not in (TaskState.DONE, TaskState.WAIVED)]
    if waiting:
        first = waiting[0]
        return f"{found.name}: {first.campaign} {first.version}: {first.says}."
    done = [f"{item.campaign} {item.version}" for item in campaigns if item.state == TaskState.DONE]
    if done:
        return f"{found.name} is processed by {', '.join(done)}; {said.now}."
    return f"{found.name}: {said.now}."


def _elsewhere(found: Found) -> str:
    if found.path is None or found.file is None or found.file.path == found.path:
        return ""
    return f" (not at {found.path}, which was asked for)"


def _file_situation(connection: sa.Connection, around: Circumstances, file: JournalFile) -> FileSituation:
    did = file.did
    proofs = by_id(connection, [file.proof]) if file.proof is not None else {}
    proof = proofs.get(file.proof or -1) or next(reversed(proofs_of(connection, [file.id])), None)
    return FileSituation(
        file=file,
        around=around,
        stream=around.site.stream(file.stream) if file.stream else None,
        registrations=registrations(connection, around, file),
        obligations=obligations_of(connection, [did]).get(did, ()) if did else (),
        proof=proof,
    )


def _registered(journal: FileSituation | None) -> tuple[str, ...]:
    if journal is None:
        return ()
    if journal.file.state in (FileState.IGNORED, FileState.UNMATCHED, FileState.REJECTED, FileState.QUARANTINED, FileState.RETURNING):
        return tuple(item.sentence(declared=False) for item in journal.registrations if item.confirmed)
    declared = journal.file.state in (FileState.DECLARED, FileState.LEAVING, FileState.LEFT)
    return tuple(item.sentence(declared=declared) for item in journal.registrations)


def _history(connection: sa.Connection, found: Found, attempts: Sequence[Attempt]) -> tuple[HistoryLine, ...]:
    """The newest events of the file and its tasks, oldest first."""
    e = event_table.c
    subjects = [f"task:{task.id}" for task in found.tasks]
    subjects += [text for text in (found.did, found.file.name if found.file else None) if text]
    steps = {f"task:{task.id}": task.step for task in found.tasks}
    rows = connection.execute(sa.select(event_table).where(e.subject.in_(subjects)).order_by(e.id.desc()).limit(MOST_EVENTS)).all()
    lines = []
    for row in reversed(rows):
        whose = f"{steps[row.subject]}: " if row.subject in steps else ""
        change = f"{row.before} → {row.after}" if row.before else row.after
        who = row.by if row.by not in (None, "engine") else None
        lines.append(HistoryLine(row.at, who, f"{whose}{change}" + (f" ({row.message})" if row.message else "")))
    return tuple(lines)
