"""Commits ended attempts: exactly one attempt counts for each stage of an input; its outputs go to the registrar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa
import structlog

from campaign.engine.watch import Ended
from campaign.installation import Installation
from campaign.layout import sealed_stages
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Change, Committed
from campaign.ledger.tasks import Move, Task
from campaign.retries import decide, next_needs
from campaign.states import AttemptState, TaskState
from declare_daemon.journal import HandedOver, hand_over
from dune_prompt.errors import ConflictError, DataError
from dune_prompt.records import SIDECAR_SUFFIX, FileRecord, Output, StageReport, read_json

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Product:
    """A committed output; `record` is its sidecar when it goes into the catalogues."""

    stage: str
    output: Output
    path: Path
    record: FileRecord | None


def commit(
    installation: Installation, connection: sa.Connection, ended: Sequence[Ended], now: float, jitter: Callable[[], float]
) -> list[Task]:
    """Write down how these attempts ended, what of them counts, and what happens to their tasks; hand outputs over, all at once.

    Returns the tasks that are done with that, as nothing of them has to be declared.
    """
    committed = ledger_attempts.committed(connection, {item.task.input_id for item in ended})
    outcomes = _commit_all(installation, connection, ended, committed, now)
    moves: list[Move] = []
    changes: list[Change] = []
    for item, (sealed, error_class, message) in zip(ended, outcomes, strict=True):
        changes.append(_closed(item, error_class, message, now))
        if error_class is None:
            moves.append(_succeeded(item, sealed, now))
        else:
            moves.append(failed(installation, item.task, error_class, message, now, jitter(), item.attempt.stages, item.host))
    ledger_attempts.update(connection, changes, now)
    ledger_tasks.apply(connection, moves, now)
    return [move.task for move in moves if move.to is TaskState.DONE]


# The stages an attempt has sealed, and the class and message of what went wrong.
Outcome = tuple[tuple[str, ...], str | None, str | None]


def _commit_all(
    installation: Installation,
    connection: sa.Connection,
    ended: Sequence[Ended],
    committed: Mapping[int, Mapping[str, Committed]],
    now: float,
) -> list[Outcome]:
    """Let each attempt count for what it sealed. All at once; where that fails one by one, so that an odd one harms no other."""
    outcomes: list[Outcome] = []
    good: list[_Sealing] = []
    for item in ended:
        try:
            sealing = _sealing(installation, item, committed[item.task.input_id])
            good.append(sealing)
            outcomes.append((sealing.stages, item.error_class, item.message))
        except Exception as error:  # noqa: BLE001 - it is told as the outcome of this attempt
            outcomes.append(_gone_wrong(error, item))
    try:
        with connection.begin_nested():
            _seal(installation, connection, good, now)
        return outcomes
    except sa.exc.OperationalError:
        raise  # the store is away: nothing is known of any attempt
    except Exception:  # noqa: BLE001 - each is tried alone below
        if len(good) > 1:
            log.info("attempts are committed one by one, as one of them cannot be", attempts=len(good))
    alone = {sealing.item.attempt.id: sealing for sealing in good}
    for number, item in enumerate(ended):
        if (one := alone.get(item.attempt.id)) is not None:
            try:
                with connection.begin_nested():
                    _seal(installation, connection, [one], now)
            except sa.exc.OperationalError:
                raise
            except Exception as error:  # noqa: BLE001 - it is told as the outcome of this attempt
                outcomes[number] = _gone_wrong(error, item)
    return outcomes


def _gone_wrong(error: Exception, item: Ended) -> Outcome:
    if isinstance(error, ConflictError):
        return (), "conflict", str(error)
    if isinstance(error, DataError | OSError):
        return (), "outputs", f"outputs cannot be committed: {error}"
    log.error("fault while committing an attempt", attempt=item.attempt.id, exc_info=error)
    return (), "internal", f"fault in the code: {type(error).__name__}: {error}"


def failed(
    installation: Installation,
    task: Task,
    error_class: str,
    message: str | None,
    now: float,
    jitter: float,
    stages: Sequence[str] = (),
    host: str | None = None,
) -> Move:
    """The task's next state after a failure: tried again, maybe with more memory or time or on another host, or parked."""
    decision = decide(
        error_class,
        failures=task.failures,
        attempts=task.attempts,
        allowed_failures=task.allowed_failures,
        now=now,
        jitter=jitter,
    )
    values: dict[str, object] = {"failures": decision.failures, "error_class": error_class}
    if decision.at is None:
        return Move(task, TaskState.PARKED, message or decision.sentence, values)
    campaign = installation.campaigns[task.campaign_id]
    limits = campaign.limits(stages or campaign.steps[task.step].stages)
    before = task.next_needs
    needs = next_needs(error_class, before, memory_bytes=limits.memory_bytes, lifetime_s=limits.lifetime_s, host=host)
    if needs != before:
        values["needs"] = asdict(needs)
    return Move(task, TaskState.WAITING_RETRY, message or decision.sentence, values | {"ready_at": decision.at})


def _succeeded(item: Ended, sealed: Sequence[str], now: float) -> Move:
    ended_at = item.report.stages[-1].ended if item.report else now
    values = {"reported_at": ended_at, "error_class": None, "started_at": item.task.started_at or _began(item)}
    if "declare" in sealed or "evaluate" in sealed:
        return Move(item.task, TaskState.REPORTED, None, values)
    return Move(item.task, TaskState.DONE, None, values | {"done_at": now, "late": now > item.task.deadline})


def _closed(item: Ended, error_class: str | None, message: str | None, now: float) -> Change:
    stages: Sequence[StageReport] = item.report.stages if item.report else ()
    state = AttemptState.SUCCEEDED if error_class is None else AttemptState.LOST if error_class in _LOST else AttemptState.FAILED
    values = {
        "state": state,
        "ended_at": stages[-1].ended if stages else now,
        "started_at": item.attempt.started_at or _began(item),
        "host": item.host or item.attempt.host,
        "error_class": error_class,
        "message": message,
        "cpu_s": sum(stage.cpu_s for stage in stages) if stages else None,
        "rss_bytes": max(stage.rss_bytes for stage in stages) if stages else None,
    }
    return Change(item.attempt, values)


_LOST = frozenset({"lost", "launch"})


def _began(item: Ended) -> float | None:
    return item.report.stages[0].started if item.report and item.report.stages else None


@dataclass(frozen=True, slots=True)
class _Sealing:
    """What an attempt counts for: its stages with their files, and the files that are handed over with it."""

    item: Ended
    stages: tuple[str, ...]
    outputs: Mapping[str, Sequence[Output]]
    handed_over: tuple[HandedOver, ...]


def _sealing(installation: Installation, item: Ended, before: Mapping[str, Committed]) -> _Sealing:
    """What the attempt's report and the files beside it say.

    Raises:
        DataError: a sidecar is wrong. OSError: it cannot be read.
    """
    if item.report is None:
        return _Sealing(item, (), {}, ())
    settings = installation.campaigns[item.task.campaign_id].settings
    sealed = sealed_stages(item.attempt.stages, item.report.stages)
    sealed = tuple(stage for stage in sealed if stage not in before)
    folder = installation.output_dir(settings, item.attempt.id)
    # `declare` only lists what other stages made.
    products = [
        _product(folder, report.name, output, settings.outputs.namespace)
        for report in item.report.stages
        if report.name in sealed and report.name != "declare"
        for output in report.outputs
    ]
    outputs = {stage: [product.output for product in products if product.stage == stage] for stage in sealed}
    to_declare = [product for product in products if product.stage == "evaluate" or "declare" in sealed]
    if "declare" in sealed and "nf_sp" in before:
        # What another attempt's `nf_sp` made and `declare` has sealed now.
        earlier = installation.output_dir(settings, before["nf_sp"].attempt_id)
        to_declare += [_product(earlier, "nf_sp", output, settings.outputs.namespace) for output in before["nf_sp"].outputs]
    keeping = settings.outputs.keeping
    handed = [
        HandedOver(product.record, str(product.path), item.attempt.id, keeping) for product in to_declare if product.record is not None
    ]
    return _Sealing(item, sealed, outputs, tuple(handed))


def _seal(installation: Installation, connection: sa.Connection, sealings: Sequence[_Sealing], now: float) -> None:
    ledger_attempts.commit(connection, [(sealing.item.task, sealing.item.attempt.id, sealing.outputs) for sealing in sealings])
    if handed := [item for sealing in sealings for item in sealing.handed_over]:
        hand_over(connection, handed, now)


def _product(folder: Path, stage: str, output: Output, namespace: str) -> _Product:
    path = folder / output.name
    if not output.declared:
        return _Product(stage, output, path, None)
    sidecar = path.with_name(output.name + SIDECAR_SUFFIX)
    record = FileRecord.from_json(read_json(sidecar), str(sidecar))
    if (record.name, record.size_bytes, record.adler32) != (output.name, output.size_bytes, output.adler32):
        raise DataError(f"{sidecar}: says another name, size or checksum than the report")
    if record.namespace != namespace:
        raise DataError(f"{sidecar}: namespace {record.namespace!r}, the campaign's outputs have {namespace!r}")
    return _Product(stage, output, path, record)
