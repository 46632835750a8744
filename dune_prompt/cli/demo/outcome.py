"""What became of every file: its state, its latencies, and whether it was processed exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from campaign.layout import last_step
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import campaign_table, task_table
from campaign.ledger.tasks import Task
from declare_daemon.catalogs import Catalogs
from declare_daemon.journal import FileState, JournalFile
from declare_daemon.journal.files import files_by_name
from dune_prompt.cli.demo.workspace import Written
from dune_prompt.records import MadeBy
from dune_prompt.store import Store

CAMPAIGN = "pdhd-prompt"
_STUCK = (FileState.QUARANTINED, FileState.CONFLICT, FileState.UNMATCHED, FileState.IGNORED, FileState.GONE)


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """One file. Latencies in seconds: the sidecar's rename to declared, declared to processed (outputs declared too)."""

    name: str
    fault: str | None
    state: str
    settled: bool
    times_processed: int
    closed_to_found_s: float | None = None
    closed_to_declared_s: float | None = None
    declared_to_processed_s: float | None = None
    attempts: int = 0
    why: str | None = None

    @property
    def good(self) -> bool:
        """A file without a fault must be processed, once."""
        return self.fault is None


def outcomes(written: Sequence[Written], store: Store, catalogs: Catalogs) -> list[FileOutcome]:
    """The outcome of every file written, from journal, ledger and catalogue."""
    with store.read() as connection:
        files = files_by_name(connection, "buffer", [item.name for item in written])
        campaign = connection.execute(campaign_table.select().where(campaign_table.c.name == CAMPAIGN)).first()
        tasks: dict[str, Task] = {}
        if campaign is not None:
            mine = task_table.c.campaign_id == campaign.id
            tasks = {
                task.input_did: task for task in ledger_tasks.select(connection, mine, task_table.c.step == last_step(campaign.layout))
            }
    version = "v1" if campaign is None else campaign.version
    done = [task.input_did for task in tasks.values() if task.state == "done"]
    children = catalogs.truth.children_of(done, MadeBy(CAMPAIGN, version, "evaluate"))
    payloads = catalogs.truth.children_of(done, MadeBy(CAMPAIGN, version, "nf_sp"))
    result = []
    for item in written:
        file = files.get(item.name)
        task = tasks.get(file.did) if file and file.did else None
        times = max(len(kind.get(task.input_did, ())) for kind in (children, payloads)) if task else 0
        result.append(_outcome(item, file, task, times))
    return result


def _outcome(item: Written, file: JournalFile | None, task: Task | None, times: int) -> FileOutcome:
    if file is None:
        return FileOutcome(item.name, item.fault, "not found yet", settled=False, times_processed=0)
    found = file.found_at - item.closed_at
    if task is None:
        return FileOutcome(item.name, item.fault, file.state.value, file.state in _STUCK, 0, found, why=file.reason)
    closed_to_declared = None if file.declared_at is None else file.declared_at - item.closed_at
    declared_to_processed = None if task.done_at is None or file.declared_at is None else task.done_at - file.declared_at
    return FileOutcome(
        item.name,
        item.fault,
        task.state.value,
        task.state.value in ("done", "parked"),
        times,
        found,
        closed_to_declared,
        declared_to_processed,
        task.attempts,
        task.message,
    )


def percentiles(values: Sequence[float | None]) -> dict[str, float] | None:
    """p50 and p95 of what is known."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return {"p50_s": median(known), "p95_s": known[min(len(known) - 1, round(0.95 * (len(known) - 1)))]}


def summary(files: Sequence[FileOutcome], elapsed_s: float) -> dict[str, object]:
    """All files and what they add up to; `ok`: every good file was processed exactly once."""
    good = [file for file in files if file.good]
    return {
        "ok": bool(files) and all(file.state == "done" and file.times_processed == 1 for file in good),
        "elapsed_s": elapsed_s,
        "files": len(files),
        "good": len(good),
        "processed_once": sum(file.times_processed == 1 for file in files),
        "states": dict(Counter(file.state for file in files)),
        "closed_to_declared": percentiles([file.closed_to_declared_s for file in files]),
        "declared_to_processed": percentiles([file.declared_to_processed_s for file in files]),
    }
