"""The fraction prompt against a recount, file by file."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.promptness import DAY_S, NOW_S, Asked, Prompt, prompt_since, read_promptness

NOW = 1_718_795_400.0
WITHIN_S = 1800.0
PROBE_RUN = 999_999

# A file: run, state, when it was closed and how long after that it was done (both in seconds), attempts, whether the closing is known.
files = st.lists(
    st.tuples(
        st.sampled_from([27300, 27301, PROBE_RUN]),
        st.sampled_from(["ready", "running", "waiting_retry", "parked", "waived", "done", "done", "done"]),
        st.one_of(st.floats(0, 4000), st.floats(0, 2 * DAY_S)),
        st.floats(1, 4000),
        st.integers(0, 1),
        st.booleans(),
        st.booleans(),
    ),
    max_size=40,
)


def seed(ledger: Any, content: list[Any]) -> None:
    ledger.campaigns.clear()
    ledger.tasks.clear()
    ledger.campaign()
    ledger.campaign("staged", layout="staged")
    for i, (run, state, age, took, attempts, known, late) in enumerate(content):
        arrived = NOW - age
        done_at = min(arrived + took, NOW) if state == "done" else None
        times = {"closed_at": arrived if known else None, "created_at": arrived + (5 if known else 0), "deadline": arrived + DAY_S}
        values = {"done_at": done_at, "attempts": attempts if state == "done" else 1, "late": late and state != "done"}
        campaign, step = (2, "dqm_upload") if i % 3 == 0 else (1, "chain")
        ledger.task(run, i, campaign=campaign, step=step, state=state, **times | values)
        if campaign == 2:
            ledger.task(run, i, campaign=2, step="nf_sp", state="done", done_at=arrived + 1, **times)
    ledger.write()


def recount(ledger: Any, since: float | None, run: int | None) -> Prompt:
    """Each file by itself: when was it decided, and how?"""
    counts = {"in_time": 0, "done_later": 0, "unfinished": 0, "stopped": 0}
    for task in ledger.tasks:
        if task["step"] == "nf_sp" or task["run"] == PROBE_RUN or (run is not None and task["run"] != run):
            continue
        over_at = (task["closed_at"] if task["closed_at"] is not None else task["created_at"]) + WITHIN_S
        if task["state"] == "done":
            if not task["attempts"]:
                continue
            how, at = ("in_time", task["done_at"]) if task["done_at"] <= over_at else ("done_later", over_at)
        elif task["state"] in ("parked", "waived"):
            how, at = "stopped", over_at
        elif over_at <= NOW:
            how, at = "unfinished", over_at
        else:
            continue
        if since is None or at > since:
            counts[how] += 1
    return Prompt.of(**counts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(files)
def test_the_three_fractions_equal_a_recount(ledger: Any, store: Any, content: list[Any]) -> None:
    seed(ledger, content)
    with store.read() as connection:
        found = read_promptness(connection, Asked(counted_campaigns(connection), WITHIN_S, PROBE_RUN), NOW)
    newest = max((task["run"] for task in ledger.tasks if task["run"] != PROBE_RUN), default=None)
    assert found.now == recount(ledger, NOW - NOW_S, None)
    assert found.today == recount(ledger, NOW - NOW % DAY_S, None)
    assert found.run_number == newest
    assert found.run == (recount(ledger, None, newest) if newest is not None else Prompt.of(0, 0, 0, 0))


def test_parked_and_waived_files_are_not_in_time(ledger: Any, store: Any) -> None:
    ledger.campaign()
    for i in range(6):
        ledger.task(27300, i, state="done", closed_at=NOW - 100, done_at=NOW - 10)
    ledger.task(27300, 6, state="parked", closed_at=NOW - 100)
    ledger.task(27300, 7, state="waived", closed_at=NOW - 100)
    ledger.task(27300, 8, state="running", closed_at=NOW - 100)
    ledger.write()
    with store.read() as connection:
        prompt = prompt_since(connection, Asked(counted_campaigns(connection), WITHIN_S), NOW - NOW_S, NOW)
    assert (prompt.in_time, prompt.stopped, prompt.decided, prompt.fraction) == (6, 2, 8, 0.75)


def test_a_file_that_is_done_at_last_was_decided_when_its_time_was_over(ledger: Any, store: Any) -> None:
    ledger.campaign()
    ledger.task(27300, 0, state="done", closed_at=NOW - WITHIN_S - 4000, done_at=NOW - 5)
    ledger.task(27300, 1, state="done", closed_at=NOW - WITHIN_S - 300, done_at=NOW - 5)
    ledger.write()
    with store.read() as connection:
        asked = Asked(counted_campaigns(connection), WITHIN_S)
        assert prompt_since(connection, asked, NOW - NOW_S, NOW) == Prompt.of(0, 1, 0, 0)
        assert prompt_since(connection, asked, NOW - 5000, NOW) == Prompt.of(0, 2, 0, 0)


def test_when_everything_stands_still_the_fraction_falls(ledger: Any, store: Any) -> None:
    ledger.campaign()
    for i in range(10):
        ledger.task(27300, i, state="done" if i < 5 else "ready", closed_at=NOW - 60 * i, done_at=NOW - 1 if i < 5 else None)
    ledger.write()
    with store.read() as connection:
        asked = Asked(counted_campaigns(connection), WITHIN_S)
        assert prompt_since(connection, asked, NOW - NOW_S, NOW).fraction == 1
        assert prompt_since(connection, asked, NOW + WITHIN_S - NOW_S, NOW + WITHIN_S) == Prompt.of(0, 0, 5, 0)
