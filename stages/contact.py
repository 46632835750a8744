"""A job's contact with its engine over HTTP: signs of life while it runs, its report at the end. Never what a job fails by.

    POST {service_url}/api/v1/attempts/{id}/heartbeat   {"host": …, "stage": …}; 410: the attempt is over, its job should stop
    PUT  {service_url}/api/v1/attempts/{id}/report      the report

The attempt's token is the bearer token. It is never printed, and no redirection is followed that could carry it elsewhere.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any

from dune_prompt.records import Assignment

PERIOD_S = 60.0
ANSWER_S = 10.0
REPORT_WITHIN_S = 30.0
FIRST_PAUSE_S = 1.0

GONE = 410
_AGAIN = frozenset({408, 425, 429})


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return None


class Contact:
    """The engine, as one attempt speaks to it. `clock` (seconds) and `sleep` are given by tests."""

    def __init__(
        self,
        service_url: str,
        attempt: str,
        token: str,
        *,
        period_s: float = PERIOD_S,
        answer_s: float = ANSWER_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base = f"{service_url.rstrip('/')}/api/v1/attempts/{attempt}"
        self._token, self._period_s, self._answer_s = token, period_s, answer_s
        self._clock, self._sleep = clock, sleep
        self._opener = urllib.request.build_opener(_NoRedirection)
        self._ended = threading.Event()
        self.stage: str | None = None

    @classmethod
    def of(cls, assignment: Assignment) -> Contact | None:
        """The contact of an attempt; None when it was given no engine to speak to."""
        if assignment.service_url is None or assignment.token is None:
            return None
        return cls(assignment.service_url, assignment.attempt, assignment.token)

    def is_over(self) -> bool:
        """Give a sign of life; whether the engine answers that the attempt is over. Silence and any other answer mean no."""
        return self._send("POST", "heartbeat", {"host": os.uname().nodename, "stage": self.stage}, self._answer_s) == GONE

    def keep(self, when_over: Callable[[], None]) -> None:
        """Give signs of life from now on, in a thread; `when_over` is called in it, once, when the attempt turns out to be over."""

        def beat() -> None:
            while not self._ended.wait(self._period_s):
                if self.is_over():
                    when_over()
                    return

        threading.Thread(target=beat, name="heartbeat", daemon=True).start()

    def end(self) -> None:
        """No more signs of life."""
        self._ended.set()

    def report(self, content: Mapping[str, Any], within_s: float = REPORT_WITHIN_S) -> bool:
        """Send the report, again and again for at most `within_s` seconds; whether the engine has it."""
        end, pause_s = self._clock() + within_s, FIRST_PAUSE_S
        while (left_s := end - self._clock()) > 0:
            answer = self._send("PUT", "report", content, min(self._answer_s, left_s))
            if answer is not None and answer < 500 and answer not in _AGAIN:
                return 200 <= answer < 300
            if self._clock() + pause_s >= end:
                break
            self._sleep(pause_s)
            pause_s *= 2
        return False

    def _send(self, method: str, what: str, content: Mapping[str, Any], answer_s: float) -> int | None:
        """The status of the engine's answer; None if there was none."""
        try:
            request = urllib.request.Request(  # noqa: S310 - the address is the engine's own
                f"{self._base}/{what}",
                data=json.dumps(content).encode(),
                method=method,
                headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            )
            with self._opener.open(request, timeout=answer_s) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except (OSError, HTTPException, ValueError):
            return None
