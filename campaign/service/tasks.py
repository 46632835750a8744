"""The HTTP interface for a single task: one that is parked is tried again. Many at once are a command."""

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path
from pydantic import BaseModel

from campaign.engine import Engine
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tasks import Move
from campaign.service.access import Caller
from campaign.service.tokens import Principal
from campaign.states import TaskState


class TaskAnswer(BaseModel):
    """A task as it is now."""

    id: int
    input: str
    step: str
    state: str


def create_tasks_router(engine: Engine, operates: Caller, wake: Callable[[], None]) -> APIRouter:
    """The routes under /tasks; all need what the dependency `operates` asks for."""
    router = APIRouter(prefix="/tasks")

    @router.post("/{task_id}/retry")
    def retry(task_id: Annotated[int, Path(ge=0, lt=2**63)], principal: Annotated[Principal, Depends(operates)]) -> TaskAnswer:
        """Let a parked task be tried again, with all its retries."""
        now = time.time()
        again: dict[str, Any] = {"failures": 0, "ready_at": now}
        with engine.writing() as connection:
            task = ledger_tasks.by_ids(connection, [task_id]).get(task_id)
            if task is None:
                raise HTTPException(404, f"the ledger has no task {task_id}")
            if task.state is not TaskState.PARKED:
                raise HTTPException(409, f"this task is not parked, but {task.state.value}")
            ledger_tasks.apply(connection, [Move(task, TaskState.READY, "retry asked for", again)], now, by=principal.name)
        wake()
        return TaskAnswer(id=task.id, input=task.input_did, step=task.step, state=TaskState.READY.value)

    return router
