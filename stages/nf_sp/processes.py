"""Carries out orders in processes of their own, one for each, and brings back what they found.

The processes start afresh, as a fork would take over locks and threads of this one. They end with it, whatever ends it, and all are killed
when one fails: its error is raised here.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar, cast

from dune_prompt.errors import DunePromptError
from stages.errors import SiteError

Order = TypeVar("Order")
Found = TypeVar("Found")

_PR_SET_PDEATHSIG = 1


class _Failure:
    """What an order failed with: our own errors as they are, others as text."""

    def __init__(self, error: BaseException) -> None:
        self.error = error if isinstance(error, DunePromptError | OSError | MemoryError) else None
        self.text = f"{type(error).__name__}: {error}"


def carry_out(work: Callable[[Order, Callable[[], None]], Found], orders: Sequence[Order], progress: Callable[[], None]) -> list[Found]:
    """`work(order, progress)` for each of `orders` at once; what each found, in their order. `work` must be a module's function.

    Raises:
        SiteError: a process was killed, as by a worker that is out of memory. Else what an order raised.
    """
    start = multiprocessing.get_context("spawn")
    found: dict[int, Any] = {}
    processes: list[Any] = []
    readers: dict[Any, int] = {}
    try:
        for number, order in enumerate(orders):
            reader, writer = start.Pipe(duplex=False)
            process = start.Process(target=_serve, args=(work, order, writer), daemon=True)
            process.start()
            writer.close()
            processes.append(process)
            readers[reader] = number
        while readers:
            for reader in cast(list[Any], wait(list(readers))):
                try:
                    message = reader.recv()
                except EOFError:
                    process = processes[readers[reader]]
                    process.join()
                    raise SiteError(f"a process of the payload ended with code {process.exitcode}; out of memory?") from None
                if message is None:
                    progress()
                    continue
                if isinstance(message, _Failure):
                    raise message.error or RuntimeError(message.text)
                found[readers.pop(reader)] = message
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [found[number] for number in range(len(orders))]


def _serve(work: Callable[[Any, Callable[[], None]], Any], order: Any, writer: Connection) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        result = work(order, lambda: writer.send(None))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        if not isinstance(error, DunePromptError):
            traceback.print_exc()
        result = _Failure(error)
    writer.send(result)
