"""Checks that hang or break are findings; the others are told all the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from threading import Event

from declare_daemon.checks import Group, Result, Verdict, survey
from declare_daemon.checks.result import good
from dune_prompt.errors import ConfigError, TransientError


def fine() -> list[Result]:
    return [good("first", "fine"), good("second", "fine")]


def raising(error: Exception) -> Group:
    def run() -> Sequence[Result]:
        raise error

    return Group("broken", run)


def test_results_are_in_the_order_of_the_groups() -> None:
    names = [result.what for result in survey([Group("a", fine), Group("b", lambda: [good("third", "")])])]
    assert names == ["first", "second", "third"]


def test_a_check_that_hangs_does_not_keep_the_others_from_being_told() -> None:
    forever = Event()

    def hang() -> list[Result]:
        forever.wait()
        return []

    stuck, *others = survey([Group("dead mount", hang), Group("a", fine)], patience_s=0.2)
    forever.set()
    assert (stuck.what, stuck.verdict, stuck.detail, stuck.error_class) == (
        "dead mount",
        Verdict.FAILED,
        "no answer within 0.2 s",
        "transient",
    )
    assert [result.verdict for result in others] == [Verdict.OK, Verdict.OK]


def test_the_program_ends_although_a_check_still_hangs() -> None:
    hanging = "Group('dead mount', lambda: Event().wait())"
    script = f"from threading import Event; from declare_daemon.checks import Group, survey; survey([{hanging}], patience_s=0.1)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_errors_are_findings_of_their_class() -> None:
    errors = [TransientError("away"), ConfigError("wrong"), OSError(5, "Input/output error"), ValueError("a client's bug")]
    found = survey([raising(error) for error in errors])
    assert [result.error_class for result in found] == ["transient", "configuration", "transient", "internal"]
    assert [result.detail for result in found] == ["away", "wrong", "Input/output error", "ValueError: a client's bug"]
