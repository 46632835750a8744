"""A job's contact with its engine: it tells, it listens to one answer only, and nothing it meets makes a job fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from stages.contact import Contact
from tests.servers.engine_answers import EngineAnswers

TOKEN = "hush-hush"


def contact_with(url: str, **changes: float | Callable[..., float]) -> Contact:
    return Contact(url, "01A", TOKEN, **({"answer_s": 5.0} | changes))  # type: ignore[arg-type]


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


def test_a_sign_of_life_says_who_where_and_at_which_stage() -> None:
    with EngineAnswers() as engine:
        contact = contact_with(engine.url + "/")
        contact.stage = "nf_sp"
        assert not contact.is_over()
    (request,) = engine.heard
    assert (request.method, request.path, request.token) == ("POST", "/api/v1/attempts/01A/heartbeat", TOKEN)
    assert request.content == {"host": socket.gethostname(), "stage": "nf_sp"}


@pytest.mark.parametrize(("answer", "over"), [(410, True), (200, False), (401, False), (404, False), (500, False), (503, False)])
def test_only_gone_means_that_the_attempt_is_over(answer: int, over: bool) -> None:
    with EngineAnswers(heartbeats=(answer,)) as engine:
        assert contact_with(engine.url).is_over() is over


def test_an_engine_that_is_silent_or_away_is_no_reason_to_stop() -> None:
    with EngineAnswers(heartbeats=(None,), reports=(None,)) as engine:
        assert not contact_with(engine.url, answer_s=0.1).is_over()
        url = engine.url
    assert not contact_with(url, answer_s=0.1).is_over()
    assert not contact_with("no address at all").is_over()
    assert not contact_with("http://127.0.0.1:1/\x00").is_over()


def test_the_token_is_not_carried_where_a_redirection_leads() -> None:
    with EngineAnswers() as other, EngineAnswers(heartbeats=(302,), reports=(307,)) as engine:
        engine.redirect_to = other.url
        assert not contact_with(engine.url).is_over()
        assert not contact_with(engine.url).report({})
        assert other.heard == []


def test_signs_of_life_are_given_until_the_engine_says_that_it_is_over() -> None:
    over = threading.Event()
    with EngineAnswers(heartbeats=(200, 500, 410)) as engine:
        contact_with(engine.url, period_s=0.01).keep(over.set)
        assert over.wait(20)
        assert len(engine.heard) == 3


def test_an_ended_contact_is_silent() -> None:
    with EngineAnswers() as engine:
        contact = contact_with(engine.url, period_s=0.01)
        contact.end()
        contact.keep(lambda: None)
        for thread in threading.enumerate():
            if thread.name == "heartbeat":
                thread.join(20)
        assert engine.heard == []


def test_a_report_is_sent_again_until_it_is_taken() -> None:
    clock = Clock()
    with EngineAnswers(reports=(500, 429, 200)) as engine:
        assert contact_with(engine.url, clock=clock, sleep=clock.sleep).report({"attempt": "01A"})
        assert engine.reported() == [{"attempt": "01A"}] * 3
        assert engine.heard[0].path == "/api/v1/attempts/01A/report"
    assert clock.slept == [1.0, 2.0]


def test_a_report_that_is_refused_is_not_sent_again() -> None:
    with EngineAnswers(reports=(422,)) as engine:
        assert not contact_with(engine.url).report({})
        assert len(engine.heard) == 1


def test_sending_the_report_ends_within_its_time() -> None:
    clock = Clock()
    with EngineAnswers(reports=(503,)) as engine:
        assert not contact_with(engine.url, clock=clock, sleep=clock.sleep).report({}, within_s=30.0)
        assert 3 <= len(engine.heard) <= 6
    assert clock.now < 30.0


def test_the_token_is_in_no_text_of_a_contact() -> None:
    assert TOKEN not in repr(contact_with("http://x"))
