"""Orders that are carried out in processes of their own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dune_prompt.errors import DataError
from stages.errors import SiteError
from stages.nf_sp.processes import carry_out


def square(order: int, progress: Callable[[], None]) -> tuple[int, int]:
    progress()
    return order * order, os.getpid()


def fail_or_wait(order: tuple[str, Path], progress: Callable[[], None]) -> None:
    kind, folder = order
    if kind == "data":
        raise DataError("bad data")
    if kind == "fault":
        raise ValueError("a fault")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / str(os.getpid())).touch()
    progress()
    time.sleep(600)


def alive(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if Path(f"/proc/{path.name}").exists()]


def test_each_order_has_a_process_and_the_answers_come_in_order() -> None:
    told: list[None] = []
    found = carry_out(square, [3, 4], lambda: told.append(None))
    assert [answer for answer, _ in found] == [9, 16]
    assert len({pid for _, pid in found} | {os.getpid()}) == 3
    assert len(told) == 2


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [("data", DataError, "bad data"), ("fault", RuntimeError, "ValueError: a fault"), ("killed", SiteError, "ended with code -9")],
)
def test_when_one_fails_its_error_is_raised_and_the_others_are_ended(
    kind: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        carry_out(fail_or_wait, [("wait", tmp_path), (kind, tmp_path)], lambda: None)
    assert alive(tmp_path) == []


def test_they_end_when_the_one_that_waits_is_interrupted(tmp_path: Path) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        carry_out(fail_or_wait, [("wait", tmp_path)] * 2, interrupt)
    assert alive(tmp_path) == []
