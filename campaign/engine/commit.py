"""Commits ended attempts: exactly one attempt counts for each stage of an input; its outputs go to the registrar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
import structlog

from campaign.engine.watch import Ended
from campaign.layout import sealed_stages
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tasks import Move, Task
from campaign.retries import decide
from campaign.states import AttemptState, TaskState
from declare_daemon.catalogs.protocol import AS_CONFIGURED, Keeping
from declare_daemon.journal import HandedOver, hand_over
from dune_prompt.errors import ConflictError, DataError
from dune_prompt.records import SIDECAR_SUFFIX, FileRecord, Output, read_json

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Product:
    """A committed output; `record` is its sidecar when it goes into the catalogues."""

    stage: str
    output: Output
    path: Path
    record: FileRecord | None


def commit(
    connection: sa.Connection, ended: Sequence[Ended], keepings: Mapping[int, Keeping], now: float, jitter: Callable[[], float]
) -> list[Task]:
    """Write down how these attempts ended, what of them counts, and what happens to their tasks; hand outputs over, all at once.

    `keepings`: how the outputs of each campaign are kept. Returns the tasks that are done with that, as nothing of them has to be declared.
    """
    committed = ledger_attempts.committed(connection, {(item.task.campaign_id, item.task.input_did) for item in ended})
    moves = []
    for item in ended:
        before = committed[item.task.campaign_id, item.task.input_did]
        try:
            with connection.begin_nested():
                keeping = keepings.get(item.task.campaign_id, AS_CONFIGURED)
                sealed = _commit_stages(connection, item, before, keeping, now)
            error_class, message = item.error_class, item.message
        except ConflictError as error:
            sealed, error_class, message = (), "conflict", str(error)
        except (DataError, OSError) as error:
            sealed, error_class, message = (), "outputs", f"outputs cannot be committed: {error}"
        except sa.exc.OperationalError:
            raise  # the store is away: nothing is known of any attempt
        except Exception as error:
            # One odd attempt must not keep all others from being committed.
            log.exception("fault while committing an attempt", attempt=item.attempt.id)
            sealed, error_class, message = (), "internal", f"fault in the code: {type(error).__name__}: {error}"
        _close_attempt(connection, item, error_class, message, now)
        if error_class is None:
            moves.append(_succeeded(item, sealed, now))
        else:
            moves.append(failed(item.task, error_class, message, now, jitter()))
    ledger_tasks.apply(connection, moves, now)
    return [move.task for move in moves if move.to is TaskState.DONE]


def failed(task: Task, error_class: str, message: str | None, now: float, jitter: float) -> Move:
    """The task's next state after a failure: tried again, or parked."""
    decision = decide(
        error_class,
        failures=task.failures,
        attempts=task.attempts,
        allowed_failures=task.allowed_failures,
        now=now,
        jitter=jitter,
    )
    values = {"failures": decision.failures, "error_class": error_class}
    if decision.at is None:
        return Move(task, TaskState.PARKED, message or decision.sentence, values)
    return Move(task, TaskState.WAITING_RETRY, message or decision.sentence, values | {"ready_at": decision.at})


def _succeeded(item: Ended, sealed: Sequence[str], now: float) -> Move:
    ended_at = item.report.stages[-1].ended if item.report else now
    values = {"reported_at": ended_at, "error_class": None, "started_at": item.task.started_at or _began(item)}
    if "declare" in sealed or "evaluate" in sealed:
        return Move(item.task, TaskState.REPORTED, None, values)
    return Move(item.task, TaskState.DONE, None, values | {"done_at": now})


def _close_attempt(connection: sa.Connection, item: Ended, error_class: str | None, message: str | None, now: float) -> None:
    report = item.report
    state = AttemptState.SUCCEEDED if error_class is None else AttemptState.LOST if error_class == "lost" else AttemptState.FAILED
    ledger_attempts.update(
        connection,
        item.attempt,
        now,
        state=state,
        ended_at=report.stages[-1].ended if report and report.stages else now,
        started_at=item.attempt.started_at or _began(item),
        host=report.host if report else item.attempt.host,
        error_class=error_class,
        message=message,
        report=report.to_json() if report else None,
    )


def _began(item: Ended) -> float | None:
    return item.report.stages[0].started if item.report and item.report.stages else None


def _commit_stages(connection: sa.Connection, item: Ended, before: dict[str, str], keeping: Keeping, now: float) -> tuple[str, ...]:
    """Let the attempt count for the stages it sealed, and hand over what they declare."""
    if item.report is None:
        return ()
    sealed = sealed_stages(item.attempt.stages, item.report.stages)
    sealed = tuple(stage for stage in sealed if stage not in before)
    products = _products(item, sealed)
    ledger_attempts.commit(
        connection,
        item.task,
        item.attempt,
        sealed,
        {
            stage: [(product.output, product.record.did if product.record else None) for product in products if product.stage == stage]
            for stage in sealed
        },
        now,
    )
    to_declare = [product for product in products if product.stage == "evaluate" or "declare" in sealed]
    if "declare" in sealed and "nf_sp" in before:
        to_declare += _earlier_products(connection, before["nf_sp"])
    hand_over(
        connection,
        [HandedOver(product.record, str(product.path), item.attempt.id, keeping) for product in to_declare if product.record is not None],
        now,
    )
    return sealed


def _products(item: Ended, stages: Sequence[str]) -> list[_Product]:
    """The outputs of `stages`, with their sidecars. `declare` only lists what other stages made."""
    folder = Path(item.attempt.output_dir)
    reports = item.report.stages if item.report else ()
    return [
        _product(folder, report.name, output)
        for report in reports
        if report.name in stages and report.name != "declare"
        for output in report.outputs
    ]


def _earlier_products(connection: sa.Connection, attempt_id: str) -> list[_Product]:
    """What another attempt's `nf_sp` made and `declare` has sealed now."""
    attempt = ledger_attempts.by_id(connection, attempt_id)
    if attempt is None:
        return []
    return [
        _product(Path(attempt.output_dir), row.stage, Output(row.name, row.size_bytes, row.adler32, declared=row.did is not None))
        for row in ledger_attempts.outputs_of(connection, [attempt_id])
        if row.stage == "nf_sp"
    ]


def _product(folder: Path, stage: str, output: Output) -> _Product:
    path = folder / output.name
    if not output.declared:
        return _Product(stage, output, path, None)
    sidecar = path.with_name(output.name + SIDECAR_SUFFIX)
    record = FileRecord.from_json(read_json(sidecar), str(sidecar))
    if (record.name, record.size_bytes, record.adler32) != (output.name, output.size_bytes, output.adler32):
        raise DataError(f"{sidecar}: says another name, size or checksum than the report")
    return _Product(stage, output, path, record)
