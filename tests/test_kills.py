"""`kill -9` of the service, the daemon or a job at any moment, then starting again, ends with every file processed exactly once."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.installation import Pipeline


@pytest.fixture
def make_pipeline(tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    opened: list[Pipeline] = []

    def make(**settings: str) -> Pipeline:
        opened.append(Pipeline(tmp_path / f"p{len(opened)}", **settings))
        return opened[-1]

    yield make
    for pipeline in opened:
        pipeline.stop()


@pytest.mark.parametrize("layout", ["fused", "staged"])
def test_kills_at_any_moment_lose_nothing_and_duplicate_nothing(make_pipeline: Callable[..., Pipeline], layout: str) -> None:
    pipeline = make_pipeline(layout=layout)
    choice = random.Random(layout)
    kills = {"service": 0, "daemon": 0, "job": 0}

    def kill_something() -> None:
        if sum(kills.values()) >= 12 or choice.random() < 0.7:
            return
        target = choice.choice(sorted(kills))
        if target != "job":
            pipeline.kill(target)
        elif not pipeline.kill_a_job(choice.choice):
            return
        kills[target] += 1

    pipeline.start()
    pipeline.write_files(12)
    pipeline.wait_until_processed(100, kill_something)
    assert sum(kills.values()) > 3
    for stage in ("nf_sp", "evaluate"):
        assert set(pipeline.times_processed(stage).values()) == {1}
    # Nothing of the attempts that do not count is left in the outbox.
    attempts = pipeline.folder / "outbox" / "attempts"
    pipeline.wait_until_processed(10)
    assert len(list((pipeline.folder / "outbox").rglob("*_metrics.json"))) == 12 + len(list(attempts.rglob("*_metrics.json")))


def test_a_file_that_arrives_while_everything_is_down_is_processed_later(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline(place="../elsewhere")
    (pipeline.folder / "elsewhere").mkdir()
    pipeline.write_files(2)
    pipeline.start()
    pipeline.wait_until_processed(60)
    for process in pipeline.processes.values():
        process.terminate()
        assert process.wait(30) == 0
    pipeline.write_files(2)
    pipeline.start()
    pipeline.wait_until_processed(60)
    assert set(pipeline.times_processed("evaluate").values()) == {1}
    # The campaign's own place is used, and nothing but the final files stays there.
    assert len(list((pipeline.folder / "elsewhere").rglob("*_metrics.json"))) == 4
    assert list((pipeline.folder / "elsewhere" / "attempts").iterdir()) == []


def test_a_port_that_is_taken_is_named_and_the_ledger_is_left_free(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline()
    with socket.create_server(("127.0.0.1", pipeline.port)):
        pipeline.start("service")
        assert pipeline.processes["service"].wait(60) == 30
    assert f"service.listen: 127.0.0.1:{pipeline.port}: Address already in use" in (pipeline.folder / "service.log").read_text()
    pipeline.write_files(1)
    pipeline.start()
    pipeline.wait_until_processed(60)
