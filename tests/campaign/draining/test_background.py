"""A catalogue asked beside the step: answers are used when they come in time, and nobody waits for a server that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from campaign.draining.answers import Answer
from campaign.draining.background import Background
from dune_prompt.errors import ConfigError, TransientError
from tests.campaign.draining.installation import NAMESPACE, ScriptedCatalog, Small, eventually

ONE, TWO = f"{NAMESPACE}:one", f"{NAMESPACE}:two"


class Clock:
    """Time that goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    small = Small.at(tmp_path)
    yield small
    small.close()


@pytest.fixture
def catalog() -> ScriptedCatalog:
    return ScriptedCatalog()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_background(catalog: ScriptedCatalog, clock: Clock) -> Iterator[Callable[..., Background]]:
    opened: list[Background] = []

    def start(**change: Any) -> Background:
        values: dict[str, Any] = {"clock": clock, "wall": lambda: 5000.0, "linger_s": 10.0} | change
        opened.append(Background("metacat", lambda: catalog, **values))  # type: ignore[arg-type, return-value]
        return opened[-1]

    yield start
    if catalog.hang is not None:
        catalog.hang.set()
    for background in opened:
        background.close()


def test_an_answer_that_comes_at_once_is_used(small: Small, catalog: ScriptedCatalog, open_background: Callable[..., Background]) -> None:
    catalog.done = {ONE}
    assert open_background().of(small.campaign, [ONE, TWO]) == Answer(frozenset({ONE}))


def test_a_file_is_asked_about_once_and_answered_once(
    small: Small, catalog: ScriptedCatalog, open_background: Callable[..., Background]
) -> None:
    background = open_background()
    catalog.hang = threading.Event()
    slow = Background("metacat", lambda: catalog, linger_s=0.0)  # type: ignore[arg-type, return-value]
    assert slow.of(small.campaign, [ONE]).open == {ONE}
    assert slow.of(small.campaign, [ONE]).open == {ONE}
    catalog.hang.set()
    eventually(lambda: slow.of(small.campaign, [ONE]).open == frozenset())
    assert catalog.asked == ["children_of"]
    slow.close()
    background.close()


def test_a_server_that_hangs_is_waited_for_no_longer_than_the_patience(
    small: Small, catalog: ScriptedCatalog, clock: Clock, open_background: Callable[..., Background]
) -> None:
    catalog.hang = threading.Event()
    background = open_background(linger_s=0.01)
    assert background.of(small.campaign, [ONE], 5.0) == Answer(open=frozenset({ONE}))
    clock.now += 5
    assert background.of(small.campaign, [ONE], 5.0) == Answer()
    # What comes meanwhile does not even wait for its own patience.
    assert background.of(small.campaign, [TWO], 5.0) == Answer()
    health = background.health()
    assert not health.ok
    assert (health.waiting, health.message) == (2, "metacat: no answer for 5 s")


def test_an_answer_that_comes_too_late_is_told_once(
    small: Small, catalog: ScriptedCatalog, clock: Clock, open_background: Callable[..., Background]
) -> None:
    catalog.hang, catalog.done = threading.Event(), {ONE}
    background = open_background(linger_s=0.01)
    background.of(small.campaign, [ONE, TWO], 5.0)
    clock.now += 5
    assert background.of(small.campaign, [ONE, TWO], 5.0) == Answer()
    assert background.late() == set()
    catalog.hang.set()
    late: set[Any] = set()
    eventually(lambda: bool(late.update(background.late()) or late))
    assert late == {(small.campaign.id, ONE)}
    assert background.late() == set()
    assert background.health().ok


@pytest.mark.parametrize("error", [TransientError("500: no database"), ConfigError("the token has expired")])
def test_while_the_catalogue_is_out_files_go_in_at_once_and_it_is_logged_once(
    small: Small, catalog: ScriptedCatalog, error: Any, open_background: Callable[..., Background], capsys: pytest.CaptureFixture[str]
) -> None:
    catalog.error = error
    background = open_background()
    assert background.of(small.campaign, [ONE]) == Answer()
    assert background.of(small.campaign, [TWO]) == Answer()
    health = background.health()
    assert (health.out_since, health.message) == (5000.0, str(error))
    assert (capsys.readouterr().out).count("catalogue away") <= 1


def test_a_fault_in_the_code_of_a_catalogue_does_not_end_the_thread(
    small: Small, catalog: ScriptedCatalog, open_background: Callable[..., Background]
) -> None:
    catalog.error = ZeroDivisionError("oops")  # type: ignore[assignment]
    background = open_background()
    assert background.of(small.campaign, [ONE]) == Answer()
    assert "ZeroDivisionError" in str(background.health().message)


def test_a_catalogue_that_cannot_be_opened_is_an_outage(small: Small) -> None:
    def refuse() -> Any:
        raise ConfigError("the client is not installed")

    background = Background("metacat", refuse)
    assert background.of(small.campaign, [ONE]) == Answer()
    assert background.health().message == "the client is not installed"
    background.close()


def test_questions_go_before_side_work(small: Small, catalog: ScriptedCatalog, open_background: Callable[..., Background]) -> None:
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    class Looking:
        def work(self, _: Any) -> float:
            order.append("side work")
            begun.set()
            go_on.wait(20)
            return 0.0 if len(order) < 3 else 60.0

    background = open_background(side_work=Looking(), linger_s=0.0)
    begun.wait(20)
    background.of(small.campaign, [ONE])
    go_on.set()
    eventually(lambda: background.of(small.campaign, [ONE]).open == frozenset())
    assert catalog.asked == ["children_of"]
